"""psycopg 3 with pools: python psycopg3_sample.py [--mode sync|async]

Takes HOSTNAME and DATABASE from a `.env` beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

from dotenv import dotenv_values
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from pgentra.psycopg3 import AsyncEntraConnection, EntraConnection

# A container's own HOSTNAME is not the server's, so the file takes precedence.
SETTINGS = {**os.environ, **dotenv_values(Path(__file__).with_name(".env"))}
CONNINFO = f"postgresql://{SETTINGS['HOSTNAME']}/{SETTINGS['DATABASE']}"


def main_sync() -> None:
    started = time.perf_counter()
    # Each new connection of the pool logs in with a valid token. Without a credential, the default chain finds the
    # identity: a managed identity, a workload identity, or the user that is signed in to `az`.
    # With a credential: kwargs={"credential": ...}
    pool = ConnectionPool(CONNINFO, connection_class=EntraConnection, min_size=1, max_size=5, open=False)
    with pool, pool.connection() as connection:
        (role,) = connection.execute("select current_user").fetchone() or ("no role",)
    print(f"sync: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")


async def main_async() -> None:
    started = time.perf_counter()
    # No kind of credential blocks the event loop during a fetch.
    pool = AsyncConnectionPool(CONNINFO, connection_class=AsyncEntraConnection, min_size=1, max_size=5, open=False)
    async with pool, pool.connection() as connection:
        (role,) = await (await connection.execute("select current_user")).fetchone() or ("no role",)
    print(f"async: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(description="psycopg 3 over Microsoft Entra")
    parser.add_argument("--mode", choices=["sync", "async", "both"], default="both")
    mode = parser.parse_args().mode
    if mode != "async":
        main_sync()
    if mode != "sync":
        if sys.platform == "win32":
            # psycopg does not support the default event loop of Windows.
            asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
        asyncio.run(main_async())


if __name__ == "__main__":
    main()
