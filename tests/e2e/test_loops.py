"""The event loop is not blocked by any driver or credential; nor are gevent's greenlets."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

import azure.identity
import azure.identity.aio
import pytest

import pgentra.asyncpg
from pgentra.identity import ManagedIdentityCredential
from support.credentials import SLOW_S, AccessToken, Counting, SlowAsync, SlowSync
from support.drivers import DRIVERS, Driver, Target
from support.emulator import Emulator, Principal

T = TypeVar("T")

ASYNC = [driver for driver in DRIVERS if driver.is_async]
PSYCOPG3 = next(driver for driver in DRIVERS if driver.name == "psycopg3")
PROGRAMS = Path(__file__).parent / "programs"

#: Seconds between two ticks of a free event loop.
BEAT_S = 0.01
#: The limit of a gap between ticks. A busy machine exceeds it now and then, code that blocks for the service's
#: second does so each time.
LARGEST_GAP_S = 0.05
TRIES = 3


async def with_heartbeat(work: Awaitable[T]) -> tuple[T, float, float]:
    """The result, and the largest and the median gap between two ticks meanwhile."""
    beats = [time.monotonic()]

    async def beat() -> None:
        while True:
            await asyncio.sleep(BEAT_S)
            beats.append(time.monotonic())

    heart = asyncio.create_task(beat())
    try:
        result = await work
    finally:
        heart.cancel()
    beats.append(time.monotonic())
    gaps = [later - sooner for sooner, later in itertools.pairwise(beats)]
    return result, max(gaps), statistics.median(gaps)


def slow(kind: str, emulator: Emulator, target: Target) -> tuple[Target, Principal]:
    """A connection whose token takes a second to fetch, and its role."""
    identity = emulator.add_principal()
    if kind == "native":
        emulator.add_fault(principal=identity.name, latency_ms=int(SLOW_S * 1000))
        return target.but(entra={"credential": ManagedIdentityCredential(client_id=identity.appid)}), identity
    made = (SlowSync if kind == "sync" else SlowAsync)(emulator, identity)
    return target.but(entra={"credential": made}), identity


every_kind = pytest.mark.parametrize("kind", ["native", "sync", "async"])


@every_kind
@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_event_loop_during_token_fetch(driver: Driver, kind: str, emulator: Emulator, target: Target) -> None:
    """The loop is blocked no longer than by the same driver with a password."""
    beyond: list[float] = []
    while len(beyond) < TRIES and min(beyond, default=1.0) > LARGEST_GAP_S:
        connection, identity = slow(kind, emulator, target)
        static = connection.but(user=identity.name, password=emulator.mint(identity.name).token, entra={})
        _, own, _ = asyncio.run(with_heartbeat(driver.log_in_async(static)))
        role, largest, median = asyncio.run(with_heartbeat(driver.log_in_async(connection)))
        assert role == identity.name
        beyond.append(largest - own)
        print(f"\n{driver.name}: {own * 1000:.0f} ms, with a token {largest * 1000:.0f}, median {median * 1000:.1f}")
    assert min(beyond) <= LARGEST_GAP_S


@pytest.mark.one_python
@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_event_loop_during_slow_refresh(driver: Driver, emulator: Emulator, identity: Principal, mine: Target) -> None:
    """A token past its refresh point is returned at once, while one slow refresh runs in the background."""
    emulator.set_tokens(lifetime_s=5)

    async def run() -> float:
        await driver.log_in_async(mine)
        emulator.add_fault(principal=identity.name, latency_ms=int(SLOW_S * 1000))
        await asyncio.sleep(2.6)
        slowest, _, _ = await with_heartbeat(connect_for_a_while())
        return slowest

    async def connect_for_a_while() -> float:
        slowest, ends = 0.0, time.monotonic() + 1.2
        while time.monotonic() < ends:
            started = time.monotonic()
            await driver.log_in_async(mine)
            slowest = max(slowest, time.monotonic() - started)
        return slowest

    slowest = asyncio.run(run())
    print(f"\n{driver.name}: slowest connection during a 1 s refresh: {slowest * 1000:.0f} ms")
    assert slowest < SLOW_S * 0.8
    assert len(emulator.database_requests(identity)) == 2


@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_event_loops_in_sequence(driver: Driver, emulator: Emulator, identity: Principal, target: Target) -> None:
    """A migration runs under `asyncio.run`, then the server on another loop, with an awaitable custom credential."""
    calls: list[Any] = []

    class Credential(SlowAsync):
        async def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]
            calls.append(asyncio.get_running_loop())
            await asyncio.sleep(0)
            return self.token

    connection = target.but(entra={"credential": Credential(emulator, identity)})
    for _ in range(2):
        assert asyncio.run(driver.log_in_async(connection)) == identity.name
    # The cache entry belongs to the object, not to the loop, so that the second loop fetches nothing.
    assert len(calls) == 1


@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_event_loops_at_once(driver: Driver, emulator: Emulator, identity: Principal, target: Target) -> None:
    connection = target.but(entra={"credential": SlowAsync(emulator, identity)})
    roles: list[str] = []
    threads = [
        threading.Thread(target=lambda: roles.append(asyncio.run(driver.log_in_async(connection))), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert roles == [identity.name, identity.name]


@every_kind
@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_cancelled_connect_leaves_other_connects(driver: Driver, kind: str, emulator: Emulator, target: Target) -> None:
    connection, identity = slow(kind, emulator, target)

    async def run() -> str:
        gives_up = asyncio.create_task(driver.log_in_async(connection))
        stays = asyncio.create_task(driver.log_in_async(connection))
        await asyncio.sleep(0.2)
        gives_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gives_up
        return await stays

    assert asyncio.run(run()) == identity.name


# Credentials of the Azure SDK


@pytest.mark.parametrize("kind", [azure.identity, azure.identity.aio], ids=["sync", "aio"])
def test_azure_identity_credentials_over_expiry(kind: Any, emulator: Emulator, target: Target) -> None:
    """Every driver, all at once, over an expiry."""
    emulator.set_tokens(lifetime_s=3)
    principals = [emulator.add_principal() for _ in DRIVERS]
    credentials = [kind.ManagedIdentityCredential(client_id=principal.appid) for principal in principals]
    connections = [target.but(entra={"credential": credential}) for credential in credentials]

    async def run() -> list[str]:
        pairs = list(zip(DRIVERS, connections, strict=True))
        await asyncio.gather(*(driver.log_in_async(connection) for driver, connection in pairs))
        await asyncio.sleep(3.1)
        return await asyncio.gather(*(driver.log_in_async(connection) for driver, connection in pairs))

    assert asyncio.run(run()) == [principal.name for principal in principals]
    for driver, principal in zip(DRIVERS, principals, strict=True):
        assert len(emulator.database_requests(principal)) == 2, driver.name


def test_azure_identity_object_shared_by_loops(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """The object's session is bound to one loop; callers on other loops, or on no loop, get the same tokens."""
    emulator.set_tokens(lifetime_s=2)
    connection = mine.but(entra={"credential": azure.identity.aio.ManagedIdentityCredential(client_id=identity.appid)})
    roles: list[str] = []

    async def several(driver: Driver) -> None:
        for _ in range(2):
            await asyncio.sleep(2.1)
            roles.append(await driver.log_in_async(connection))

    for driver in DRIVERS:
        # First without a loop, then on two loops at once.
        if driver.name in ("psycopg3", "sqlalchemy-pg8000"):
            roles.append(driver.log_in(connection))
    threads = [threading.Thread(target=lambda one=one: asyncio.run(several(one)), daemon=True) for one in ASYNC]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert roles == [identity.name] * (2 + 2 * len(ASYNC))


def test_azure_identity_objects_on_two_loops(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """Without a helper loop, the object is used on the loop of its first caller while that loop runs."""
    emulator.set_tokens(lifetime_s=2)
    connection = mine.but(entra={"credential": azure.identity.aio.ManagedIdentityCredential(client_id=identity.appid)})

    async def run() -> list[str]:
        first = [await ASYNC[0].log_in_async(connection)]
        for _ in range(2):
            await asyncio.sleep(2.1)
            first += await asyncio.gather(
                asyncio.to_thread(lambda: asyncio.run(ASYNC[1].log_in_async(connection))),
                asyncio.to_thread(PSYCOPG3.log_in, connection),
            )
        return first

    assert asyncio.run(run()) == [identity.name] * 5


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
def test_callable_credential(driver: Driver, counting: Counting, identity: Principal, target: Target) -> None:
    """A function that returns a token and an expiry is a credential."""
    calls: list[str] = []

    def token(scope: str) -> tuple[str, int]:
        calls.append(scope)
        found = counting.get_token(scope)
        return found.token, found.expires_on

    for _ in range(2):
        assert driver.log_in(target.but(entra={"credential": token})) == identity.name
    assert calls[0] == "https://ossrdbms-aad.database.windows.net/.default"
    assert len(calls) == 2  # One call for the database's scope, one for the role name.


def test_asyncpg_password_callback_with_settings(emulator: Emulator, identity: Principal, mine: Target) -> None:
    import asyncpg

    password = pgentra.asyncpg.password(
        host=mine.host, user=identity.name, ssl="verify-full", credential=mine.entra["credential"]
    )

    async def run() -> str:
        connection = await asyncpg.connect(
            host=mine.host,
            port=mine.port,
            database=mine.database,
            user=identity.name,
            password=password,
            ssl="verify-full",
        )
        try:
            return str(await connection.fetchval("select current_user"))
        finally:
            await connection.close()

    assert asyncio.run(run()) == identity.name


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg3"])
def test_gevent_greenlets_during_token_fetch(driver: str, emulator: Emulator, identity: Principal) -> None:
    """Two greenlets connect with a custom credential that takes a second. A third one ticks, with no longer gaps
    than during connects with a password, for which libpq blocks all greenlets."""
    minted = emulator.mint(identity.name, named=True)
    settings = {
        "driver": driver,
        "host": emulator.server.host,
        "port": emulator.server.port,
        "dbname": emulator.server.database,
        "role": identity.name,
        "token": minted.token,
        "expires_on": minted.expires_on,
    }
    beyond: list[float] = []
    while len(beyond) < TRIES and min(beyond, default=1.0) > LARGEST_GAP_S:
        done = subprocess.run(
            [sys.executable, PROGRAMS / "gevent_pair.py"],
            input=json.dumps(settings),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        output = json.loads(done.stdout)
        assert output["roles"] == [identity.name, identity.name]
        assert output["calls"] == 1
        beyond.append(output["largest_s"] - output["own_s"])
        print(f"\ngevent {driver}: {output['own_s']:.3f} s, with a credential {output['largest_s']:.3f} s")
    assert min(beyond) <= LARGEST_GAP_S
