"""The features of drivers that applications use still work with Entra logins."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import psycopg
import psycopg.rows
import psycopg2.extras
import psycopg2.pool
import psycopg_pool
import pytest

import pgentra.asyncpg
from pgentra import _login
from pgentra.psycopg2 import EntraConnection as Psycopg2Connection
from pgentra.psycopg3 import AsyncEntraConnection, EntraConnection
from support.drivers import CURRENT_USER, Driver, Target
from support.emulator import Emulator, Principal


@pytest.mark.parametrize("kind", [psycopg2.pool.SimpleConnectionPool, psycopg2.pool.ThreadedConnectionPool])
def test_psycopg2_pools(kind: Any, identity: Principal, mine: Target) -> None:
    factory = partial(Psycopg2Connection, **mine.entra)
    pool = kind(1, 3, connection_factory=factory, **mine.keywords())
    connection = pool.getconn()
    assert isinstance(connection, Psycopg2Connection)
    with connection.cursor() as cursor:
        cursor.execute(CURRENT_USER)
        assert cursor.fetchone() == (identity.name,)
    pool.putconn(connection)
    pool.closeall()


def test_psycopg2_connection_factory_class(target: Target) -> None:
    connection = psycopg2.connect(target.url(), connection_factory=Psycopg2Connection)
    assert connection.info.user == "app-mi"
    connection.close()


def test_psycopg2_cursor_factory_and_other_arguments(identity: Principal, mine: Target) -> None:
    connection: Any = Psycopg2Connection.connect(
        **mine.keywords(),
        **mine.entra,
        cursor_factory=psycopg2.extras.RealDictCursor,
        application_name="shop",
        options="-c statement_timeout=4321",
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("select current_user as who, current_setting('statement_timeout') as timeout")
        assert cursor.fetchone() == {"who": identity.name, "timeout": "4321ms"}
    assert connection.get_dsn_parameters()["application_name"] == "shop"
    connection.close()


def test_psycopg2_subclasses(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """An application's subclass chooses the credential; a rejected login is still retried."""

    class Shop(Psycopg2Connection):
        def __init__(self, dsn: str, async_: int = 0) -> None:
            super().__init__(dsn, async_, **mine.entra)

    emulator.set_tokens(lifetime_s=6)
    Psycopg2Connection.connect(**mine.keywords(), **mine.entra).close()
    time.sleep(0.7)
    emulator.control_postgres(refuse_next=1)
    connection = psycopg2.connect(mine.url(), connection_factory=Shop)
    assert type(connection) is Shop
    assert connection.info.user == identity.name
    assert [login.outcome for login in emulator.postgres_report().logins] == ["logged_in", "refused", "logged_in"]
    connection.close()


def test_psycopg2_second_login_error(emulator: Emulator, mine: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second login error is explained, even if a newer token exists."""
    monkeypatch.setattr(_login.ConnectionPlan, "renew", lambda _plan, login, _refused: login)
    emulator.control_postgres(refuse_next=3)
    with pytest.raises(psycopg2.OperationalError, match="Role tried: "):
        Psycopg2Connection.connect(**mine.keywords(), **mine.entra)
    assert [login.outcome for login in emulator.postgres_report().logins] == ["refused", "refused"]


@pytest.mark.parametrize("name", ["async", "async_"])
def test_psycopg2_asynchronous_connections(name: str, identity: Principal, mine: Target) -> None:
    factory: Any = partial(Psycopg2Connection, **mine.entra)
    given: dict[str, Any] = {name: True}
    for connection in (
        psycopg2.connect(mine.url(), connection_factory=factory, **given),
        factory(mine.url(), **given),
    ):
        psycopg2.extras.wait_select(connection)
        assert connection.info.user == identity.name
        connection.close()


@pytest.mark.parametrize("is_async", [False, True])
def test_psycopg2_replication_connections(
    is_async: bool, emulator: Emulator, identity: Principal, mine: Target
) -> None:
    """Replication as a second base of an application's class, which accepts `async` only."""

    class Feed(Psycopg2Connection, psycopg2.extras.LogicalReplicationConnection):
        pass

    with psycopg.connect(emulator.admin_dsn, autocommit=True) as admin:
        admin.execute(f'alter role "{identity.name}" replication')
    given: dict[str, Any] = {"async": True} if is_async else {}
    connection = psycopg2.connect(mine.url(), connection_factory=partial(Feed, **mine.entra), **given)
    if is_async:
        psycopg2.extras.wait_select(connection)
    cursor = connection.cursor()
    assert isinstance(cursor, psycopg2.extras.ReplicationCursor)
    cursor.execute("IDENTIFY_SYSTEM")
    if is_async:
        psycopg2.extras.wait_select(connection)
    (row,) = cursor.fetchall()
    assert row[3] == mine.database
    connection.close()


def test_psycopg2_dsn_hides_token(identity: Principal, mine: Target) -> None:
    connection = Psycopg2Connection.connect(mine.url(), **mine.entra)
    assert "eyJ" not in connection.dsn
    assert "eyJ" not in repr(connection)
    connection.close()


@pytest.mark.parametrize("kind", [psycopg_pool.ConnectionPool, psycopg_pool.NullConnectionPool])
def test_psycopg_pools(kind: Any, identity: Principal, mine: Target) -> None:
    keywords = {**mine.entra, "sslmode": "verify-full"}
    minimum = 0 if kind is psycopg_pool.NullConnectionPool else 1
    with kind(
        mine.but(sslmode=None).url(), connection_class=EntraConnection, kwargs=keywords, min_size=minimum, max_size=2
    ) as pool:
        for _ in range(3):
            with pool.connection() as connection:
                assert isinstance(connection, EntraConnection)
                assert connection.execute(CURRENT_USER).fetchone() == (identity.name,)


@pytest.mark.parametrize("kind", [psycopg_pool.AsyncConnectionPool, psycopg_pool.AsyncNullConnectionPool])
def test_psycopg_pools_asynchronous(kind: Any, identity: Principal, mine: Target) -> None:
    minimum = 0 if kind is psycopg_pool.AsyncNullConnectionPool else 1

    async def run() -> None:
        async with (
            kind(
                mine.url(),
                connection_class=AsyncEntraConnection,
                kwargs=mine.entra,
                min_size=minimum,
                max_size=2,
                open=False,
            ) as pool,
            pool.connection() as connection,
        ):
            assert (await (await connection.execute(CURRENT_USER)).fetchone()) == (identity.name,)

    asyncio.run(run())


def test_psycopg_row_factory_and_copy(identity: Principal, mine: Target) -> None:
    with EntraConnection.connect(
        mine.url(), **mine.entra, row_factory=psycopg.rows.dict_row, autocommit=True, prepare_threshold=None
    ) as connection:
        assert connection.execute("select current_user as who").fetchone() == {"who": identity.name}
        connection.execute("create temporary table numbers (number int)")
        with connection.cursor() as cursor, cursor.copy("copy numbers from stdin") as copy:
            for number in range(1000):
                copy.write_row((number,))
        assert connection.execute("select sum(number) as sum from numbers").fetchone() == {"sum": 499500}


def test_psycopg_info_hides_token(identity: Principal, mine: Target) -> None:
    with EntraConnection.connect(mine.url(), **mine.entra) as connection:
        assert "eyJ" not in connection.info.dsn
        assert "eyJ" not in repr(connection)
        assert "eyJ" not in str(connection.info.get_parameters())


LIBPQ = (
    lambda target, **more: Psycopg2Connection.connect(**{**target.keywords(), **more}, **target.entra),
    lambda target, **more: EntraConnection.connect(**{**target.keywords(), **more}, **target.entra),
)


@pytest.mark.parametrize("connect", LIBPQ, ids=["psycopg2", "psycopg3"])
def test_hostaddr(connect: Any, identity: Principal, mine: Target) -> None:
    """`hostaddr` is the address to connect to, `host` the name to verify."""
    connection = connect(mine, hostaddr="127.0.0.1")
    assert connection.info.user == identity.name
    connection.close()


@pytest.mark.parametrize("connect", LIBPQ, ids=["psycopg2", "psycopg3"])
def test_hosts_with_first_unreachable(connect: Any, identity: Principal, mine: Target) -> None:
    """The first host does not answer, the second one does."""
    connection = connect(mine, host=f"localhost,{mine.host}", port=f"1,{mine.port}")
    assert connection.info.user == identity.name
    connection.close()


@pytest.mark.parametrize("connect", LIBPQ, ids=["psycopg2", "psycopg3"])
def test_hosts_with_one_remote_host(connect: Any, emulator: Emulator, mine: Target) -> None:
    emulator.control_postgres(plaintext=True)
    with pytest.raises(Exception, match=r"(?i)ssl"):
        connect(mine.but(sslmode=None), host="localhost,0.0.0.0", port=f"1,{mine.port}")
    assert emulator.postgres_report().plaintext_password_bytes == 0


def test_asyncpg_several_hosts_and_server_settings(identity: Principal, mine: Target) -> None:
    async def run() -> None:
        assert mine.port is not None
        connection = await pgentra.asyncpg.connect(
            host=["localhost", "localhost"],
            port=[1, mine.port],
            database=mine.database,
            ssl="verify-full",
            server_settings={"application_name": "shop"},
            **mine.entra,
        )
        assert await connection.fetchval("select current_setting('application_name') || current_user") == (
            f"shop{identity.name}"
        )
        await connection.close()

    asyncio.run(run())


def test_asyncpg_pool(identity: Principal, mine: Target) -> None:
    async def run() -> None:
        async with pgentra.asyncpg.create_pool(mine.url(), min_size=1, max_size=3, **mine.entra) as pool:
            assert await pool.fetchval(CURRENT_USER) == identity.name

    asyncio.run(run())


def test_statement_cancellation(mine: Target) -> None:
    with EntraConnection.connect(mine.url(), **mine.entra) as connection, ThreadPoolExecutor() as threads:
        sleeping = threads.submit(connection.execute, "select pg_sleep(20)")
        # A cancel request that arrives before the statement starts has no effect.
        while not wait([sleeping], 0.1).done:
            connection.cancel_safe()
        with pytest.raises(psycopg.errors.QueryCanceled):
            sleeping.result()


MODULES = (
    "pgentra",
    "pgentra.psycopg2",
    "pgentra.psycopg3",
    "pgentra.sqlalchemy",
    "pgentra.asyncpg",
    "pgentra.identity",
)
DRIVER_MODULES = {"psycopg2", "psycopg", "sqlalchemy", "asyncpg", "pg8000"}
OWN = {
    "pgentra.psycopg2": "psycopg2",
    "pgentra.psycopg3": "psycopg",
    "pgentra.sqlalchemy": "sqlalchemy",
    "pgentra.asyncpg": "asyncpg",
}


@pytest.mark.parametrize("module", MODULES)
def test_import_of_one_driver_module(module: str) -> None:
    code = f"import sys, {module}; print(*(name for name in sys.modules if '.' not in name))"
    imported = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert imported & DRIVER_MODULES == ({OWN[module]} if module in OWN else set())
    assert "azure" not in imported
    if module == "pgentra":
        assert "asyncio" not in imported


def test_import_of_every_driver_module(driver: Driver, identity: Principal, mine: Target) -> None:
    """This process has imported all of them."""
    assert driver.log_in(mine) == identity.name
