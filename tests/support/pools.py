"""A pool of each driver whose connections are replaced constantly, with counts of its logins.

A new driver is one function and one entry of `POOLS`.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any

import psycopg2.pool
import psycopg_pool
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine

import pgentra.asyncpg
from pgentra.psycopg2 import EntraConnection as Psycopg2Connection
from pgentra.psycopg3 import AsyncEntraConnection, EntraConnection
from pgentra.sqlalchemy import enable_entra_authentication, enable_entra_authentication_async
from support.drivers import CURRENT_USER, Target, first

#: Connections of each pool.
SIZE = 10
#: Seconds that a connection is kept before it is replaced.
KEPT_S = 1.0


@dataclass
class Tally:
    """The logins of one pool."""

    logins: int = 0
    failures: list[str] = field(default_factory=list)
    roles: set[str] = field(default_factory=set)
    #: The longest login that succeeded, in seconds.
    slowest: float = 0.0
    #: The longest time without a login.
    longest_pause: float = 0.0
    last: float = field(default_factory=time.monotonic)

    def opened(self, role: str, started: float) -> None:
        now = time.monotonic()
        self.logins += 1
        self.roles.add(role)
        self.slowest = max(self.slowest, now - started)
        self.longest_pause = max(self.longest_pause, now - self.last)
        self.last = now

    def failed(self, error: BaseException) -> None:
        self.failures.append(f"{type(error).__name__}: {error}")


Stop = threading.Event
PoolRun = Callable[[Target, Tally, Stop], None]


def _in_threads(work: Callable[[], None], tally: Tally, stop: Stop) -> None:
    """Runs `work`, which opens, uses and replaces one connection, in `SIZE` threads until `stop`."""

    def repeat() -> None:
        while not stop.is_set():
            try:
                work()
            except Exception as error:
                tally.failed(error)
                stop.wait(0.2)

    with ThreadPoolExecutor(SIZE) as threads:
        for _ in range(SIZE):
            threads.submit(repeat)


async def _in_tasks(work: Callable[[], Awaitable[None]], tally: Tally, stop: Stop) -> None:
    async def repeat() -> None:
        while not stop.is_set():
            try:
                await work()
            except Exception as error:
                tally.failed(error)
                await asyncio.sleep(0.2)

    await asyncio.gather(*(repeat() for _ in range(SIZE)))


def psycopg2_pool(target: Target, tally: Tally, stop: Stop) -> None:
    factory = partial(Psycopg2Connection, **target.entra)
    pool = psycopg2.pool.ThreadedConnectionPool(0, SIZE, connection_factory=factory, **target.keywords())

    def work() -> None:
        started = time.monotonic()
        connection = pool.getconn()
        try:
            with connection.cursor() as cursor:
                cursor.execute(CURRENT_USER)
                tally.opened(first(cursor.fetchone()), started)
            stop.wait(KEPT_S)
        finally:
            pool.putconn(connection, close=True)

    _in_threads(work, tally, stop)
    pool.closeall()


def psycopg3_pool(target: Target, tally: Tally, stop: Stop) -> None:
    class Counted(EntraConnection):
        """Counts each failure; a pool retries without reporting it."""

        @classmethod
        def connect(cls, *arguments: Any, **keywords: Any) -> Any:
            started = time.monotonic()
            try:
                connection = super().connect(*arguments, **keywords)
            except Exception as error:
                tally.failed(error)
                raise
            tally.opened(connection.info.user, started)
            return connection

    def work() -> None:
        with pool.connection() as connection:
            connection.execute(CURRENT_USER)
            stop.wait(KEPT_S)

    keywords = {**target.keywords(), **target.entra}
    with psycopg_pool.ConnectionPool(
        min_size=SIZE, max_lifetime=KEPT_S, connection_class=Counted, kwargs=keywords
    ) as pool:
        _in_threads(work, tally, stop)


def psycopg3_async_pool(target: Target, tally: Tally, stop: Stop) -> None:
    class Counted(AsyncEntraConnection):
        @classmethod
        async def connect(cls, *arguments: Any, **keywords: Any) -> Any:
            started = time.monotonic()
            try:
                connection = await super().connect(*arguments, **keywords)
            except Exception as error:
                tally.failed(error)
                raise
            tally.opened(connection.info.user, started)
            return connection

    async def run() -> None:
        async def work() -> None:
            async with pool.connection() as connection:
                await connection.execute(CURRENT_USER)
                await asyncio.sleep(KEPT_S)

        keywords = {**target.keywords(), **target.entra}
        async with psycopg_pool.AsyncConnectionPool(
            min_size=SIZE, max_lifetime=KEPT_S, connection_class=Counted, kwargs=keywords
        ) as pool:
            await _in_tasks(work, tally, stop)

    asyncio.run(run())


def asyncpg_pool(target: Target, tally: Tally, stop: Stop) -> None:
    async def run() -> None:
        async def work() -> None:
            started = time.monotonic()
            async with pool.acquire() as connection:
                tally.opened(await connection.fetchval(CURRENT_USER), started)
                await asyncio.sleep(KEPT_S)
                # The pool closes it when it is released.
                await pool.expire_connections()

        keywords = target.keywords("database")
        keywords["ssl"] = keywords.pop("sslmode")
        async with pgentra.asyncpg.create_pool(min_size=0, max_size=SIZE, **keywords, **target.entra) as pool:
            await _in_tasks(work, tally, stop)

    asyncio.run(run())


def sqlalchemy_pool(dialect: str, target: Target, tally: Tally, stop: Stop) -> None:
    connect_args = {}
    if dialect == "pg8000":  # asyncpg takes a TLS context.
        target, connect_args = target.but(sslmode=None), {"ssl_context": ssl.create_default_context()}
    url = target.url(f"postgresql+{dialect}")
    engine = sqlalchemy.create_engine(url, connect_args=connect_args, pool_size=SIZE, max_overflow=0)
    enable_entra_authentication(engine, **target.entra)

    def work() -> None:
        started = time.monotonic()
        with engine.connect() as connection:
            tally.opened(connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one(), started)
            stop.wait(KEPT_S)
            connection.invalidate()

    _in_threads(work, tally, stop)
    engine.dispose()


def sqlalchemy_async_pool(dialect: str, target: Target, tally: Tally, stop: Stop) -> None:
    async def run() -> None:
        url, connect_args = target.url(f"postgresql+{dialect}"), {}
        if dialect == "asyncpg":
            url, connect_args = target.but(sslmode=None).url("postgresql+asyncpg"), {"ssl": target.sslmode}
        engine = create_async_engine(url, connect_args=connect_args, pool_size=SIZE, max_overflow=0)
        enable_entra_authentication_async(engine, **target.entra)

        async def work() -> None:
            started = time.monotonic()
            async with engine.connect() as connection:
                tally.opened((await connection.execute(sqlalchemy.text(CURRENT_USER))).scalar_one(), started)
                await asyncio.sleep(KEPT_S)
                await connection.invalidate()

        await _in_tasks(work, tally, stop)
        await engine.dispose()

    asyncio.run(run())


POOLS: dict[str, PoolRun] = {
    "psycopg2": psycopg2_pool,
    "psycopg3": psycopg3_pool,
    "psycopg3 async": psycopg3_async_pool,
    "SQLAlchemy psycopg": partial(sqlalchemy_pool, "psycopg"),
    "SQLAlchemy psycopg2": partial(sqlalchemy_pool, "psycopg2"),
    "SQLAlchemy pg8000": partial(sqlalchemy_pool, "pg8000"),
    "SQLAlchemy async psycopg": partial(sqlalchemy_async_pool, "psycopg"),
    "SQLAlchemy async asyncpg": partial(sqlalchemy_async_pool, "asyncpg"),
    "asyncpg": asyncpg_pool,
}


class AllPools(AbstractContextManager["AllPools"]):
    """Runs every pool at once for the time of a `with` block."""

    def __init__(self, target: Target, pools: dict[str, PoolRun] = POOLS) -> None:
        self.tallies = {name: Tally() for name in pools}
        self._stop = Stop()
        self._threads = [
            threading.Thread(target=self._run, args=(run, target, self.tallies[name]), name=name, daemon=True)
            for name, run in pools.items()
        ]

    def _run(self, run: PoolRun, target: Target, tally: Tally) -> None:
        try:
            run(target, tally, self._stop)
        except Exception as error:
            logging.getLogger("pools").exception("a pool ended")
            tally.failed(error)

    def __enter__(self) -> AllPools:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads), "a pool did not end"

    @property
    def logins(self) -> int:
        """The logins of all pools."""
        return sum(tally.logins for tally in self.tallies.values())

    @property
    def failures(self) -> list[str]:
        """The failures of all pools, each with the name of its pool."""
        return [f"{name}: {text}" for name, tally in self.tallies.items() for text in tally.failures]
