"""Runs the commands of docs/get-started.md that need no Azure, in its order, and compares what they print."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.emulator import ROOT, find_emulator

PAGE = (ROOT / "docs" / "get-started.md").read_text(encoding="utf-8")
LOCAL = PAGE[: PAGE.index("## Then with Azure")]
BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
# What differs between two runs and two machines.
VARIABLE = re.compile(r"\b[\d,]+ characters|\b\d+ h \d+ min left")
PREPARES = ("cargo build", "export PATH", "python3 -m venv", "venv/bin/pip install")


def commands() -> list[tuple[str, list[str]]]:
    """Each command that is run, with the lines that the page shows as its output."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.finditer(LOCAL):
        lines = block["code"].splitlines()
        if block["info"] == "sh":
            found += [(line, []) for line in lines if not line.startswith(PREPARES)]
        elif block["info"] == "text":
            found[-1][1].extend(lines)
    return found


@pytest.mark.one_python
def test_get_started_commands(tmp_path: Path) -> None:
    program = find_emulator().with_name("pgentra")
    if not program.exists():
        profile = os.environ.get("PROFILE", "dev")
        subprocess.run(["cargo", "build", "--quiet", "--profile", profile, "-p", "pgentra-cli"], cwd=ROOT, check=True)
    for block in BLOCK.finditer(LOCAL):
        if match := re.search(r"\bfile=(\S+)", block["info"]):
            (tmp_path / match[1]).write_text(block["code"])
    environment = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    assert len(commands()) == 4
    for command, shown in commands():
        run = command.replace("venv/bin/python", sys.executable)
        done = subprocess.run(
            run, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == (1 if "doctor" in command else 0), done.stderr
        printed = [VARIABLE.sub("N", line.rstrip()) for line in done.stdout.splitlines()]
        for line in shown:
            assert VARIABLE.sub("N", line.rstrip()) in printed, command
