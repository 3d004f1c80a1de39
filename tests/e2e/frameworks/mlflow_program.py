"""MLflow: the store of its experiments."""

from __future__ import annotations

import os

from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import text

url = os.environ["DATABASE_URL"].replace("+psycopg:", "+psycopg2:") + "&plugin=pgentra"
store = SqlAlchemyStore(url, os.environ["TEST_FOLDER"])
assert [experiment.name for experiment in store.search_experiments()] == ["Default"]
with store.engine.connect() as connection:
    print(connection.execute(text("select current_user")).scalar())
