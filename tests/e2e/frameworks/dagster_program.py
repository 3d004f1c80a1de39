"""Dagster: the storage of its runs."""

from __future__ import annotations

import os
from pathlib import Path

from app_settings import settings

Path(os.environ["TEST_FOLDER"], "dagster.yaml").write_text(
    settings("dagster.yaml") + "telemetry:\n  enabled: false\n",
)
os.environ["DAGSTER_HOME"] = os.environ["TEST_FOLDER"]

from dagster import DagsterInstance  # noqa: E402
from sqlalchemy import text  # noqa: E402

with DagsterInstance.get() as instance:
    assert instance.get_runs_count() == 0
    with instance.run_storage.connect() as connection:
        print(connection.execute(text("select current_user")).scalar())
