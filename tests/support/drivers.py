"""Every way of connecting that pgentra has in Python, behind one call that returns the role of the connection.

Tests run over `DRIVERS`; a new driver is one function and one entry.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from urllib.parse import quote

import asyncpg
import psycopg
import psycopg2
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

import pgentra.asyncpg
from pgentra.psycopg2 import EntraConnection as Psycopg2Connection
from pgentra.psycopg3 import AsyncEntraConnection, EntraConnection
from pgentra.sqlalchemy import create_asyncpg_engine, enable_entra_authentication, enable_entra_authentication_async

CURRENT_USER = "select current_user"


@dataclass(frozen=True)
class Target:
    """The settings of a connection; `None` is left out."""

    host: str | None
    port: int | None
    database: str | None
    sslmode: str | None = "verify-full"
    user: str | None = None
    password: str | None = None
    service: str | None = None
    #: Whether the settings are passed as one URL instead of keywords.
    as_url: bool = False
    #: The credential and options of pgentra.
    entra: dict[str, Any] = field(default_factory=dict)
    #: The driver's own arguments.
    extra: dict[str, Any] = field(default_factory=dict)

    def but(self, **changes: Any) -> Target:
        """Returns a copy with changes."""
        return replace(self, **changes)

    def keywords(self, database: str = "dbname") -> dict[str, Any]:
        """Returns the settings as keyword arguments."""
        given = {
            "host": self.host,
            "port": self.port,
            database: self.database,
            "sslmode": self.sslmode,
            "user": self.user,
            "password": self.password,
            "service": self.service,
        }
        return {name: value for name, value in given.items() if value is not None}

    def url(self, scheme: str = "postgresql") -> str:
        """Returns the settings as a percent-encoded URL."""
        user = "" if self.user is None else quote(self.user, safe="")
        password = "" if self.password is None else ":" + quote(self.password, safe="")
        place = "" if self.host is None else f"{self.host}:{self.port}"
        at = "@" if user or password else ""
        query = [f"{key}={value}" for key, value in (("sslmode", self.sslmode), ("service", self.service)) if value]
        question = "?" + "&".join(query) if query else ""
        database = "" if self.database is None else f"/{self.database}"
        return f"{scheme}://{user}{password}{at}{place}{database}{question}"


def first(row: Sequence[Any] | None) -> str:
    """Returns the value of a row with one column."""
    assert row is not None
    return str(row[0])


def psycopg2_factory(target: Target) -> str:
    factory = partial(Psycopg2Connection, **target.entra)
    if target.as_url:
        connection = psycopg2.connect(target.url(), connection_factory=factory, **target.extra)
    else:
        connection = psycopg2.connect(connection_factory=factory, **target.keywords(), **target.extra)
    try:
        with connection.cursor() as cursor:
            cursor.execute(CURRENT_USER)
            return first(cursor.fetchone())
    finally:
        connection.close()


def psycopg2_connect(target: Target) -> str:
    if target.as_url:
        connection = Psycopg2Connection.connect(target.url(), **target.entra, **target.extra)
    else:
        connection = Psycopg2Connection.connect(**target.keywords(), **target.entra, **target.extra)
    try:
        with connection.cursor() as cursor:
            cursor.execute(CURRENT_USER)
            return first(cursor.fetchone())
    finally:
        connection.close()


def psycopg3_sync(target: Target) -> str:
    conninfo, keywords = (target.url(), {}) if target.as_url else ("", target.keywords())
    with EntraConnection.connect(conninfo, **keywords, **target.entra, **target.extra) as connection:
        return first(connection.execute(CURRENT_USER).fetchone())


async def psycopg3_async(target: Target) -> str:
    conninfo, keywords = (target.url(), {}) if target.as_url else ("", target.keywords())
    async with await AsyncEntraConnection.connect(conninfo, **keywords, **target.entra, **target.extra) as connection:
        return first(await (await connection.execute(CURRENT_USER)).fetchone())


async def asyncpg_connect(target: Target) -> str:
    if target.as_url or target.service:
        connection = await pgentra.asyncpg.connect(target.url(), **target.entra, **target.extra)
    else:
        keywords = target.keywords("database")
        if "sslmode" in keywords:
            keywords["ssl"] = keywords.pop("sslmode")
        connection = await pgentra.asyncpg.connect(**keywords, **target.entra, **target.extra)
    try:
        return str(await connection.fetchval(CURRENT_USER))
    finally:
        await connection.close()


def sqlalchemy_sync(dialect: str, target: Target) -> str:
    engine = sqlalchemy.create_engine(
        target.url(f"postgresql+{dialect}"), poolclass=NullPool, connect_args=dict(target.extra)
    )
    enable_entra_authentication(engine, **target.entra)
    with engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one())


def sqlalchemy_pg8000(target: Target) -> str:
    """Connects with a TLS context, because pg8000 has no `sslmode`."""
    extra = dict(target.extra)
    if target.sslmode == "verify-full":
        extra["ssl_context"] = ssl.create_default_context()
    elif target.sslmode == "require":
        extra["ssl_context"] = True
    elif target.sslmode == "disable":
        extra["ssl_context"] = False
    return sqlalchemy_sync("pg8000", target.but(sslmode=None, extra=extra))


async def sqlalchemy_async_psycopg(target: Target) -> str:
    engine = create_async_engine(target.url("postgresql+psycopg"), poolclass=NullPool, connect_args=dict(target.extra))
    enable_entra_authentication_async(engine, **target.entra)
    async with engine.connect() as connection:
        return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())


async def sqlalchemy_async_asyncpg(target: Target) -> str:
    """Connects with `ssl`, asyncpg's name of libpq's `sslmode`."""
    extra = {**target.extra, **({"ssl": target.sslmode} if target.sslmode else {})}
    url = target.but(sslmode=None).url("postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=NullPool, connect_args=extra)
    enable_entra_authentication_async(engine, **target.entra)
    async with engine.connect() as connection:
        return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())


async def sqlalchemy_asyncpg_engine(target: Target) -> str:
    engine = create_asyncpg_engine(
        target.url("postgresql+asyncpg"), **target.entra, poolclass=NullPool, connect_args=dict(target.extra)
    )
    async with engine.connect() as connection:
        return str((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one())


@dataclass(frozen=True)
class Driver:
    """One way of connecting."""

    name: str
    connect: Callable[[Target], str] | Callable[[Target], Awaitable[str]]
    is_async: bool
    #: The class that applications catch around a connect that may succeed later.
    transient: type[Exception]
    #: The classes that applications catch for a login error.
    refused: tuple[type[Exception], ...]
    #: Whether the driver reads connection service files.
    has_services: bool = True
    #: Whether the driver has `sslmode` with the modes `allow` and `prefer`.
    has_sslmode: bool = True

    @property
    def is_libpq(self) -> bool:
        """Whether the driver reads all of libpq's variables."""
        return "psycopg" in self.name

    def log_in(self, target: Target) -> str:
        """Connects to `target` and returns the role of the connection."""
        result = self.connect(target)
        return result if isinstance(result, str) else asyncio.run(_await(result))

    async def log_in_async(self, target: Target) -> str:
        """Does the same in an event loop; a blocking driver runs in a thread."""
        if self.is_async:
            result = self.connect(target)
            assert not isinstance(result, str)
            return await result
        return await asyncio.to_thread(self.log_in, target)


async def _await(awaitable: Awaitable[str]) -> str:
    return await awaitable


# SQLAlchemy 2.0 does not wrap the errors that asyncpg raises in a connect.
_ASYNCPG = (sqlalchemy.exc.DBAPIError, asyncpg.InvalidAuthorizationSpecificationError)

DRIVERS = (
    Driver("psycopg2", psycopg2_factory, False, psycopg2.OperationalError, (psycopg2.OperationalError,)),
    Driver("psycopg2-connect", psycopg2_connect, False, psycopg2.OperationalError, (psycopg2.OperationalError,)),
    Driver("psycopg3", psycopg3_sync, False, psycopg.OperationalError, (psycopg.OperationalError,)),
    Driver("psycopg3-async", psycopg3_async, True, psycopg.OperationalError, (psycopg.OperationalError,)),
    Driver(
        "asyncpg",
        asyncpg_connect,
        True,
        asyncpg.PostgresConnectionError,
        (asyncpg.InvalidAuthorizationSpecificationError,),
        # Since 0.31.
        has_services="service" in asyncpg.connect.__kwdefaults__,
    ),
    Driver(
        "sqlalchemy-psycopg2",
        partial(sqlalchemy_sync, "psycopg2"),
        False,
        sqlalchemy.exc.OperationalError,
        (sqlalchemy.exc.OperationalError,),
    ),
    Driver(
        "sqlalchemy-psycopg",
        partial(sqlalchemy_sync, "psycopg"),
        False,
        sqlalchemy.exc.OperationalError,
        (sqlalchemy.exc.OperationalError,),
    ),
    Driver(
        "sqlalchemy-pg8000",
        sqlalchemy_pg8000,
        False,
        sqlalchemy.exc.OperationalError,
        (sqlalchemy.exc.DBAPIError,),
        has_services=False,
        has_sslmode=False,
    ),
    Driver(
        "sqlalchemy-async-psycopg",
        sqlalchemy_async_psycopg,
        True,
        sqlalchemy.exc.OperationalError,
        (sqlalchemy.exc.OperationalError,),
    ),
    Driver(
        "sqlalchemy-async-asyncpg",
        sqlalchemy_async_asyncpg,
        True,
        sqlalchemy.exc.OperationalError,
        _ASYNCPG,
        has_services=False,
    ),
    Driver(
        "sqlalchemy-asyncpg-engine",
        sqlalchemy_asyncpg_engine,
        True,
        sqlalchemy.exc.OperationalError,
        _ASYNCPG,
        has_services=False,
    ),
)
