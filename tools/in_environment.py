#!/usr/bin/env python3
"""Runs a command in a virtual environment of `tools/environment.py`, which is made first if need be.

    tools/in_environment.py [--postgres] VENV COMMAND...

VENV is a name that `tools/environment.py venv` takes, or `tools`, `plots`, `zig` or `cargo-deny` for what these bring,
`none` for no environment, or `every` for each Python of this machine in turn; then PGENTRA_PYTHON is the name of each.
With --postgres, PGENTRA_POSTGRES_BIN is the folder of a PostgreSQL.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import environment


def programs(name: str) -> Path | None:
    """The folder of programs of an environment."""
    match name:
        case "none":
            return None
        case "tools":
            return environment.tools() / "bin"
        case "plots":
            return environment.plots() / "bin"
        case "zig":
            return environment.zig()
        case "cargo-deny":
            return environment.cargo_deny()
        case _:
            return environment.venv(name) / "bin"


def run(name: str, command: list[str], variables: dict[str, str]) -> int:
    """Runs the command in one environment and returns its exit status."""
    folder = programs(name)
    variables = os.environ | {"PGENTRA_PYTHON": name} | variables
    if folder is not None:
        variables["PATH"] = f"{folder}{os.pathsep}{variables['PATH']}"
    return subprocess.run(command, env=variables, cwd=environment.ROOT).returncode


def run_in_every(command: list[str], variables: dict[str, str]) -> int:
    """Runs the command under each Python, also after a failure."""
    pythons = environment.pythons()
    if "free-threaded" not in pythons:
        print("not tried: free-threaded Python: no such Python on this machine", flush=True)
    failed = False
    for name, python in pythons.items():
        print(f"[pgentra] Python {python.label} ({name}): {' '.join(command)}", flush=True)
        try:
            failed |= run(name, command, variables) != 0
        except SystemExit as error:
            print(error, file=sys.stderr)
            failed = True
    return int(failed)


def main(arguments: list[str]) -> int:
    variables: dict[str, str] = {}
    if arguments[:1] == ["--postgres"]:
        arguments = arguments[1:]
        variables["PGENTRA_POSTGRES_BIN"] = str(environment.postgres())
    if len(arguments) < 2:
        sys.exit(__doc__)
    name, *command = arguments
    if name == "every":
        return run_in_every(command, variables)
    return run(name, command, variables)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
