"""One emulator with a real PostgreSQL for the whole run; a clean one for each test."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import pytest

from pgentra.identity import ClientSecretCredential, ManagedIdentityCredential
from support.credentials import Counting
from support.drivers import DRIVERS, Driver, Target
from support.emulator import Emulator, Principal

#: Whether this is a run of `make test-all`.
LONG = bool(os.environ.get("PGENTRA_LONG"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "one_python: what it tests is the same in every Python; run under the newest")
    config.addinivalue_line("markers", "long: takes minutes; run by `make test-all`")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects what this run leaves out. `PGENTRA_PYTHON` names the Python that runs: `oldest` or `newest`."""
    if LONG:
        return
    if left := [item for item in items if item.get_closest_marker("long")]:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
        _left_to_test_all.update(item.path.name for item in left)
    if os.environ.get("PGENTRA_PYTHON") == "oldest" and (left := [item for item in items if _is_for_one(item)]):
        items[:] = [item for item in items if not _is_for_one(item)]
        config.hook.pytest_deselected(items=left)
        _left_to_the_newest.update(item.path.name for item in left)


def _is_for_one(item: pytest.Item) -> bool:
    return item.get_closest_marker("one_python") is not None


#: The number of deselected tests of each file.
_left_to_the_newest: Counter[str] = Counter()
_left_to_test_all: Counter[str] = Counter()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Reports the tests that only the newest Python or `make test-all` runs."""
    for name, count in _left_to_the_newest.items():
        terminalreporter.write_line(f"not tried under the oldest: {count} tests of {name}")
    for name, count in _left_to_test_all.items():
        terminalreporter.write_line(f"not tried: {count} tests of {name}, which `make test-all` runs")


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    emulator = Emulator.start()
    yield emulator
    emulator.stop()


@pytest.fixture
def emulator(running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """The emulator without faults; this process's environment has the emulator's identity `app-mi`."""
    with running_emulator.clean(monkeypatch) as clean:
        yield clean


@pytest.fixture
def target(emulator: Emulator) -> Target:
    """A connection to the emulator's PostgreSQL, with `verify-full`."""
    return Target(emulator.server.host, emulator.server.port, emulator.server.database)


@pytest.fixture
def identity(emulator: Emulator) -> Principal:
    """A managed identity that only this test uses, so that the cache holds no token for it."""
    return emulator.add_principal("user_assigned")


@pytest.fixture
def mine(identity: Principal, target: Target) -> Target:
    """A connection to the emulator's PostgreSQL as `identity`."""
    return target.but(entra={"credential": ManagedIdentityCredential(client_id=identity.appid)})


@pytest.fixture
def service_principal(emulator: Emulator) -> tuple[Principal, ClientSecretCredential]:
    """A service principal that only this test uses; its tokens contain no name."""
    principal = emulator.add_principal("service_principal")
    assert principal.secret is not None
    credential = ClientSecretCredential(
        emulator.tenant_id, principal.appid, principal.secret, authority=emulator.authority_host
    )
    return principal, credential


@pytest.fixture(params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each driver."""
    found: Driver = request.param
    return found


@pytest.fixture
def counting(emulator: Emulator, identity: Principal) -> Counting:
    """A custom credential for `identity`."""
    return Counting(emulator, identity.name)


@pytest.fixture(autouse=True)
def _no_pending_secrets(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Fails a test that writes a token to its output."""
    yield
    out, err = capfd.readouterr()
    assert "eyJ" not in out + err
    if out:
        print(out, end="")
