"""One measurement in a process of its own, so that no cache is warm: `measure.py MEASURE ours|peer`.

The variable `PGENTRA_BENCHMARK` holds the emulator's addresses and principals. The result is a line of JSON.
`benchmarks/run.py` sets the faults, counts the requests and computes the medians.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

WARM_CALLS = 20_000
CALLERS = 200
CONNECTIONS = 150

Login = Callable[[], dict[str, str]]

# The peer has no credentials of its own and is always used with azure.identity.
DRIVER_MODULES = {"ours": ["pgentra.psycopg3"], "peer": ["azure.identity", "azure_postgresql_auth.psycopg3"]}
MODULES = {"ours": ["pgentra.identity"], "peer": ["azure.identity", "azure_postgresql_auth.core"]}


def surroundings() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(os.environ["PGENTRA_BENCHMARK"])
    return found


def with_secret(who: str) -> Login:
    """Returns the login of an application with a secret."""
    at = surroundings()
    application = at["tenant_id"], at["client_id"], at["client_secret"]
    if who == "ours":
        import pgentra
        from pgentra.identity import ClientSecretCredential

        ours = ClientSecretCredential(*application, authority=at["authority_host"])
        return lambda: pgentra.get_entra_conninfo(ours)
    from azure.identity import ClientSecretCredential as PeerCredential
    from azure_postgresql_auth.core import get_entra_conninfo

    peer = PeerCredential(*application, authority=at["authority_host"], disable_instance_discovery=True)
    return lambda: get_entra_conninfo(peer)


def with_managed_identity(who: str) -> Login:
    """Returns the login of an App Service's identity."""
    if who == "ours":
        import pgentra
        from pgentra.identity import ManagedIdentityCredential

        ours = ManagedIdentityCredential()
        return lambda: pgentra.get_entra_conninfo(ours)
    from azure.identity import ManagedIdentityCredential as PeerCredential
    from azure_postgresql_auth.core import get_entra_conninfo

    peer = PeerCredential()
    return lambda: get_entra_conninfo(peer)


def load(*modules: str) -> None:
    for module in modules:
        importlib.import_module(module)


def milliseconds_since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3


def warm(log_in: Login) -> dict[str, Any]:
    """Measures the microseconds of a login that needs no fetch."""
    log_in()
    gc.disable()
    for _ in range(WARM_CALLS // 10):
        log_in()
    started = time.perf_counter()
    for _ in range(WARM_CALLS):
        log_in()
    return {"us": milliseconds_since(started) * 1e3 / WARM_CALLS}


def resident_mb() -> float:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def imports(who: str) -> dict[str, Any]:
    """Measures the import, less the import of the driver."""
    import psycopg

    before = resident_mb()
    started = time.perf_counter()
    load(*DRIVER_MODULES[who])
    return {"ms": milliseconds_since(started), "mb": resident_mb() - before, "driver": psycopg.__version__}


def first(who: str) -> dict[str, Any]:
    """Measures the milliseconds from imported modules to a token."""
    load(*MODULES[who])
    started = time.perf_counter()
    with_secret(who)()
    return {"ms": milliseconds_since(started)}


def stampede(who: str) -> dict[str, Any]:
    """Measures the 99th percentile of 200 threads that request a token at once, without a cached token."""
    log_in = with_secret(who)
    barrier = threading.Barrier(CALLERS)
    times: list[float] = []

    def call() -> None:
        barrier.wait()
        started = time.perf_counter()
        log_in()
        times.append(milliseconds_since(started))

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(times) == CALLERS
    return {"ms": sorted(times)[CALLERS * 99 // 100 - 1]}


def next_call(who: str) -> dict[str, Any]:
    """Measures the milliseconds of a second call, which is made when a line arrives on standard input."""
    log_in = with_secret(who)
    log_in()
    print(json.dumps({"ready": True}), flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    error = None
    try:
        log_in()
    except Exception as problem:
        error = str(problem)
    return {"ms": milliseconds_since(started), "error": error}


def connect(_: str) -> dict[str, Any]:
    """Measures the time to open a connection, less the time with a given password, alternating."""
    import psycopg

    import pgentra
    from pgentra.identity import ClientSecretCredential
    from pgentra.psycopg3 import EntraConnection

    at = surroundings()
    credential = ClientSecretCredential(
        at["tenant_id"], at["client_id"], at["client_secret"], authority=at["authority_host"]
    )
    target: dict[str, Any] = at["target"]
    static: dict[str, Any] = pgentra.get_entra_conninfo(credential)

    def entra() -> None:
        EntraConnection.connect(**target, credential=credential).close()

    def password() -> None:
        psycopg.connect(**target, **static).close()

    times: dict[Callable[[], None], list[float]] = {entra: [], password: []}
    for round_ in range(CONNECTIONS + 10):
        for open_one in (entra, password) if round_ % 2 else (password, entra):
            started = time.perf_counter()
            open_one()
            if round_ >= 10:
                times[open_one].append(milliseconds_since(started))
    ours, theirs = statistics.median(times[entra]), statistics.median(times[password])
    return {"ratio": ours / theirs, "ms": ours}


MEASURES: dict[str, Callable[[str], dict[str, Any]]] = {
    "warm-secret": lambda who: warm(with_secret(who)),
    "warm-identity": lambda who: warm(with_managed_identity(who)),
    "import": imports,
    "first": first,
    "stampede": stampede,
    "next": next_call,
    "connect": connect,
}


def main() -> None:
    _, measure, who = sys.argv
    print(json.dumps(MEASURES[measure](who)), flush=True)


if __name__ == "__main__":
    main()
