"""The builds of the library, programs that use it, and the emulator."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
BINDING = HERE.parent
ROOT = BINDING.parent
PROGRAMS = HERE / "programs"
HEADERS = BINDING / "include"

sys.path.append(str(ROOT / "tests"))

from support.emulator import Emulator  # noqa: E402

#: The directory in which cargo built the library; `make test-c` sets it.
TARGET = Path(os.environ.get("PGENTRA_TARGET", ROOT / "target" / "debug"))
#: The directory with a copy of the library with the feature `testing`.
TESTING = TARGET / "testing"

WARNINGS = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-O1", "-g"]
#: The compilers. The programs are valid in both languages.
LANGUAGES = {
    "C99": ["cc", "-std=c99", "-D_XOPEN_SOURCE=700"],
    "C++17": ["c++", "-std=c++17", "-x", "c++"],
}
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]

LIMIT_S = 240


def run(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    """Runs a command, which must succeed, and returns its output."""
    done = subprocess.run(
        [str(word) for word in command],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT_S,
    )
    text = done.stdout.decode(errors="replace")
    assert done.returncode == 0, f"status {done.returncode} of {' '.join(map(str, command))}\n{text}"
    return text


def compile_program(
    source: Path, to: Path, language: str = "C99", *options: str | Path, library: Path | None = TARGET
) -> Path:
    """Compiles a program and links it with the shared library in `library`, unless that is None."""
    link: list[str | Path] = ["-x", "none", "-lpthread", "-ldl"]
    if library is not None:
        link += [f"-L{library}", "-lpgentra", f"-Wl,-rpath,{library}"]
    run(*LANGUAGES[language], *WARNINGS, f"-I{HEADERS}", f"-I{PROGRAMS}", source, "-o", to, *link, *options)
    return to


@pytest.fixture(scope="session", autouse=True)
def _soname() -> None:
    """Creates the soname, under which programs load the library."""
    for directory in (TARGET, TESTING):
        link = directory / "libpgentra.so.1"
        if directory.is_dir() and not link.exists():
            link.symlink_to("libpgentra.so")


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    running = Emulator.start()
    yield running
    running.stop()


def tool(name: str) -> str:
    """Returns the path of a tool. Skips the test without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name} on this machine")
    return found
