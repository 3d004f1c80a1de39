"""Connects with the drivers as they are, as a program does that is not written for pgentra.

Reads a JSON list of `[driver, text, keywords]` from standard input. Prints a JSON list with the role of each
connection, or the class and the text of its error.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

if os.environ.get("IMPORT_FIRST"):
    import asyncpg  # noqa: F401
    import psycopg  # noqa: F401
    import psycopg2  # noqa: F401

if os.environ.get("ENABLE"):
    import pgentra

    pgentra.enable_process_wide()

CURRENT_USER = "select current_user"


def psycopg2_(text: str, keywords: dict[str, Any]) -> str:
    from psycopg2 import connect

    connection = connect(text, **keywords)
    try:
        with connection.cursor() as cursor:
            cursor.execute(CURRENT_USER)
            return str(cursor.fetchone()[0])
    finally:
        connection.close()


def psycopg_(text: str, keywords: dict[str, Any]) -> str:
    from psycopg import connect

    with connect(text, **keywords) as connection:
        return str(connection.execute(CURRENT_USER).fetchone()[0])  # type: ignore[index]


def psycopg_pool_(text: str, keywords: dict[str, Any]) -> str:
    from psycopg_pool import ConnectionPool

    with (
        ConnectionPool(text, kwargs=keywords, min_size=1, timeout=5, open=True) as pool,
        pool.connection() as connection,
    ):
        return str(connection.execute(CURRENT_USER).fetchone()[0])  # type: ignore[index]


async def psycopg_async(text: str, keywords: dict[str, Any]) -> str:
    from psycopg import AsyncConnection

    async with await AsyncConnection.connect(text, **keywords) as connection:
        return str((await (await connection.execute(CURRENT_USER)).fetchone())[0])  # type: ignore[index]


async def asyncpg_(text: str | None, keywords: dict[str, Any]) -> str:
    import asyncpg

    connection = await asyncpg.connect(text or None, **keywords)
    try:
        return str(await connection.fetchval(CURRENT_USER))
    finally:
        await connection.close()


async def asyncpg_pool(text: str | None, keywords: dict[str, Any]) -> str:
    import asyncpg

    async with asyncpg.create_pool(text or None, min_size=1, max_size=1, **keywords) as pool:
        return str(await pool.fetchval(CURRENT_USER))


def sqlalchemy_(text: str, keywords: dict[str, Any]) -> str:
    from sqlalchemy import create_engine
    from sqlalchemy import text as statement
    from sqlalchemy.pool import NullPool

    with create_engine(text, connect_args=keywords, poolclass=NullPool).connect() as connection:
        return str(connection.execute(statement(CURRENT_USER)).scalar_one())


DRIVERS: dict[str, Any] = {
    "psycopg2": psycopg2_,
    "psycopg": psycopg_,
    "psycopg pool": psycopg_pool_,
    "psycopg async": psycopg_async,
    "asyncpg": asyncpg_,
    "asyncpg pool": asyncpg_pool,
    "sqlalchemy": sqlalchemy_,
}


def main() -> None:
    results = []
    for driver, text, keywords in json.load(sys.stdin):
        connect = DRIVERS[driver]
        try:
            result = connect(text, keywords)
            results.append(result if isinstance(result, str) else asyncio.run(result))
        except Exception as error:
            results.append([type(error).__name__, str(error)])
    print(json.dumps(results))


if __name__ == "__main__":
    main()
