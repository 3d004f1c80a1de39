"""LangGraph: its checkpoints in tables, over psycopg's pool."""

from __future__ import annotations

import os

from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from pgentra.psycopg3 import EntraConnection

url = os.environ["DATABASE_URL"].replace("+psycopg:", ":")
settings = {"autocommit": True, "row_factory": dict_row, "prepare_threshold": 0}
with ConnectionPool(url, connection_class=EntraConnection, kwargs=settings) as pool:
    PostgresSaver(pool).setup()
    with pool.connection() as connection:
        row = connection.execute("select current_user as role from checkpoint_migrations limit 1").fetchone()
        print(row["role"])
        connection.execute("drop table checkpoint_writes, checkpoint_blobs, checkpoints, checkpoint_migrations")
