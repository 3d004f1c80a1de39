"""Two greenlets connect while a third one ticks: with a password, and with a credential that takes a second.

Reads settings as JSON from standard input and prints figures as JSON.
"""

from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402
import json  # noqa: E402
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


def psycopg2(**login: Any) -> str:
    from pgentra.psycopg2 import EntraConnection

    connection: Any = EntraConnection.connect(**place, sslmode="verify-full", **login)
    with connection, connection.cursor() as cursor:
        cursor.execute("select current_user")
        return str(cursor.fetchone()[0])


def psycopg3(**login: Any) -> str:
    from pgentra.psycopg3 import EntraConnection

    with EntraConnection.connect(**place, sslmode="verify-full", **login) as connection:
        (role,) = connection.execute("select current_user").fetchone() or ("",)
        return str(role)


connect = {"psycopg2": psycopg2, "psycopg3": psycopg3}[settings["driver"]]


def largest_gap(**login: Any) -> tuple[float, list[str]]:
    """The gaps between two ticks, in seconds, while a pair connects; and the roles."""
    beats = [time.monotonic()]

    def beat() -> None:
        while True:
            gevent.sleep(0.01)
            beats.append(time.monotonic())

    heart = gevent.spawn(beat)
    pair = [gevent.spawn(connect, **login) for _ in range(2)]
    gevent.joinall(pair, timeout=30, raise_error=True)
    heart.kill()
    beats.append(time.monotonic())
    return max(later - sooner for sooner, later in itertools.pairwise(beats)), [one.value for one in pair]


connect(user=settings["role"], password=settings["token"])  # Imports are complete before the measurement.
own, _ = largest_gap(user=settings["role"], password=settings["token"])
largest, roles = largest_gap(credential=credential)
json.dump({"roles": roles, "calls": len(calls), "own_s": own, "largest_s": largest}, sys.stdout)
