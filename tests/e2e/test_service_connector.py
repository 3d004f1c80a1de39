"""Azure Service Connector: logins from its variables alone, with every driver and every kind of identity."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import psycopg
import psycopg2
import psycopg2.pool
import psycopg_pool
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import pgentra.asyncpg
import pgentra.errors
from pgentra.identity import ManagedIdentityCredential
from pgentra.psycopg2 import EntraConnection as Psycopg2Connection
from pgentra.psycopg3 import AsyncEntraConnection, EntraConnection
from pgentra.sqlalchemy import create_asyncpg_engine, enable_entra_authentication, enable_entra_authentication_async
from support.drivers import CURRENT_USER, first
from support.emulator import Emulator, Principal

pytestmark = pytest.mark.one_python

PREFIX = "AZURE_POSTGRESQL_"

#: A name in Azure's domain, which does not resolve here.
AZURE = "shop.postgres.database.azure.com"


# The drivers: each function returns the role of a connection with the option and the given arguments.


def psycopg2_connect(connector: Any, **more: Any) -> str:
    connection = Psycopg2Connection.connect(service_connector=connector, **more)
    try:
        return str(connection.info.user)
    finally:
        connection.close()


def psycopg2_pool(connector: Any, **more: Any) -> str:
    factory = partial(Psycopg2Connection, service_connector=connector)
    pool = psycopg2.pool.SimpleConnectionPool(1, 1, dsn="", connection_factory=factory, **more)
    try:
        return str(pool.getconn().info.user)
    finally:
        pool.closeall()


def psycopg3_sync(connector: Any, **more: Any) -> str:
    with EntraConnection.connect(service_connector=connector, **more) as connection:
        return first(connection.execute(CURRENT_USER).fetchone())


async def psycopg3_async(connector: Any, **more: Any) -> str:
    async with await AsyncEntraConnection.connect(service_connector=connector, **more) as connection:
        return first(await (await connection.execute(CURRENT_USER)).fetchone())


def psycopg3_pool(connector: Any, **more: Any) -> str:
    given = {"service_connector": connector, **more}
    pool = psycopg_pool.ConnectionPool(connection_class=EntraConnection, kwargs=given, min_size=1, open=True)
    with pool, pool.connection(timeout=20) as connection:
        return first(connection.execute(CURRENT_USER).fetchone())


async def asyncpg_connect(connector: Any, **more: Any) -> str:
    connection = await pgentra.asyncpg.connect(service_connector=connector, **_for_asyncpg(more))
    try:
        return str(await connection.fetchval(CURRENT_USER))
    finally:
        await connection.close()


async def asyncpg_pool(connector: Any, **more: Any) -> str:
    given = {"min_size": 1, "max_size": 1, **_for_asyncpg(more)}
    async with pgentra.asyncpg.create_pool(service_connector=connector, **given) as pool:
        return str(await pool.fetchval(CURRENT_USER))


def _for_asyncpg(more: dict[str, Any]) -> dict[str, Any]:
    names = {"dbname": "database", "sslmode": "ssl"}
    return {names.get(name, name): value for name, value in more.items() if name != "sslrootcert"}


def sqlalchemy_sync(dialect: str, connector: Any, **more: Any) -> str:
    if dialect == "pg8000":
        more.pop("sslrootcert", None)
    engine = sqlalchemy.create_engine(f"postgresql+{dialect}://", poolclass=NullPool, connect_args=more)
    enable_entra_authentication(engine, service_connector=connector)
    with engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one())


async def sqlalchemy_async(dialect: str, connector: Any, **more: Any) -> str:
    if dialect == "asyncpg":
        more = _for_asyncpg(more)
    engine = create_async_engine(f"postgresql+{dialect}://", poolclass=NullPool, connect_args=more)
    enable_entra_authentication_async(engine, service_connector=connector)
    async with engine.connect() as connection:
        return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())


async def sqlalchemy_asyncpg_engine(connector: Any, **more: Any) -> str:
    engine = create_asyncpg_engine(
        "postgresql://", service_connector=connector, poolclass=NullPool, connect_args=_for_asyncpg(more)
    )
    async with engine.connect() as connection:
        return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())


def sqlalchemy_connect_args(connector: Any, **more: Any) -> str:
    """The option may be in `connect_args`, as the credential may."""
    more["service_connector"] = connector
    engine = sqlalchemy.create_engine("postgresql+psycopg://", poolclass=NullPool, connect_args=more)
    enable_entra_authentication(engine)
    with engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one())


@dataclass(frozen=True)
class Way:
    """One way of connecting; `name` is the driver's name in the table of logins."""

    name: str
    connect: Callable[..., str] | Callable[..., Awaitable[str]]

    def log_in(self, connector: Any = True, **more: Any) -> str:
        result = self.connect(connector, **more)
        return result if isinstance(result, str) else asyncio.run(_await(result))


async def _await(awaitable: Awaitable[str]) -> str:
    return await awaitable


WAYS = (
    Way("psycopg2", psycopg2_connect),
    Way("psycopg2 pool", psycopg2_pool),
    Way("psycopg 3", psycopg3_sync),
    Way("psycopg 3 async", psycopg3_async),
    Way("psycopg 3 pool", psycopg3_pool),
    Way("asyncpg", asyncpg_connect),
    Way("asyncpg pool", asyncpg_pool),
    Way("SQLAlchemy", partial(sqlalchemy_sync, "psycopg")),
    Way("SQLAlchemy psycopg2", partial(sqlalchemy_sync, "psycopg2")),
    Way("SQLAlchemy pg8000", partial(sqlalchemy_sync, "pg8000")),
    Way("SQLAlchemy psycopg async", partial(sqlalchemy_async, "psycopg")),
    Way("SQLAlchemy asyncpg", partial(sqlalchemy_async, "asyncpg")),
    Way("SQLAlchemy create_asyncpg_engine", sqlalchemy_asyncpg_engine),
    Way("SQLAlchemy connect_args", sqlalchemy_connect_args),
)
NAMES = {way.name: way for way in WAYS}

#: One of each driver, for tests in which drivers differ only in how they are called.
KINDS = [NAMES[name] for name in ("psycopg2", "psycopg 3", "asyncpg", "SQLAlchemy", "SQLAlchemy pg8000")]


@pytest.fixture(params=WAYS, ids=lambda way: way.name)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture
def role(emulator: Emulator) -> Iterator[str]:
    """A role name as Service Connector creates it; no token contains it."""
    yield f"aad_shop_{emulator.add_principal('group').oid[:8]}"


def connected(emulator: Emulator, principal: Principal | str, role: str) -> None:
    """Creates the role for the principal, as Service Connector does."""
    oid = emulator.mint(principal if isinstance(principal, str) else principal.name).claims["oid"]
    with psycopg.connect(emulator.admin_dsn, autocommit=True) as admin:
        admin.execute("select * from pgaadauth_create_principal_with_oid(%s, %s, 'service', false, false)", (role, oid))


def set_variables(
    patch: pytest.MonkeyPatch, emulator: Emulator, role: str | None, *, host: str | None = None, **more: str
) -> None:
    """The variables of the client type `python`, and further ones."""
    place = emulator.server
    user = "" if role is None else f" user={role}"
    text = f"dbname={place.database} host={host or place.host} port={place.port} sslmode=require{user}"
    for name, value in {"CONNECTIONSTRING": text, **more}.items():
        patch.setenv(PREFIX + name, value)


# The table


def system_assigned(emulator: Emulator, role: str) -> dict[str, str]:
    connected(emulator, "app-mi", role)
    return {}


def user_assigned(emulator: Emulator, role: str) -> dict[str, str]:
    identity = emulator.add_principal("user_assigned")
    connected(emulator, identity, role)
    return {"CLIENTID": identity.appid}


def service_principal(emulator: Emulator, role: str) -> dict[str, str]:
    principal = emulator.add_principal("service_principal")
    assert principal.secret is not None
    connected(emulator, principal, role)
    return {"CLIENTID": principal.appid, "TENANTID": emulator.tenant_id, "CLIENTSECRET": principal.secret}


@pytest.mark.parametrize("kind", [system_assigned, user_assigned, service_principal], ids=lambda kind: kind.__name__)
def test_service_connector_login(
    way: Way,
    kind: Callable[[Emulator, str], dict[str, str]],
    role: str,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    variables = kind(emulator, role)
    set_variables(monkeypatch, emulator, role, **variables)
    if kind is service_principal:
        # The emulator's authority; Service Connector does not set this variable.
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", emulator.authority_host)
    assert way.log_in() == role
    # Only this test uses the role. A rejected login is repeated once with a newer token.
    logins = [
        (login.outcome, login.tls, login.message) for login in emulator.postgres_report().logins if login.role == role
    ]
    assert logins[-1:] == [("logged_in", True, None)], logins
    record_property("connector", f"{kind.__name__.replace('_', '-')} / {way.name} / Python")


@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_service_connector_separate_variables(
    way: Way, role: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client type `none`."""
    connected(emulator, "app-mi", role)
    place = emulator.server
    variables = {
        "HOST": place.host,
        "PORT": str(place.port),
        "DATABASE": place.database,
        "USERNAME": role,
        "SSL": "true",
    }
    for name, value in variables.items():
        monkeypatch.setenv(PREFIX + name, value)
    assert way.log_in() == role


@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_service_connector_with_settings_of_another_driver(
    way: Way, role: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection string of another client type, with settings that only its driver has."""
    connected(emulator, "app-mi", role)
    place = emulator.server
    server = f"Server={place.host};Database={place.database};Port={place.port};Ssl Mode=Require;User Id={role}"
    monkeypatch.setenv(PREFIX + "CONNECTIONSTRING", f"{server};Timeout=15;Keepalive=30;Trust Server Certificate=true")
    assert way.log_in() == role
    url = f"jdbc:postgresql://{place.host}:{place.port}/{place.database}?sslmode=require&user={role}"
    monkeypatch.setenv(PREFIX + "CONNECTIONSTRING", f"{url}&loginTimeout=15&authenticationPluginClassName=a.B")
    assert way.log_in() == role


@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_service_connector_with_several_connections(
    way: Way, role: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(emulator, "app-mi", role)
    set_variables(monkeypatch, emulator, "another-user")
    set_variables(monkeypatch, emulator, role)
    monkeypatch.setenv("AZURE_POSTGRESQL_ORDERS_CONNECTIONSTRING", f"host={AZURE} user=aad_orders sslmode=require")
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match=r"AZURE_POSTGRESQL_ORDERS_\*"):
        way.log_in(True)
    assert way.log_in(PREFIX) == role


@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_service_connector_with_arguments(
    way: Way, role: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected(emulator, "app-mi", role)
    set_variables(monkeypatch, emulator, "another-user")
    assert way.log_in(user=role) == role


@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_service_connector_off_by_default(way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, emulator, "another-user")
    monkeypatch.setenv("PGDATABASE", emulator.server.database)
    given = {"host": emulator.server.host, "port": emulator.server.port}
    if way.name == "SQLAlchemy pg8000":
        given["database"] = emulator.server.database
    assert way.log_in(False, **given) == "app-mi"
    assert way.log_in(None, **given) == "app-mi"


@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_service_connector_with_password(
    way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A connection with a secret: no token is requested, and a warning is logged."""
    identity = emulator.add_principal("user_assigned")
    set_variables(monkeypatch, emulator, identity.name)
    minted = emulator.mint(identity.name)
    monkeypatch.setenv(PREFIX + "PASSWORD", minted.token)
    with caplog.at_level(logging.WARNING, "pgentra"):
        assert way.log_in() == identity.name
    assert emulator.requests() == []
    assert minted.token not in caplog.text


@pytest.mark.parametrize("way", KINDS[:4], ids=lambda way: way.name)
def test_service_connector_with_credential(way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, emulator, "aad_shop")
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match="service_connector"):
        way.log_in(credential=ManagedIdentityCredential())


@pytest.mark.parametrize("way", KINDS, ids=lambda way: way.name)
def test_service_connector_without_variables(way: Way, emulator: Emulator) -> None:
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match="Service Connector"):
        way.log_in()
    with pytest.raises(pgentra.errors.PgEntraError, match="service_connector"):
        way.log_in(5)


@pytest.mark.parametrize("way", [NAMES["psycopg2"], NAMES["psycopg 3"], NAMES["SQLAlchemy"]], ids=lambda way: way.name)
def test_service_connector_sslmode_for_azure_server(
    way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With the system's authorities. The emulator's certificate has another name, so that verify-full fails."""
    set_variables(monkeypatch, emulator, "aad_shop", host=AZURE)
    monkeypatch.delenv("PGSSLROOTCERT")
    monkeypatch.setenv("SSL_CERT_FILE", emulator.bundle_file)
    with pytest.raises(Exception, match=f'does not match host name "{AZURE}"'):
        way.log_in(hostaddr="127.0.0.1")
    # An explicit mode is kept, although it verifies nothing; the engine logs a warning.
    with pytest.raises(Exception, match=r"role|password"):
        way.log_in(hostaddr="127.0.0.1", sslmode="require")
    assert emulator.postgres_report().logins[-1].tls


@pytest.mark.parametrize("way", KINDS[:4], ids=lambda way: way.name)
def test_login_error_names_unused_variables(way: Way, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server rejects the default identity; the error does not advise to create a second role."""
    unknown = emulator.add_principal("user_assigned", role=False)
    set_variables(monkeypatch, emulator, "aad_shop", CLIENTID=unknown.appid)
    monkeypatch.setenv("AZURE_CLIENT_ID", unknown.appid)
    place = emulator.server
    with pytest.raises(Exception) as caught:
        way.log_in(False, host=place.host, port=place.port, dbname=place.database)
    message = str(caught.value)
    assert "AZURE_POSTGRESQL_CONNECTIONSTRING, AZURE_POSTGRESQL_CLIENTID" in message
    assert "pgaadauth_create_principal" not in message


def test_login_error_for_role_from_variables(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    set_variables(monkeypatch, emulator, "aad_missing")
    with pytest.raises(psycopg.OperationalError, match="variable AZURE_POSTGRESQL_CONNECTIONSTRING"):
        NAMES["psycopg 3"].log_in()
