"""The program `pgentra` with an emulator and its PostgreSQL."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

from support.emulator import Emulator  # noqa: E402

#: The directory in which cargo built the program; `make test-cli` sets it.
TARGET = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug"))
PGENTRA = TARGET / "pgentra"

LIMIT_S = 120


class Cli:
    """Runs the program in the environment of one identity."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.folder = folder
        server = emulator.server
        self.environment = {
            **{name: value for name, value in emulator.environment().items() if not name.startswith("PGENTRA_")},
            "PGHOST": server.host,
            "PGPORT": str(server.port),
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(folder),
            "PATH": f"{os.environ.get('PGENTRA_POSTGRES_BIN', '')}{os.pathsep}{os.environ['PATH']}",
        }
        #: The directory of private files.
        self.private = folder / f"pgentra-{os.geteuid()}"

    def variables(self, changes: dict[str, str | None]) -> dict[str, str]:
        changed = {**self.environment, **changes}
        return {name: value for name, value in changed.items() if value is not None}

    def run(
        self, *arguments: str | Path, code: int | None = 0, **variables: str | None
    ) -> subprocess.CompletedProcess[str]:
        """Runs the program, which must end with this exit code."""
        done = subprocess.run(
            [PGENTRA, *arguments],
            env=self.variables(variables),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert code in (None, done.returncode), (done.returncode, done.stdout, done.stderr)
        return done

    def json(self, *arguments: str | Path, code: int = 0, **variables: str | None) -> Any:
        """Runs the program and returns the document that it prints."""
        return json.loads(self.run(*arguments, "--json", code=code, **variables).stdout)

    def start(self, *arguments: str | Path, **variables: str | None) -> subprocess.Popen[str]:
        """Starts the program."""
        return subprocess.Popen(
            [PGENTRA, *arguments],
            env=self.variables(variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def wait_for(condition: Any, what: str) -> Any:
    """Waits until the condition returns a true value, and returns it."""
    ends = time.monotonic() + LIMIT_S
    while not (found := condition()):
        assert time.monotonic() < ends, f"not within {LIMIT_S} s: {what}"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    emulator = Emulator.start()
    yield emulator
    emulator.stop()


@pytest.fixture
def emulator(running_emulator: Emulator) -> Iterator[Emulator]:
    """The emulator without faults."""
    running_emulator.reset()
    yield running_emulator
    running_emulator.reset()


@pytest.fixture
def cli(emulator: Emulator, tmp_path: Path) -> Cli:
    """The program with the identity `app-mi`."""
    return Cli(emulator, tmp_path)
