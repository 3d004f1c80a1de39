"""dbt: a model is built. The whole process is enabled by the variable, as `dbt` is a program."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from app_settings import SERVER, settings

folder = Path(os.environ["TEST_FOLDER"])
(folder / "models").mkdir()
(folder / "models" / "who.sql").write_text("{{ config(materialized='table') }} select current_user::text as role")
(folder / "dbt_project.yml").write_text("name: shop\nversion: '1.0.0'\nprofile: shop\nmodel-paths: [models]\n")
profiles = settings("profiles.yml").replace("shop.postgres.database.azure.com", str(SERVER.hostname))
profiles = profiles.replace("5432", str(SERVER.port)).replace("dbname: orders", f"dbname: {SERVER.path[1:]}")
profiles = profiles.replace("shop-dbt", os.environ["TEST_ROLE"])
(folder / "profiles.yml").write_text(profiles.replace("analytics", f"dbt_{os.environ['TEST_NUMBER']}"))
dbt = Path(sys.executable).with_name("dbt")
done = subprocess.run(
    [dbt, "run", "--project-dir", folder, "--profiles-dir", folder],
    env=os.environ | {"PGENTRA_PROCESS_WIDE": "1", "DO_NOT_TRACK": "1"},
    capture_output=True,
    text=True,
)
assert done.returncode == 0, done.stdout + done.stderr

import psycopg2  # noqa: E402

from pgentra.psycopg2 import EntraConnection  # noqa: E402

connection = psycopg2.connect(
    f"{os.environ['DATABASE_URL'].replace('+psycopg:', ':')}", connection_factory=EntraConnection
)
with connection, connection.cursor() as cursor:
    cursor.execute(f"select role from dbt_{os.environ['TEST_NUMBER']}.who")
    print(cursor.fetchone()[0])
    cursor.execute(f"drop schema dbt_{os.environ['TEST_NUMBER']} cascade")
