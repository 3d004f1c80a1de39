"""The program that runs the calls of the tests in PHP, and the emulator."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: The directory in which cargo built the library; `make test-php` sets it.
TARGET = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug"))

sys.path.append(str(ROOT / "tests"))

from support.emulator import Emulator  # noqa: E402
from support.language_program import LanguageProgram  # noqa: E402

PHP = shutil.which("php") or "php"


def php(library: Path = TARGET, **more: str) -> LanguageProgram:
    """Returns the program with the library of that folder."""
    variables = {"PGENTRA_LIBRARY": str(library / "libpgentra.so")} | more
    return LanguageProgram([PHP, HERE / "program.php"], variables)


@pytest.fixture(scope="session")
def program() -> Iterator[LanguageProgram]:
    running = php()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def testing() -> Iterator[LanguageProgram]:
    """The program with the build of the library that runs vectors."""
    running = php(TARGET / "testing", PGENTRA_TESTING="1")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    running = Emulator.start()
    yield running
    running.stop()


@pytest.fixture
def emulator(running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with running_emulator.clean(monkeypatch) as clean:
        yield clean


@pytest.fixture
def fresh() -> Iterator[LanguageProgram]:
    """A program that starts with the environment of its first call."""
    running = php()
    yield running
    running.stop()
