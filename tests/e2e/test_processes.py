"""Forks, exits and interrupts."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import pgentra
from pgentra.identity import ManagedIdentityCredential
from support.drivers import DRIVERS, Driver, Target
from support.emulator import Emulator, Principal

PROGRAMS = Path(__file__).parent / "programs"
CHILD_LIMIT_S = 20.0


def driver_named(name: str) -> Driver:
    return next(driver for driver in DRIVERS if driver.name == name)


def in_children(work: Any, count: int) -> list[str]:
    """The results of `work(number)` in `count` forked children, as in a preforking server."""
    pipes = []
    for number in range(count):
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            # The child must not continue the test run.
            status = 1
            try:
                os.close(reading)
                os.write(writing, work(number).encode())
                status = 0
            except BaseException as error:
                with contextlib.suppress(OSError):
                    os.write(writing, repr(error).encode())
            finally:
                os._exit(status)
        os.close(writing)
        pipes.append((child, reading))

    def kill_all() -> None:
        for child, _ in pipes:
            os.kill(child, signal.SIGKILL)

    watchdog = threading.Timer(CHILD_LIMIT_S, kill_all)
    watchdog.start()
    results = []
    for _, reading in pipes:
        with os.fdopen(reading) as answer:
            results.append(answer.read())
    watchdog.cancel()
    for child, _ in pipes:
        os.waitpid(child, 0)
    return results


PREFORK = ("psycopg2", "psycopg3", "psycopg3-async", "asyncpg", "sqlalchemy-psycopg")


@pytest.mark.parametrize("name", PREFORK)
def test_fork_with_parents_token(name: str, emulator: Emulator, identity: Principal, mine: Target) -> None:
    """As with gunicorn's `--preload`: the application has connected before the workers are forked."""
    driver = driver_named(name)
    assert driver.log_in(mine) == identity.name
    assert in_children(lambda _: driver.log_in(mine), 8) == [identity.name] * 8
    assert len(emulator.database_requests(identity)) == 1


def test_fork_before_first_token(emulator: Emulator, identity: Principal, mine: Target) -> None:
    driver = driver_named("psycopg3")
    assert in_children(lambda _: driver.log_in(mine), 4) == [identity.name] * 4
    assert len(emulator.database_requests(identity)) == 4


def test_fork_during_first_fetch(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """The engine is fetching in the parent; its thread does not exist in the child."""
    emulator.add_fault(principal=identity.name, latency_ms=700, times=1)
    driver = driver_named("psycopg3")
    roles: list[str] = []
    first = threading.Thread(target=lambda: roles.append(driver.log_in(mine)), daemon=True)
    first.start()
    time.sleep(0.2)
    assert in_children(lambda _: driver.log_in(mine), 4) == [identity.name] * 4
    first.join(10)
    assert roles == [identity.name]


def _log_in(target: Target) -> str:
    return driver_named("psycopg3").log_in(target)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing(method: str, emulator: Emulator, identity: Principal, target: Target) -> None:
    """A credential is passed to the children as an argument."""
    target = target.but(entra={"credential": ManagedIdentityCredential(client_id=identity.appid)})
    if method == "spawn":
        # Credentials need not be picklable; a child of `spawn` creates its own.
        os.environ["AZURE_CLIENT_ID"] = identity.appid
        target = target.but(entra={})
    try:
        with multiprocessing.get_context(method).Pool(4) as pool:
            assert pool.map_async(_log_in, [target] * 8).get(CHILD_LIMIT_S) == [identity.name] * 8
    finally:
        os.environ.pop("AZURE_CLIENT_ID", None)


@pytest.mark.one_python
@pytest.mark.parametrize(("way", "batches"), [("slow_refresh", 4), ("first_fetch_on_a_thread", 1), ("on_a_loop", 1)])
def test_exit_during_custom_credential_call(way: str, batches: int) -> None:
    """200 interpreters exit during a custom credential's refresh, others during a first fetch: each in time."""
    count = 50
    began = time.monotonic()
    for _ in range(batches):
        done = subprocess.run(
            [sys.executable, PROGRAMS / "exits.py", way, str(count)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.stderr == ""
        # The last line; the lines of children before it are empty.
        assert done.stdout.split()[-1] == str(count)
    print(f"\n{way}: {count * batches} exits in order, {time.monotonic() - began:.1f} s")


def interrupted(work: Any) -> float:
    """Returns the seconds from Ctrl-C until `work` raises `KeyboardInterrupt`."""
    pressed: list[float] = []

    def press() -> None:
        pressed.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(0.3, press)
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            work()
        return time.monotonic() - pressed[0]
    finally:
        timer.cancel()


def test_interrupt_during_wait_for_token(driver: Driver, emulator: Emulator, identity: Principal, mine: Target) -> None:
    emulator.add_fault(principal=identity.name, connection="black_hole")
    took = interrupted(lambda: driver.log_in(mine))
    print(f"\n{driver.name}: KeyboardInterrupt after {took * 1000:.0f} ms")
    assert took < 0.2
    # The fetch belongs to the cache entry, not to the caller: the next caller gets its result.
    emulator.reset()


def test_interrupt_during_custom_credential_call(emulator: Emulator) -> None:
    def credential() -> tuple[str, int]:
        time.sleep(3)
        return "a.b.c", int(time.time()) + 3600

    provider = pgentra.TokenProvider(credential)
    took = interrupted(provider.get)
    print(f"\ncustom credential: KeyboardInterrupt after {took * 1000:.0f} ms")
    assert took < 0.2
