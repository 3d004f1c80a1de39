"""Airflow: its own database by the plugin, and a connection of the PostgreSQL provider by the whole process."""

from __future__ import annotations

import os
import subprocess
import sys

from app_settings import settings

if "PGENTRA_PROCESS_WIDE" not in os.environ:
    variables = dict(line.split("=", 1) for line in settings("airflow.env").replace('"', "").splitlines())
    variables["AIRFLOW_HOME"] = os.environ["TEST_FOLDER"]
    sys.exit(subprocess.run([sys.executable, __file__], env=os.environ | variables).returncode)

from airflow.providers.postgres.hooks.postgres import PostgresHook
from airflow.settings import Session
from sqlalchemy import text

with Session() as session:
    role = session.scalar(text("select current_user"))
assert PostgresHook("shop").get_first("select current_user")[0] == role
print(role)
