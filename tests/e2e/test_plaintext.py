"""A server without TLS that requests a password: counts the bytes of tokens that it receives.

Runs with the newest versions of the drivers and, in the environment `sqlalchemy-2.0`, with the oldest supported ones.
"""

from __future__ import annotations

import asyncio
import ctypes.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import psycopg2
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import pgentra.asyncpg
import pgentra.errors
from pgentra.psycopg2 import EntraConnection as Psycopg2Connection
from pgentra.psycopg3 import EntraConnection
from pgentra.sqlalchemy import enable_entra_authentication
from support.drivers import CURRENT_USER, DRIVERS, Driver, Target
from support.emulator import Emulator

pytestmark = pytest.mark.one_python

#: Resolves to this machine, but is not a loopback address, so pgentra must treat it as remote.
NOT_LOOPBACK = "0.0.0.0"


@pytest.fixture(autouse=True)
def _without_tls(emulator: Emulator) -> Iterator[None]:
    """Fails a test in which a byte of a token is sent in plaintext."""
    emulator.control_postgres(plaintext=True)
    yield
    assert emulator.postgres_report().plaintext_password_bytes == 0


@pytest.fixture
def remote(mine: Target) -> Target:
    return mine.but(host=NOT_LOOPBACK, sslmode=None)


def test_driver_versions() -> None:
    import pg8000

    drivers = (asyncpg, pg8000, psycopg, psycopg2, sqlalchemy)
    print("\ndrivers:", ", ".join(f"{one.__name__} {one.__version__}" for one in drivers))


SETTINGS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "allow": {"sslmode": "allow"},
    "prefer": {"sslmode": "prefer"},
    "require": {"sslmode": "require"},
    "verify-full": {"sslmode": "verify-full"},
    "disable": {"sslmode": "disable"},
    "a URL": {"as_url": True},
    "a user": {"user": "app-mi"},
    "a password without a user": {"password": "hunter2"},
}


@pytest.mark.parametrize("settings", SETTINGS)
def test_driver_sends_no_token_in_plaintext(driver: Driver, settings: str, emulator: Emulator, remote: Target) -> None:
    given = SETTINGS[settings]
    if not driver.has_sslmode and given.get("sslmode") in ("allow", "prefer"):
        return
    with pytest.raises(Exception, match=r"(?i)ssl|tls"):
        driver.log_in(remote.but(**given))
    assert [login.outcome for login in emulator.postgres_report().logins if login.outcome == "logged_in"] == []


@pytest.mark.parametrize("driver", [one for one in DRIVERS if one.is_libpq], ids=lambda one: one.name)
def test_service_that_only_libpq_finds(driver: Driver, emulator: Emulator, mine: Target, tmp_path: Path) -> None:
    """The C library's environment has a folder that `os.environ` does not contain, like the one compiled into libpq."""
    place = emulator.server
    (tmp_path / "pg_service.conf").write_text(
        f"[hidden]\nhost={NOT_LOOPBACK}\nport={place.port}\ndbname={place.database}\nuser=alice\n"
    )
    os.putenv("PGSYSCONFDIR", str(tmp_path))
    try:
        with pytest.raises(Exception, match=r"(?i)ssl"):
            driver.log_in(Target(None, None, None, None, service="hidden", entra=mine.entra))
    finally:
        os.unsetenv("PGSYSCONFDIR")


PROGRAM = """
import os, psycopg
from pgentra.psycopg3 import EntraConnection
if folder := os.environ.get("HIDDEN_FOLDER"):
    os.putenv("PGSYSCONFDIR", folder)
print(psycopg.pq.__impl__)
try:
    EntraConnection.connect("service=hidden", connect_timeout=20).close()
except psycopg.OperationalError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(ctypes.util.find_library("pq") is None, reason="psycopg without its binary: no libpq here")
@pytest.mark.parametrize("variable", ["PGSYSCONFDIR", "HIDDEN_FOLDER"])
def test_service_file_of_system_libpq(variable: str, emulator: Emulator, tmp_path: Path) -> None:
    """psycopg in pure Python with the system's libpq."""
    place = emulator.server
    (tmp_path / "pg_service.conf").write_text(
        f"[hidden]\nhost={NOT_LOOPBACK}\nport={place.port}\ndbname={place.database}\nuser=app-mi\n"
    )
    variables = {**os.environ, "PSYCOPG_IMPL": "python", variable: str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    implementation, output = done.stdout.split("\n", 1)
    assert implementation == "python"
    assert output.startswith("refused:")
    assert "SSL" in output
    # The error names the server if pgentra found it, else it says that the server is unknown.
    assert ("found in no service file" in done.stderr) == (variable == "HIDDEN_FOLDER")


@pytest.mark.parametrize("connect", [psycopg.connect, psycopg2.connect], ids=["psycopg", "psycopg2"])
def test_provider_as_password_of_libpq_drivers(connect: Any, emulator: Emulator, remote: Target) -> None:
    """The drivers would send its `str`."""
    with pytest.raises(TypeError, match="not a password"):
        connect(**remote.keywords(), user="app-mi", password=pgentra.TokenProvider())
    assert emulator.postgres_report().logins == []


async def asyncpg_itself(**given: Any) -> None:
    connection = await asyncpg.connect(**given)
    await connection.close()


def place_of(target: Target) -> dict[str, Any]:
    return {"host": target.host, "port": target.port, "database": target.database, "user": "app-mi"}


def test_provider_as_password_of_asyncpg(emulator: Emulator, remote: Target) -> None:
    """asyncpg calls it without the connection's settings."""
    for ssl in (None, "prefer", "disable"):
        with pytest.raises(pgentra.errors.EntraConnectionValueError, match=r"pgentra\.asyncpg\.password") as caught:
            asyncio.run(asyncpg_itself(**place_of(remote), ssl=ssl, password=pgentra.TokenProvider()))
        assert caught.value.code == "insecure_transport"


def test_helper_as_password_of_asyncpg(emulator: Emulator, remote: Target) -> None:
    """In the documented form, the helper has the settings."""
    given = place_of(remote)
    for ssl in (None, "prefer", "allow", "disable", False):
        with pytest.raises(pgentra.errors.EntraConnectionValueError) as caught:
            pgentra.asyncpg.password(**given, ssl=ssl)
        assert caught.value.code == "insecure_transport"
    for ssl in ("require", "verify-full", True):
        made = pgentra.asyncpg.password(**given, ssl=ssl)
        with pytest.raises(Exception, match=r"(?i)ssl|certificate"):
            asyncio.run(asyncpg_itself(**given, ssl=ssl, password=made))


def test_helper_decides_for_each_connection(
    emulator: Emulator, remote: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The helper may have been created with settings from the environment."""
    monkeypatch.setenv("PGSSLMODE", "require")
    given = place_of(remote)
    made = pgentra.asyncpg.password(**given)
    monkeypatch.setenv("PGSSLMODE", "prefer")
    with pytest.raises(pgentra.errors.EntraConnectionValueError):
        asyncio.run(asyncpg_itself(**given, password=made))


def test_helper_in_engine_without_entra(emulator: Emulator, remote: Target) -> None:
    given = place_of(remote)
    made = pgentra.asyncpg.password(**given, ssl="require")

    async def run() -> None:
        engine = create_async_engine(
            "postgresql+asyncpg://", connect_args={**given, "ssl": "require", "password": made}, poolclass=NullPool
        )
        async with engine.connect() as connection:
            await connection.execute(sqlalchemy.text(CURRENT_USER))

    with pytest.raises(Exception, match=r"(?i)ssl"):
        asyncio.run(run())


def test_password_function_rejected(emulator: Emulator, remote: Target) -> None:
    """Our entry points, which fetch the token themselves, reject it."""
    provider: Any = pgentra.TokenProvider()
    given = {**remote.keywords(), "user": "app-mi", "password": provider}
    ways: list[Callable[[], Any]] = [
        lambda: EntraConnection.connect(**given),
        lambda: Psycopg2Connection.connect(**given),
        lambda: asyncio.run(pgentra.asyncpg.connect(**place_of(remote), password=provider)),
        lambda: pgentra.asyncpg.create_pool(**place_of(remote), password=lambda: "token"),
    ]
    for dialect in ("psycopg", "psycopg2", "pg8000"):
        url = remote.url(f"postgresql+{dialect}")
        engine = sqlalchemy.create_engine(url, poolclass=NullPool, connect_args={"password": provider})
        enable_entra_authentication(engine)
        ways.append(engine.connect)
    for way in ways:
        with pytest.raises(pgentra.errors.EntraConnectionValueError, match="password: expected a text"):
            way()


def test_asyncpg_urls_that_other_parsers_read_differently(
    emulator: Emulator, remote: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg connects to the first host; other parsers read a local one."""
    port, database = remote.port, remote.database
    for url in (
        f"postgresql://u:p@{NOT_LOOPBACK}:{port},x@localhost/{database}",
        f"postgresql://{NOT_LOOPBACK}:{port}#@localhost/{database}",
        f"postgresql://{NOT_LOOPBACK}:{port}?@localhost/{database}",
        f"postgresql://{NOT_LOOPBACK}:{port}/{database}?host=localhost&hostaddr=127.0.0.1",
        f"postgresql:///{database}?host={NOT_LOOPBACK}:{port}&hostaddr=127.0.0.1",
        f"postgresql://%30.0.0.0:{port}/{database}",
    ):
        with pytest.raises(Exception, match=r"(?i)ssl|%40|bad query"):
            asyncio.run(pgentra.asyncpg.connect(url, **remote.entra))


def test_asyncpg_services_that_libpq_reads_differently(
    remote: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg reads them with Python's `configparser`: names in any case, a colon instead of an equals sign."""
    services = tmp_path / "services"
    services.write_text(
        f"[hidden]\nHOST: {NOT_LOOPBACK}\nPort = {remote.port}\ndatabase={remote.database}\nuser=app-mi\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGHOST", "localhost")
    # Versions without services connect to this machine, where nothing listens.
    monkeypatch.setenv("PGPORT", "1")
    with pytest.raises((ConnectionError, OSError), match=r"(?i)ssl|refused|connect"):
        asyncio.run(pgentra.asyncpg.connect("postgresql://?service=hidden", **remote.entra))


def test_plaintext_count_detects_a_token(emulator: Emulator, mine: Target) -> None:
    """With the option set, a token is sent in plaintext and counted: the other tests can fail."""
    allowed = mine.but(host=NOT_LOOPBACK, sslmode="disable", entra={**mine.entra, "allow_insecure_transport": True})
    for driver in DRIVERS:
        before = emulator.postgres_report().plaintext_password_bytes
        driver.log_in(allowed)
        assert emulator.postgres_report().plaintext_password_bytes > before + 500, driver.name
    emulator.control_postgres(reset=True)
