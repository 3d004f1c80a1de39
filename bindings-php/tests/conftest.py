"""The program that runs the calls of the tests in PHP."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: The directory in which cargo built the library; `make test-php` sets it.
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

PHP = shutil.which("php") or "php"


@pytest.fixture(scope="session")
def start() -> Start:
    return starter([PHP, HERE / "program.php"], TARGET)
