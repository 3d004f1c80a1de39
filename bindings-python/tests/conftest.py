"""Fixtures: no database, and no process besides the tests' own programs."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recording import Ended, TokenService

_PREFIXES = ("AZURE_", "IDENTITY_", "IMDS_", "MSI_", "PG", "SSL_CERT_")


def pytest_configure(config: pytest.Config) -> None:
    """A warning is an error, but Python's about forks beside the engine's threads."""
    config.addinivalue_line("filterwarnings", "error")
    config.addinivalue_line(
        "filterwarnings", "ignore:This process .* is multi-threaded, use of fork:DeprecationWarning"
    )


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(_PREFIXES):
            monkeypatch.delenv(name)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenService]:
    """A token service for the managed identity of this process."""
    service = TokenService()
    for name, value in service.environment().items():
        monkeypatch.setenv(name, value)
    yield service
    service.stop()


@pytest.fixture
def client_id() -> str:
    """An identity of which no other test has a token."""
    return f"{os.urandom(4).hex()}-0000-0000-0000-000000000000"


@pytest.fixture
def run() -> Callable[..., Ended]:
    """Runs a program in another Python process; fails if it does not end."""

    def run(program: str, *, limit: float = 60, **variables: str) -> Ended:
        began = time.monotonic()
        path = os.pathsep.join([str(Path(__file__).parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)])
        environment = {**os.environ, "PYTHONPATH": path, **variables}
        ended = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=limit, env=environment
        )
        return Ended(ended.returncode, ended.stdout, ended.stderr, time.monotonic() - began)

    return run
