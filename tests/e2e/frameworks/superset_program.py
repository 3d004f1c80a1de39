"""Superset: its own database, and a database that a user added by its URL."""

from __future__ import annotations

import os
from pathlib import Path

url = os.environ["DATABASE_URL"].replace("+psycopg:", "+psycopg2:") + "&plugin=pgentra"
configuration = Path(os.environ["TEST_FOLDER"], "superset_config.py")
configuration.write_text(f"SECRET_KEY = 'of the test'\nSQLALCHEMY_DATABASE_URI = {url!r}\n")
os.environ["SUPERSET_CONFIG_PATH"] = str(configuration)

from superset.app import create_app  # noqa: E402

with create_app().app_context():
    from sqlalchemy import text
    from superset.extensions import db
    from superset.models.core import Database

    role = db.session.execute(text("select current_user")).scalar()
    with Database(database_name="shop", sqlalchemy_uri=url).get_sqla_engine() as engine, engine.connect() as connection:
        assert connection.execute(text("select current_user")).scalar() == role
print(role)
