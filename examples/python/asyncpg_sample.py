"""asyncpg with a pool: python asyncpg_sample.py

Takes HOSTNAME and DATABASE from a `.env` beside it.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from dotenv import dotenv_values

import pgentra.asyncpg

# A container's own HOSTNAME is not the server's, so the file takes precedence.
SETTINGS = {**os.environ, **dotenv_values(Path(__file__).with_name(".env"))}


async def main() -> None:
    started = time.perf_counter()
    # Each new connection of the pool logs in with a valid token. Without a credential, the default chain finds the
    # identity: a managed identity, a workload identity, or the user that is signed in to `az`.
    # With a credential: create_pool(..., credential=...)
    async with pgentra.asyncpg.create_pool(
        host=SETTINGS["HOSTNAME"], database=SETTINGS["DATABASE"], min_size=1, max_size=5
    ) as pool:
        role = await pool.fetchval("select current_user")
    print(f"async: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")


if __name__ == "__main__":
    asyncio.run(main())
