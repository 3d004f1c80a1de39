"""Alembic's environment, as `alembic init` writes it, with one line for Entra."""

from __future__ import annotations

import os

from alembic import context
from sqlalchemy import create_engine, pool

from pgentra.sqlalchemy import enable_entra_authentication

engine = create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool)
enable_entra_authentication(engine)
with engine.connect() as connection:
    context.configure(connection=connection, version_table=f"alembic_{os.environ['TEST_NUMBER']}")
    with context.begin_transaction():
        context.run_migrations()
