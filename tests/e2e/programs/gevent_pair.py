"""Two greenlets connect while a third one beats. Settings come as JSON on standard input, figures go out as JSON."""

from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402
import json  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

import gevent  # noqa: E402

settings = json.load(sys.stdin)
place = {name: settings[name] for name in ("host", "port", "dbname")}
calls: list[float] = []


def credential(scope: str) -> tuple[str, int]:
    """Takes a second."""
    calls.append(time.monotonic())
    time.sleep(1.0)
    return settings["token"], settings["expires_on"]


def psycopg2() -> str:
    from pgentra.psycopg2 import EntraConnection

    connection: Any = EntraConnection.connect(**place, sslmode="verify-full", credential=credential)
    with connection, connection.cursor() as cursor:
        cursor.execute("select current_user")
        return str(cursor.fetchone()[0])


def psycopg3() -> str:
    from pgentra.psycopg3 import EntraConnection

    with EntraConnection.connect(**place, sslmode="verify-full", credential=credential) as connection:
        (role,) = connection.execute("select current_user").fetchone() or ("nobody",)
        return str(role)


connect = {"psycopg2": psycopg2, "psycopg3": psycopg3}[settings["driver"]]
__import__(f"pgentra.{settings['driver']}")

beats = [time.monotonic()]


def beat() -> None:
    while True:
        gevent.sleep(0.01)
        beats.append(time.monotonic())


heart = gevent.spawn(beat)
pair = [gevent.spawn(connect) for _ in range(2)]
gevent.joinall(pair, timeout=30, raise_error=True)
heart.kill()
gaps = [(later - sooner) * 1000 for sooner, later in itertools.pairwise(beats)]
json.dump(
    {
        "roles": [greenlet.value for greenlet in pair],
        "calls": len(calls),
        "largest_ms": max(gaps),
        "median_ms": statistics.median(gaps),
        "seconds": beats[-1] - beats[0],
    },
    sys.stdout,
)
