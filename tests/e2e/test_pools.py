"""Pools with short-lived tokens, and during outages of the token source."""

from __future__ import annotations

import itertools
import threading
import time
from dataclasses import dataclass, field

import pytest

import pgentra
import pgentra.errors
from pgentra.identity import ManagedIdentityCredential
from support.drivers import DRIVERS, Driver, Target
from support.emulator import Emulator, Principal
from support.pools import POOLS, AllPools, PoolRun

LIFETIME_S = 20


@pytest.mark.one_python
def test_pools_together_with_short_tokens(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """A pool of ten connections in every driver for a minute; connections last a second, tokens 20 s."""
    run_pools(emulator, identity, mine, POOLS, 60.0)


@pytest.mark.long
@pytest.mark.parametrize("name", POOLS)
def test_pool_with_short_tokens(emulator: Emulator, identity: Principal, mine: Target, name: str) -> None:
    run_pools(emulator, identity, mine, {name: POOLS[name]}, 60.0)


@pytest.mark.long
@pytest.mark.one_python
def test_pools_together_for_ten_minutes(emulator: Emulator, identity: Principal, mine: Target) -> None:
    run_pools(emulator, identity, mine, POOLS, 600.0)


def run_pools(
    emulator: Emulator, identity: Principal, target: Target, pools: dict[str, PoolRun], seconds: float
) -> None:
    """Runs pools with tokens of 20 s. Checks that no login fails and that no token is fetched twice."""
    emulator.set_tokens(lifetime_s=LIFETIME_S)
    with AllPools(target, pools) as running:
        time.sleep(seconds)
    requests = emulator.database_requests(identity)
    apart = [later.started - sooner.started for sooner, later in itertools.pairwise(requests)]
    slowest = max(tally.slowest for tally in running.tallies.values())
    print(
        f"\n{len(pools)} pools of 10, {seconds:.0f} s, tokens of {LIFETIME_S} s: {running.logins} logins, "
        f"{len(running.failures)} failures, {len(requests)} token requests, slowest login {slowest:.2f} s"
    )
    assert running.failures == []
    for name, tally in running.tallies.items():
        assert tally.roles == {identity.name}, name
        # Each pool opens up to ten connections a second; one that stops during a refresh fails here.
        assert tally.logins > seconds / 2, name
        assert tally.longest_pause < LIFETIME_S, name
    assert set(emulator.postgres_report().counts) == {"logged_in"}
    # A token of 20 s is refreshed when it is 8 to 10 s old.
    assert all(age > 7.5 for age in apart), apart
    assert emulator.counter("app_service").max_in_flight == 1
    # The role name comes from a management token, which is fetched once.
    assert len(emulator.requests(principal=identity)) == len(requests) + 1


@dataclass
class Attempt:
    """One connection of the outage test; times are seconds since the test began."""

    started: float
    took: float
    error: BaseException | None


@dataclass
class Watch:
    """Opens connections in sequence and records each."""

    driver: Driver
    target: Target
    began: float
    attempts: list[Attempt] = field(default_factory=list)

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            started, error = time.monotonic(), None
            try:
                self.driver.log_in(self.target)
            except Exception as caught:
                error = caught
            ended = time.monotonic()
            self.attempts.append(Attempt(started - self.began, ended - started, error))
            stop.wait(0.5)


@pytest.mark.one_python
def test_pool_during_outage(emulator: Emulator, target: Target) -> None:
    """503 from a token's arrival on, for one identity until a second before the expiry, for another until after it."""
    emulator.set_tokens(lifetime_s=LIFETIME_S)
    # Expiries are whole seconds. A token that arrives within a second would leave the first identity less than a second
    # for its new fetch: the test begins shortly after a full second.
    time.sleep(1.4 - time.time() % 1)
    short, long = emulator.add_principal(), emulator.add_principal()
    stop, began = threading.Event(), time.monotonic()
    watches: dict[str, list[Watch]] = {}
    for principal in (short, long):
        credential = ManagedIdentityCredential(client_id=principal.appid)
        logged_in = target.but(entra={"credential": credential})
        DRIVERS[0].log_in(logged_in)  # The token arrives, and its role name is cached.
        watches[principal.name] = [Watch(driver, logged_in, began) for driver in DRIVERS]
    outages = {principal.name: emulator.add_fault(principal=principal.name, status=503) for principal in (short, long)}
    end = {name: _end(watching[0].target) - began for name, watching in watches.items()}
    threads = [threading.Thread(target=watch.run, args=(stop,)) for one in watches.values() for watch in one]
    for thread in threads:
        thread.start()

    def at(moment: float) -> None:
        time.sleep(max(0.0, began + moment - time.monotonic()))

    at(end[short.name] - 1)
    emulator.clear_fault(outages[short.name])
    returned = end[long.name] + 4
    at(returned)
    emulator.clear_fault(outages[long.name])
    at(returned + 8)
    stop.set()
    for thread in threads:
        thread.join(30)

    print()
    for watch in watches[short.name]:
        errors = [attempt for attempt in watch.attempts if attempt.error is not None]
        slowest = max(attempt.took for attempt in watch.attempts)
        print(
            f"{watch.driver.name}: outage within the token's life: {len(watch.attempts)} logins, "
            f"slowest {slowest:.2f} s"
        )
        assert errors == []
        # A caller that waited for the service would wait for the credential's retries, 4 s and more.
        assert slowest < 4.0
    for watch in watches[long.name]:
        errors = [attempt for attempt in watch.attempts if attempt.error is not None]
        assert errors, watch.driver.name
        first, last = errors[0], errors[-1]
        recovered = next(one for one in watch.attempts if one.started > last.started)
        again = recovered.started + recovered.took - returned
        longest = max(one.took for one in errors)
        print(
            f"{watch.driver.name}: outage past the token's end: {len(errors)} errors "
            f"from {first.started - end[long.name]:.1f} s on, each within {longest:.2f} s, "
            f"back {again:.2f} s after the service"
        )
        assert first.started + first.took > end[long.name] - LIFETIME_S / 20
        assert last.started < returned + 6
        assert again < 6
        # A login that begins just before the expiry may reach the server after it and be rejected.
        for one in (one for one in errors if one.started > end[long.name]):
            assert isinstance(one.error, pgentra.errors.AuthenticationError)
            assert one.error.code == "service_unavailable"
            assert one.error.detail["transient"] is True
            assert one.took < 2.0


def _end(target: Target) -> float:
    """The expiry of the token in use, by the monotonic clock."""
    expires_on = pgentra.decode_jwt(pgentra.get_entra_token(target.entra["credential"]))["exp"]
    return float(expires_on) - time.time() + time.monotonic()
