"""The event loop is never blocked, whichever loop, driver and credential; nor are gevent's greenlets."""

from __future__ import annotations

import asyncio
import itertools
import json
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import azure.identity
import azure.identity.aio
import pytest

import pgentra
from credentials import SLOW_S, AccessToken, Counting, SlowAsync, SlowSync
from drivers import DRIVERS, Driver, Target
from emulator import Emulator, Principal

T = TypeVar("T")

ASYNC = [driver for driver in DRIVERS if driver.is_async]
PROGRAMS = Path(__file__).parent / "programs"

#: Seconds of a heartbeat; a loop that is free beats that often.
BEAT_S = 0.01
#: What no gap may exceed: far from the service's second, far above what two busy cores do to a heartbeat.
LARGEST_GAP_S = 0.2


async def with_heartbeat(work: Awaitable[T]) -> tuple[T, float, float]:
    """The result, the largest gap between two beats while it came about, and the median one."""
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


@pytest.fixture(params=["native", "foreign sync", "foreign async"])
def slow(request: pytest.FixtureRequest, emulator: Emulator, identity: Principal, mine: Target) -> Target:
    """A connection whose token takes a second."""
    if request.param == "native":
        emulator.add_fault(principal=identity.name, latency_ms=int(SLOW_S * 1000))
        return mine
    kind = SlowSync if request.param == "foreign sync" else SlowAsync
    return mine.but(entra={"credential": kind(emulator, identity)})


@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_the_loop_beats_while_a_token_is_fetched(driver: Driver, slow: Target, identity: Principal) -> None:
    role, largest, median = asyncio.run(with_heartbeat(driver.who_async(slow)))
    print(f"\n{driver.name}: largest gap {largest * 1000:.0f} ms, median {median * 1000:.1f} ms")
    assert role == identity.name
    assert largest < LARGEST_GAP_S


@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_a_slow_refresh_delays_nobody(driver: Driver, emulator: Emulator, identity: Principal, mine: Target) -> None:
    """Past its refresh point a token is handed out at once, and one slow refresh runs beside."""
    emulator.set_tokens(lifetime_s=5)

    async def run() -> float:
        await driver.who_async(mine)
        emulator.add_fault(principal=identity.name, latency_ms=int(SLOW_S * 1000))
        await asyncio.sleep(2.6)
        slowest, _, _ = await with_heartbeat(connect_for_a_while())
        return slowest

    async def connect_for_a_while() -> float:
        slowest, ends = 0.0, time.monotonic() + 1.2
        while time.monotonic() < ends:
            started = time.monotonic()
            await driver.who_async(mine)
            slowest = max(slowest, time.monotonic() - started)
        return slowest

    slowest = asyncio.run(run())
    print(f"\n{driver.name}: slowest connection during a 1 s refresh: {slowest * 1000:.0f} ms")
    assert slowest < SLOW_S * 0.8
    assert len(emulator.database_requests(identity)) == 2


@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_two_loops_one_after_the_other(driver: Driver, emulator: Emulator, identity: Principal, target: Target) -> None:
    """A migration under `asyncio.run`, then the server on another loop; with the host's own awaitable credential."""
    calls: list[Any] = []

    class Credential(SlowAsync):
        async def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]
            calls.append(asyncio.get_running_loop())
            await asyncio.sleep(0)
            return self.token

    connection = target.but(entra={"credential": Credential(emulator, identity)})
    for _ in range(2):
        assert asyncio.run(driver.who_async(connection)) == identity.name
    # A token is copied across loops, so the second asks for nothing.
    assert len(calls) == 1


@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_two_loops_at_once(driver: Driver, emulator: Emulator, identity: Principal, target: Target) -> None:
    connection = target.but(entra={"credential": SlowAsync(emulator, identity)})
    roles: list[str] = []
    threads = [
        threading.Thread(target=lambda: roles.append(asyncio.run(driver.who_async(connection))), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    assert roles == [identity.name, identity.name]


@pytest.mark.parametrize("driver", ASYNC, ids=lambda driver: driver.name)
def test_cancelling_one_connect_stops_no_other(
    driver: Driver, emulator: Emulator, identity: Principal, slow: Target
) -> None:
    async def run() -> str:
        gives_up = asyncio.create_task(driver.who_async(slow))
        stays = asyncio.create_task(driver.who_async(slow))
        await asyncio.sleep(0.2)
        gives_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gives_up
        return await stays

    assert asyncio.run(run()) == identity.name


# The Azure SDK's own credentials


def _sdk_managed_identity(emulator: Emulator, principal: Principal) -> Any:
    return azure.identity.ManagedIdentityCredential(client_id=principal.appid)


def _sdk_managed_identity_aio(emulator: Emulator, principal: Principal) -> Any:
    return azure.identity.aio.ManagedIdentityCredential(client_id=principal.appid)


@pytest.mark.parametrize("make", [_sdk_managed_identity, _sdk_managed_identity_aio], ids=["sync", "aio"])
def test_credentials_of_azure_identity(
    driver: Driver,
    make: Callable[[Emulator, Principal], Any],
    emulator: Emulator,
    identity: Principal,
    target: Target,
) -> None:
    credential = make(emulator, identity)
    connection = target.but(entra={"credential": credential})
    for _ in range(3):
        assert driver.who(connection) == identity.name
    assert len(emulator.database_requests(identity)) == 1


@pytest.mark.parametrize("driver", DRIVERS, ids=lambda driver: driver.name)
def test_plain_callables(driver: Driver, counting: Counting, identity: Principal, target: Target) -> None:
    """A function that returns a token and an expiry is a credential too."""
    calls: list[str] = []

    def token(scope: str) -> tuple[str, int]:
        calls.append(scope)
        found = counting.get_token(scope)
        return found.token, found.expires_on

    for _ in range(2):
        assert driver.who(target.but(entra={"credential": token})) == identity.name
    assert calls[0] == "https://ossrdbms-aad.database.windows.net/.default"
    assert len(calls) == 2  # One for the database, one for the name.


def test_asyncpg_takes_a_provider_as_password(emulator: Emulator, identity: Principal, mine: Target) -> None:
    import asyncpg

    provider = pgentra.TokenProvider(mine.entra["credential"])

    async def run() -> str:
        connection = await asyncpg.connect(
            host=mine.host,
            port=mine.port,
            database=mine.database,
            user=identity.name,
            password=provider,
            ssl="verify-full",
        )
        try:
            return str(await connection.fetchval("select current_user"))
        finally:
            await connection.close()

    assert asyncio.run(run()) == identity.name


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg3"])
def test_gevent_greenlets_go_on(driver: str, emulator: Emulator, identity: Principal) -> None:
    """Two greenlets connect over a host's credential that takes a second; a third one beats."""
    minted = emulator.mint(identity.name, named=True)
    settings = {
        "driver": driver,
        "host": emulator.place.host,
        "port": emulator.place.port,
        "dbname": emulator.place.database,
        "token": minted.token,
        "expires_on": minted.expires_on,
    }
    done = subprocess.run(
        [sys.executable, PROGRAMS / "gevent_pair.py"],
        input=json.dumps(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    print(
        f"\ngevent {driver}: largest gap {told['largest_ms']:.0f} ms, median {told['median_ms']:.1f} ms, "
        f"{told['seconds']:.2f} s"
    )
    assert told["roles"] == [identity.name, identity.name]
    assert told["calls"] == 1
    assert told["median_ms"] < 30
    assert told["largest_ms"] < LARGEST_GAP_S * 1000
