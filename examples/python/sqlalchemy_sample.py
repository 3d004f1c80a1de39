"""SQLAlchemy: python sqlalchemy_sample.py [--mode sync|async] [--driver psycopg|psycopg2|asyncpg]

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
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from pgentra.sqlalchemy import enable_entra_authentication, enable_entra_authentication_async

# A container's own HOSTNAME is not the server's, so the file takes precedence.
SETTINGS = {**os.environ, **dotenv_values(Path(__file__).with_name(".env"))}


def url(driver: str) -> str:
    # Without an explicit port the driver's default counts: PGPORT, then 5432.
    return f"postgresql+{driver}://{SETTINGS['HOSTNAME']}/{SETTINGS['DATABASE']}"


def main_sync(driver: str) -> None:
    started = time.perf_counter()
    engine = create_engine(url(driver))
    # Each new connection logs in with a valid token. Without a credential, the default chain finds the identity: a
    # managed identity, a workload identity, or the user that is signed in to `az`.
    # With a credential: enable_entra_authentication(engine, credential)
    enable_entra_authentication(engine)
    with engine.connect() as connection:
        role = connection.execute(text("select current_user")).scalar_one()
    print(f"sync: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")
    engine.dispose()


async def main_async(driver: str) -> None:
    started = time.perf_counter()
    engine = create_async_engine(url(driver))
    # No kind of credential blocks the event loop during a fetch.
    enable_entra_authentication_async(engine)
    async with engine.connect() as connection:
        role = (await connection.execute(text("select current_user"))).scalar_one()
    print(f"async: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")
    await engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description="SQLAlchemy over Microsoft Entra")
    parser.add_argument("--mode", choices=["sync", "async", "both"], default="both")
    parser.add_argument("--driver", choices=["psycopg", "psycopg2", "asyncpg"], default="psycopg")
    arguments = parser.parse_args()
    if (arguments.mode, arguments.driver) in {("sync", "asyncpg"), ("async", "psycopg2")}:
        parser.error(f"--mode {arguments.mode}: not what {arguments.driver} does")
    if arguments.mode != "async" and arguments.driver != "asyncpg":
        main_sync(arguments.driver)
    if arguments.mode != "sync" and arguments.driver != "psycopg2":
        if sys.platform == "win32":
            # psycopg does not support the default event loop of Windows.
            asyncio.set_event_loop_policy(asyncio.WindowsSelectorEventLoopPolicy())
        asyncio.run(main_async(arguments.driver))


if __name__ == "__main__":
    main()
