"""aiopg: a pool whose connections are of the class `EntraConnection`."""

from __future__ import annotations

import asyncio
import os

import aiopg

from pgentra.psycopg2 import EntraConnection

dsn = os.environ["DATABASE_URL"].replace("+psycopg:", ":")


async def main() -> None:
    pool = await aiopg.create_pool(dsn, connection_factory=EntraConnection)
    async with pool, pool.acquire() as connection, connection.cursor() as cursor:
        await cursor.execute("select current_user")
        print((await cursor.fetchone())[0])


asyncio.run(main())
