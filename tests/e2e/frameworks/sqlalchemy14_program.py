"""SQLAlchemy 1.4, which some applications require: the plugin, and an engine of the application."""

from __future__ import annotations

import os

import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

from pgentra.errors import EntraConnectionValueError
from pgentra.sqlalchemy import enable_entra_authentication, enable_entra_authentication_async

assert sqlalchemy.__version__.startswith("1.4.")
role = sqlalchemy.text("select current_user")
url = os.environ["DATABASE_URL"]
roles = []
for driver in ("psycopg2", "pg8000"):
    of_driver = url.replace("+psycopg:", f"+{driver}:")
    engine = sqlalchemy.create_engine(of_driver)
    enable_entra_authentication(engine)
    with engine.connect() as connection:
        roles.append(connection.execute(role).scalar())
    with sqlalchemy.create_engine(of_driver.partition("?")[0] + "?plugin=pgentra").connect() as connection:
        roles.append(connection.execute(role).scalar())
    for refused in (
        of_driver.partition("?")[0] + "?plugin=pgentra&sslrootcert=x",
        f"postgresql+{driver}://127.0.0.1/x",
    ):
        try:
            sqlalchemy.create_engine(refused, plugins=["pgentra"]).connect()
        except EntraConnectionValueError as error:
            assert "must not use the identity of this process" in str(error)
        else:
            raise AssertionError(refused)
asynchronous = create_async_engine(url.replace("+psycopg:", "+asyncpg:"))
try:
    enable_entra_authentication_async(asynchronous)
except EntraConnectionValueError as error:
    assert "asynchronous engines are not supported with this version" in str(error)
else:
    raise AssertionError("asyncpg")
assert len(set(roles)) == 1
print(roles[0])
