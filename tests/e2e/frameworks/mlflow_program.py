"""MLflow: the store of its experiments."""

from __future__ import annotations

import os

from app_settings import url
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import text

store = SqlAlchemyStore(url("mlflow.sh"), os.environ["TEST_FOLDER"])
assert [experiment.name for experiment in store.search_experiments()] == ["Default"]
with store.engine.connect() as connection:
    print(connection.execute(text("select current_user")).scalar())
