"""Superset: its own database and one that a user added by its URL, by the plugin; another one by the whole process."""

from __future__ import annotations

import os
from pathlib import Path

from app_settings import settings
from app_settings import url as url_of

import pgentra

url = url_of("superset_config.py")
configuration = Path(os.environ["TEST_FOLDER"], "superset_config.py")
configuration.write_text("SECRET_KEY = 'of the test'\n" + settings("superset_config.py"))
os.environ["SUPERSET_CONFIG_PATH"] = str(configuration)

from superset.app import create_app  # noqa: E402

with create_app().app_context():
    from sqlalchemy import text
    from superset.extensions import db
    from superset.models.core import Database

    role = db.session.execute(text("select current_user")).scalar()
    for of_user in (url, url.replace("&plugin=pgentra", "")):
        database = Database(database_name="shop", sqlalchemy_uri=of_user)
        with database.get_sqla_engine() as engine, engine.connect() as connection:
            assert connection.execute(text("select current_user")).scalar() == role
        pgentra.enable_process_wide()
print(role)
