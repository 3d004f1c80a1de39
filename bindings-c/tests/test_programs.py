"""The programs of `programs/`, one an area: as C99 and as C++17, under the sanitizers, and under Valgrind."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from conftest import HEADERS, LANGUAGES, PROGRAMS, SANITIZERS, TARGET, TESTING, compile_program, run, tool

#: What a program is linked with, and what it is given.
AREAS = [source.stem for source in sorted(PROGRAMS.glob("*.c"))]

#: Fewer rounds where each takes fifty times as long.
FEWER = "-DROUNDS=60"


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "IDENTITY_", "PG"))}
    return {**clean, **variables}


def built(area: str, to: Path, language: str = "C99", *options: str) -> list[str | Path]:
    """The command that runs an area's program."""
    # One loads the library itself.
    library = {"panic": TESTING, "unload": None}.get(area, TARGET)
    program = compile_program(PROGRAMS / f"{area}.c", to / area, language, *options, library=library)
    return [program, TARGET / "libpgentra.so"] if library is None else [program]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("area", AREAS)
def test_alone(area: str, language: str, tmp_path: Path) -> None:
    run(*built(area, tmp_path, language), environment=environment())


@pytest.mark.parametrize("area", AREAS)
def test_with_sanitizers(area: str, tmp_path: Path) -> None:
    options = {
        "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    run(*built(area, tmp_path, "C99", FEWER, *SANITIZERS), environment=environment(**options))


@pytest.mark.parametrize("area", AREAS)
def test_under_valgrind(area: str, tmp_path: Path) -> None:
    valgrind = [
        tool("valgrind"),
        # Lost and possibly lost blocks are errors.
        "--leak-check=full",
        "--error-exitcode=99",
        "--num-callers=30",
    ]
    output = run(*valgrind, *built(area, tmp_path, "C99", FEWER), environment=environment())
    assert "ERROR SUMMARY: 0 errors" in output


@pytest.mark.parametrize("standard", ["c++11", "c++17"])
def test_handles_that_close_themselves(standard: str, tmp_path: Path) -> None:
    options = [f"-std={standard}", *SANITIZERS]
    run(compile_program(PROGRAMS / "raii.cpp", tmp_path / "raii", "C++17", *options), environment=environment())


def test_failpoint_in_every_export() -> None:
    exports = set(
        re.findall(r"\b(pgentra_\w+)\(", re.sub(r"/\*.*?\*/", "", (HEADERS / "pgentra.h").read_text(), flags=re.S))
    )
    tested = (PROGRAMS / "panic.c").read_text()
    missing = [
        name
        for name in sorted(exports)
        if not re.search(rf'(PANICS|GIVES|SAYS|ENDS)\([^;]*\b{name}\b|failpoint\("{name}"\)', tested)
    ]
    assert exports and missing == []
