"""psycopg2 with a pool: python psycopg2_sample.py

Takes HOSTNAME and DATABASE from a `.env` beside it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from dotenv import dotenv_values
from psycopg2.pool import ThreadedConnectionPool

from pgentra.psycopg2 import EntraConnection

# A container's own HOSTNAME is not the server's, so the file takes precedence.
SETTINGS = {**os.environ, **dotenv_values(Path(__file__).with_name(".env"))}


def main() -> None:
    started = time.perf_counter()
    # Each new connection of the pool logs in with a valid token. Without a credential, the default chain finds the
    # identity: a managed identity, a workload identity, or the user that is signed in to `az`.
    # With a credential: connection_factory=functools.partial(EntraConnection, credential=...)
    pool = ThreadedConnectionPool(
        1,
        5,
        host=SETTINGS["HOSTNAME"],
        dbname=SETTINGS["DATABASE"],
        connection_factory=EntraConnection,
    )
    connection = pool.getconn()
    with connection, connection.cursor() as cursor:
        cursor.execute("select current_user")
        (role,) = cursor.fetchone() or ("no role",)
    print(f"sync: logged in as {role} after {(time.perf_counter() - started) * 1000:.0f} ms")
    pool.putconn(connection)
    pool.closeall()


if __name__ == "__main__":
    main()
