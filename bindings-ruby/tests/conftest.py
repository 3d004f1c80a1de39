"""The program that runs the calls of the tests in Ruby."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: The directory in which cargo built the library; `make test-ruby` sets it.
TARGET = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug"))

sys.path.append(str(ROOT / "tests"))

from support.language_suite import (  # noqa: E402, F401
    Start,
    emulator,
    fresh,
    identity,
    program,
    running_emulator,
    starter,
    testing,
)

RUBY = shutil.which("ruby") or "ruby"


@pytest.fixture(scope="session")
def start() -> Start:
    return starter([RUBY, "-w", HERE / "program.rb"], TARGET)
