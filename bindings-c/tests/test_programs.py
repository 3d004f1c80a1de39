"""The programs of `programs/`, one for each area: as C99 and C++17, under the sanitizers, and under Valgrind."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from conftest import HEADERS, LANGUAGES, PROGRAMS, SANITIZERS, TARGET, TESTING, compile_program, run, tool

from support.emulator import Emulator

#: The names of the programs.
AREAS = [source.stem for source in sorted(PROGRAMS.glob("*.c"))]

#: The number of rounds for runs that are fifty times slower.
FEWER = "-DROUNDS=60"


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("AZURE_", "IDENTITY_", "PG"))}
    return {**clean, **variables}


def built(area: str, to: Path, language: str = "C99", *options: str) -> list[str | Path]:
    """Compiles an area's program and returns the command that runs it."""
    # `unload` loads the library itself.
    library = {"panic": TESTING, "unload": None}.get(area, TARGET)
    program = compile_program(PROGRAMS / f"{area}.c", to / area, language, *options, library=library)
    return [program, TARGET / "libpgentra.so"] if library is None else [program]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("area", AREAS)
def test_program_alone(area: str, language: str, tmp_path: Path) -> None:
    run(*built(area, tmp_path, language), environment=environment())


@pytest.mark.parametrize("area", AREAS)
def test_program_under_sanitizers(area: str, tmp_path: Path) -> None:
    options = {
        "ASAN_OPTIONS": "abort_on_error=0:detect_leaks=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    run(*built(area, tmp_path, "C99", FEWER, *SANITIZERS), environment=environment(**options))


@pytest.mark.parametrize("area", AREAS)
def test_program_under_valgrind(area: str, tmp_path: Path) -> None:
    valgrind = [
        tool("valgrind"),
        # Lost and possibly lost blocks are errors.
        "--leak-check=full",
        "--error-exitcode=99",
        "--num-callers=30",
    ]
    if area == "exit":
        # It ends without pgentra_shutdown(), in the middle of everything.
        valgrind.append("--errors-for-leak-kinds=definite")
    output = run(*valgrind, *built(area, tmp_path, "C99", FEWER), environment=environment())
    assert "ERROR SUMMARY: 0 errors" in output


@pytest.mark.parametrize("credential", ["managed_identity", "client_secret"])
def test_fetch_under_valgrind(credential: str, emulator: Emulator, tmp_path: Path) -> None:
    """After pgentra_shutdown() nothing of the HTTP client, TLS and the caches is lost, by Valgrind's default rules."""
    emulator.reset()
    program = compile_program(PROGRAMS / "with_emulator" / "fetch.c", tmp_path / "fetch")
    document: dict[str, object] = {"type": credential}
    if credential == "client_secret":
        principal = emulator.add_principal("service_principal")
        document |= {
            "tenant_id": emulator.tenant_id,
            "client_id": principal.appid,
            "client_secret": principal.secret,
            "authority_host": emulator.authority_host,
        }
    config = json.dumps({"credential": document, "user": "app"})
    # The suppressions match frames further away than the default of 12.
    valgrind = [tool("valgrind"), "--leak-check=full", "--error-exitcode=99", "--num-callers=30"]
    if credential == "client_secret":
        valgrind.append(f"--suppressions={Path(__file__).with_name('valgrind.supp')}")
    output = run(*valgrind, program, environment=emulator.environment() | {"CONFIG": config})
    assert "possibly lost: 0 bytes" in output or "no leaks are possible" in output


@pytest.mark.parametrize("standard", ["c++11", "c++17"])
def test_cpp_handles(standard: str, tmp_path: Path) -> None:
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
        if not re.search(rf'(PANICS|RETURNS|RETURNS_TEXT|CALL)\([^;]*\b{name}\b|failpoint\("{name}"\)', tested)
    ]
    assert exports and missing == []
