"""Alembic: a migration creates a table and reads the role; the asynchronous environment takes it back."""

from __future__ import annotations

import os
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, text

from pgentra.sqlalchemy import enable_entra_authentication

url = os.environ["DATABASE_URL"]
config = Config()
config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
config.set_main_option("sqlalchemy.url", url)
command.upgrade(config, "head")
config.set_main_option("asynchronous", "yes")
command.downgrade(config, "base")

engine = create_engine(url)
enable_entra_authentication(engine)
with engine.begin() as connection:
    connection.execute(text("drop table alembic_version"))
