"""Creates a table; prints the role that migrates."""

from __future__ import annotations

import os

import sqlalchemy
from alembic import op

revision = "0001"
down_revision = None
TABLE = f"orders_{os.environ['TEST_NUMBER']}"


def upgrade() -> None:
    op.create_table(TABLE, sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True))
    print(op.get_bind().scalar(sqlalchemy.text("select current_user")))


def downgrade() -> None:
    op.drop_table(TABLE)
