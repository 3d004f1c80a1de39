"""pandas: a frame is written and read."""

from __future__ import annotations

import os

import pandas
from sqlalchemy import create_engine, text

from pgentra.sqlalchemy import enable_entra_authentication

engine = create_engine(os.environ["DATABASE_URL"])
enable_entra_authentication(engine)
table = f"pandas_{os.environ['TEST_NUMBER']}"
pandas.DataFrame({"item": ["book", "pen"]}).to_sql(table, engine, index=False)
assert list(pandas.read_sql_table(table, engine)["item"]) == ["book", "pen"]
with engine.begin() as connection:
    connection.execute(text(f"drop table {table}"))
print(pandas.read_sql("select current_user as role", engine)["role"][0])
