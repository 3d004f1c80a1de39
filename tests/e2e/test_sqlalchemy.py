"""SQLAlchemy's own features, with the newest release and with 2.0.40, whose connections share a parameter dict."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import psycopg2.extensions
import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

import pgentra.errors
from pgentra.identity import ManagedIdentityCredential
from pgentra.psycopg2 import EntraConnection
from pgentra.sqlalchemy import create_asyncpg_engine, enable_entra_authentication, enable_entra_authentication_async
from support.credentials import Counting
from support.drivers import CURRENT_USER, Target
from support.emulator import Emulator, Principal

SYNC = ("psycopg", "psycopg2", "pg8000")
ASYNC = ("psycopg", "asyncpg")


def engine_of(dialect: str, target: Target, **options: Any) -> sqlalchemy.Engine:
    """pg8000 does not verify certificates by default, and these tests do not need it to."""
    url = target.but(sslmode=None if dialect == "pg8000" else target.sslmode).url(f"postgresql+{dialect}")
    return sqlalchemy.create_engine(url, **options)


def async_engine_of(dialect: str, target: Target, **options: Any) -> AsyncEngine:
    if dialect == "asyncpg":
        target = target.but(sslmode=None)
        options["connect_args"] = {"ssl": "verify-full", **options.get("connect_args", {})}
    return create_async_engine(target.url(f"postgresql+{dialect}"), **options)


def log_in(engine: sqlalchemy.Engine) -> str:
    with engine.connect() as connection:
        return str(connection.execute(text(CURRENT_USER)).scalar_one())


async def log_in_async(engine: AsyncEngine) -> str:
    async with engine.connect() as connection:
        return str((await connection.execute(text(CURRENT_USER))).scalar_one())


def test_sqlalchemy_version() -> None:
    print(f"\nSQLAlchemy {sqlalchemy.__version__}")


def three_connections(dialect: str, target: Target) -> list[str]:
    engine = engine_of(dialect, target, poolclass=NullPool)
    enable_entra_authentication(engine, **target.entra)
    roles = [log_in(engine)]
    for _ in range(2):
        time.sleep(2.1)
        roles.append(log_in(engine))
    return roles


def three_asynchronous_connections(dialect: str, target: Target) -> list[str]:
    async def run() -> list[str]:
        engine = async_engine_of(dialect, target, poolclass=NullPool)
        enable_entra_authentication_async(engine, **target.entra)
        roles = [await log_in_async(engine)]
        for _ in range(2):
            await asyncio.sleep(2.1)
            roles.append(await log_in_async(engine))
        return roles

    return asyncio.run(run())


def test_engine_over_token_expiries(emulator: Emulator, target: Target) -> None:
    """A password in the shared dict would count as explicit for the next connection."""
    emulator.set_tokens(lifetime_s=2)
    kinds = [(three_connections, dialect) for dialect in SYNC] + [
        (three_asynchronous_connections, one) for one in ASYNC
    ]
    principals = [emulator.add_principal() for _ in kinds]
    targets = [target.but(entra={"credential": ManagedIdentityCredential(client_id=one.appid)}) for one in principals]
    with ThreadPoolExecutor(len(kinds)) as threads:
        # All at once, because they mostly wait.
        running = [threads.submit(run, dialect, mine) for (run, dialect), mine in zip(kinds, targets, strict=True)]
    for principal, roles, kind in zip(principals, running, kinds, strict=True):
        assert roles.result() == [principal.name] * 3, kind
        assert len(emulator.database_requests(principal)) == 3, kind


@pytest.mark.parametrize("dialect", SYNC)
def test_credential_in_connect_args(dialect: str, identity: Principal, mine: Target) -> None:
    """The driver does not receive it, and the second connection uses it too."""
    given = dict(mine.entra)
    engine = engine_of(dialect, mine, connect_args=given, poolclass=NullPool)
    enable_entra_authentication(engine)
    for _ in range(2):
        assert log_in(engine) == identity.name
    assert given == mine.entra


@pytest.mark.parametrize("dialect", ASYNC)
def test_credential_in_connect_args_asynchronous(dialect: str, identity: Principal, mine: Target) -> None:
    async def run() -> None:
        engine = async_engine_of(dialect, mine, connect_args=dict(mine.entra), poolclass=NullPool)
        enable_entra_authentication_async(engine)
        for _ in range(2):
            assert await log_in_async(engine) == identity.name

    asyncio.run(run())


def test_credential_in_connect_args_and_engine(emulator: Emulator, identity: Principal, mine: Target) -> None:
    engine = engine_of("psycopg", mine, connect_args=dict(mine.entra), poolclass=NullPool)
    enable_entra_authentication(engine, ManagedIdentityCredential(client_id="11111111-0000-0000-0000-000000000002"))
    assert log_in(engine) == identity.name


@pytest.mark.parametrize("dialect", SYNC)
def test_enable_entra_authentication_twice(dialect: str, identity: Principal, counting: Counting, mine: Target) -> None:
    engine = engine_of(dialect, mine, poolclass=NullPool)
    enable_entra_authentication(engine)
    enable_entra_authentication(engine, counting)
    assert len(list(engine.dialect.dispatch.do_connect)) == 1
    # The settings of the second call apply.
    assert log_in(engine) == identity.name
    assert counting.calls


@pytest.mark.parametrize("dialect", SYNC)
def test_timeout_in_connect_args(dialect: str, identity: Principal, mine: Target) -> None:
    """A driver's own `timeout` stays the driver's; for other drivers the argument is pgentra's, and wins."""
    engine = engine_of(dialect, mine, connect_args={"timeout": 20}, poolclass=NullPool)
    enable_entra_authentication(engine, **mine.entra, timeout=10)
    assert log_in(engine) == identity.name


@pytest.mark.parametrize("dialect", ASYNC)
def test_timeout_in_connect_args_asynchronous(dialect: str, identity: Principal, mine: Target) -> None:
    async def run() -> str:
        engine = async_engine_of(dialect, mine, connect_args={"timeout": 20}, poolclass=NullPool)
        enable_entra_authentication_async(engine, **mine.entra, timeout=10)
        return await log_in_async(engine)

    assert asyncio.run(run()) == identity.name


@pytest.mark.parametrize("dialect", SYNC)
def test_boolean_option_in_url(dialect: str, emulator: Emulator, mine: Target) -> None:
    url = sqlalchemy.make_url(mine.but(sslmode=None).url(f"postgresql+{dialect}"))
    engine = sqlalchemy.create_engine(url.update_query_dict({"allow_insecure_transport": "false"}), poolclass=NullPool)
    enable_entra_authentication(engine, **mine.entra)
    with pytest.raises(pgentra.errors.CredentialValueError, match="`allow_insecure_transport`: expected a boolean"):
        log_in(engine)
    assert emulator.postgres_report().logins == []


def test_connection_factory_in_connect_args(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """A subclass of our connection class is accepted; any other class would connect without Entra."""

    class Shop(EntraConnection):
        pass

    engine = engine_of("psycopg2", mine, connect_args={"connection_factory": Shop}, poolclass=NullPool)
    enable_entra_authentication(engine, **mine.entra)
    with engine.connect() as connection:
        assert type(connection.connection.driver_connection) is Shop
        assert connection.execute(text(CURRENT_USER)).scalar_one() == identity.name

    # The arguments of a partial win, like all of `connect_args`.
    factory = partial(Shop, **mine.entra)
    engine = engine_of("psycopg2", mine, connect_args={"connection_factory": factory}, poolclass=NullPool)
    enable_entra_authentication(engine)
    assert log_in(engine) == identity.name

    connect_args = {"connection_factory": psycopg2.extensions.connection}
    engine = engine_of("psycopg2", mine, connect_args=connect_args, poolclass=NullPool)
    enable_entra_authentication(engine, **mine.entra)
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match="connection_factory"):
        log_in(engine)


@pytest.mark.parametrize("dialect", ASYNC)
def test_creator_function_in_connect_args(dialect: str, mine: Target) -> None:
    async def opener(**_: Any) -> None:
        raise AssertionError

    engine = async_engine_of(dialect, mine, connect_args={"async_creator_fn": opener}, poolclass=NullPool)
    enable_entra_authentication_async(engine, **mine.entra)
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match="async_creator_fn"):
        asyncio.run(log_in_async(engine))


@pytest.mark.parametrize("make", ["enable", "create"])
@pytest.mark.parametrize("place", ["url", "connect_args"])
def test_libpq_keywords_with_asyncpg(
    make: str, place: str, emulator: Emulator, identity: Principal, mine: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg reads these from its own URL only, which SQLAlchemy does not pass on."""
    monkeypatch.delenv("PGSSLROOTCERT")

    async def run(**words: str) -> tuple[str, ...]:
        url = sqlalchemy.make_url(mine.but(sslmode=None).url("postgresql+asyncpg"))
        more: dict[str, Any] = {"poolclass": NullPool}
        if place == "url":
            url = url.update_query_dict(words)
        else:
            more["connect_args"] = words
        if make == "create":
            engine = create_asyncpg_engine(url, **mine.entra, **more)
        else:
            engine = create_async_engine(url, **more)
            enable_entra_authentication_async(engine, **mine.entra)
        async with engine.connect() as connection:
            found = await connection.execute(
                text("select current_user, current_setting('statement_timeout'), current_setting('application_name')")
            )
            return tuple(found.one())

    words = {
        "sslmode": "verify-full",
        "sslrootcert": emulator.bundle_file,
        "options": "-c statement_timeout=4321",
        "application_name": "the shop & more",
    }
    assert asyncio.run(run(**words)) == (identity.name, "4321ms", "the shop & more")
    for name in ("sslcert", "sslkey", "sslrootcert"):
        files = {"sslcert": emulator.bundle_file, "sslkey": emulator.bundle_file, name: "/nowhere/at-all.pem"}
        with pytest.raises(Exception, match=r"(?i)no such file|certificate|pem"):
            asyncio.run(run(**{**words, **files}))
    # Without the file the system's authorities are trusted, which do not include the emulator's.
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Exception, match=r"(?i)certificate"):
        asyncio.run(run(sslmode="verify-full"))


@pytest.mark.parametrize("dialect", SYNC)
def test_pre_ping_after_cut_connections(dialect: str, emulator: Emulator, identity: Principal, mine: Target) -> None:
    engine = engine_of(dialect, mine, pool_pre_ping=True)
    enable_entra_authentication(engine, **mine.entra)
    assert log_in(engine) == identity.name
    emulator.control_postgres(disconnect=True)
    time.sleep(0.3)
    assert log_in(engine) == identity.name
    engine.dispose()


@pytest.mark.parametrize("dialect", ASYNC)
def test_pre_ping_asynchronous(dialect: str, emulator: Emulator, identity: Principal, mine: Target) -> None:
    async def run() -> None:
        engine = async_engine_of(dialect, mine, pool_pre_ping=True)
        enable_entra_authentication_async(engine, **mine.entra)
        assert await log_in_async(engine) == identity.name
        emulator.control_postgres(disconnect=True)
        await asyncio.sleep(0.3)
        assert await log_in_async(engine) == identity.name
        await engine.dispose()

    asyncio.run(run())


@pytest.mark.parametrize("dialect", SYNC)
def test_listeners_of_application(dialect: str, identity: Principal, mine: Target) -> None:
    """SQLAlchemy calls no listener after the one that connects."""
    name = text("select current_setting('application_name')")
    engine = engine_of(dialect, mine, poolclass=NullPool)

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def before(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        parameters["application_name"] = "before"

    enable_entra_authentication(engine, **mine.entra)
    with engine.connect() as connection:
        assert connection.execute(name).scalar_one() == "before"

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def after(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        assert "password" not in parameters
        parameters["application_name"] += ", after"

    with engine.connect() as connection:
        assert connection.execute(name).scalar_one() == "before, after"
        assert connection.execute(text(CURRENT_USER)).scalar_one() == identity.name


def test_listener_that_opens_the_connection(emulator: Emulator, identity: Principal, mine: Target) -> None:
    minted = emulator.mint(identity.name)
    engine = engine_of("psycopg", mine, poolclass=NullPool)
    enable_entra_authentication(engine, **mine.entra)

    @sqlalchemy.event.listens_for(engine, "do_connect")
    def opens(dialect: Any, _record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        return dialect.connect(*arguments, **parameters, user=identity.name, password=minted.token)

    assert log_in(engine) == identity.name
    assert emulator.requests() == []


def test_engine_garbage_collected_with_credential_method(emulator: Emulator, target: Target) -> None:
    class Database:
        def __init__(self) -> None:
            self.minted = emulator.mint("alice@contoso.example")
            self.engine = engine_of("psycopg", target)
            enable_entra_authentication(self.engine, self.token)

        def token(self) -> str:
            return self.minted.token

    database = Database()
    assert log_in(database.engine) == "alice@contoso.example"
    database.engine.dispose()
    gone = weakref.ref(database)
    del database
    gc.collect()
    assert gone() is None


def test_engine_execution_options_share_listener(identity: Principal, mine: Target) -> None:
    engine = engine_of("psycopg", mine, poolclass=NullPool)
    enable_entra_authentication(engine, **mine.entra)
    assert log_in(engine.execution_options(isolation_level="AUTOCOMMIT")) == identity.name


def test_enable_function_of_wrong_kind(identity: Principal, mine: Target) -> None:
    async def run() -> str:
        engine = async_engine_of("psycopg", mine, poolclass=NullPool)
        with pytest.raises(pgentra.errors.EntraConnectionValueError, match="enable_entra_authentication_async"):
            enable_entra_authentication(engine, **mine.entra)  # type: ignore[arg-type]
        enable_entra_authentication_async(engine, **mine.entra)
        return await log_in_async(engine)

    assert asyncio.run(run()) == identity.name


def test_enable_with_unknown_driver() -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match="sqlite") as caught:
        enable_entra_authentication(engine)
    assert caught.value.detail["advice"].startswith("Use postgresql+psycopg")


def test_enable_with_sync_engine_of_async_engine(identity: Principal, mine: Target) -> None:
    """`enable_entra_authentication(async_engine.sync_engine)` works, because the driver decides."""

    async def run() -> None:
        engine = async_engine_of("psycopg", mine, poolclass=NullPool)
        enable_entra_authentication(engine.sync_engine, **mine.entra)
        assert await log_in_async(engine) == identity.name

    asyncio.run(run())


@pytest.mark.parametrize("scheme", ["postgresql+asyncpg", "postgresql"])
def test_create_asyncpg_engine(scheme: str, identity: Principal, mine: Target) -> None:
    async def run() -> None:
        engine = create_asyncpg_engine(mine.url(scheme), **mine.entra, pool_size=2, echo=False)
        assert engine.dialect.driver == "asyncpg"
        assert await log_in_async(engine) == identity.name
        await engine.dispose()

    asyncio.run(run())


def test_create_asyncpg_engine_sslmode_in_connect_args(emulator: Emulator, identity: Principal, mine: Target) -> None:
    async def run(**connect_args: Any) -> str:
        url = mine.but(sslmode=None).url("postgresql+asyncpg")
        engine = create_asyncpg_engine(url, **mine.entra, poolclass=NullPool, connect_args=connect_args)
        return await log_in_async(engine)

    assert asyncio.run(run(sslmode="require")) == identity.name
    assert asyncio.run(run(ssl="require", sslmode="disable")) == identity.name
    assert all(login.tls for login in emulator.postgres_report().logins)


def test_create_asyncpg_engine_with_explicit_user_and_password(
    emulator: Emulator, identity: Principal, mine: Target
) -> None:
    minted = emulator.mint(identity.name)

    async def run() -> str:
        url = mine.but(user="another-user", password="hunter2").url("postgresql+asyncpg")
        connect_args = {"user": identity.name, "password": minted.token}
        return await log_in_async(create_asyncpg_engine(url, poolclass=NullPool, connect_args=connect_args))

    assert asyncio.run(run()) == identity.name
    assert emulator.requests() == []


def test_import_without_greenlet() -> None:
    """SQLAlchemy 2.1 does not depend on greenlet."""
    code = """if True:
        import sys
        sys.modules["greenlet"] = None
        from sqlalchemy import create_engine
        from pgentra.sqlalchemy import enable_entra_authentication
        enable_entra_authentication(create_engine("postgresql+psycopg://"))
    """
    subprocess.run([sys.executable, "-c", code], check=True)
