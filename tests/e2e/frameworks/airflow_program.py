"""Airflow: its own database by the plugin, and a connection of the PostgreSQL provider by the whole process."""

from __future__ import annotations

import os

import pgentra

url = os.environ["DATABASE_URL"].replace("+psycopg:", ":")
os.environ["AIRFLOW_HOME"] = os.environ["TEST_FOLDER"]
os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = (
    url.replace("postgresql:", "postgresql+psycopg2:") + "&plugin=pgentra"
)
os.environ["AIRFLOW_CONN_SHOP"] = url
pgentra.enable_process_wide()

from airflow.providers.postgres.hooks.postgres import PostgresHook  # noqa: E402
from airflow.settings import Session  # noqa: E402
from sqlalchemy import text  # noqa: E402

with Session() as session:
    role = session.scalar(text("select current_user"))
assert PostgresHook("shop").get_first("select current_user")[0] == role
print(role)
