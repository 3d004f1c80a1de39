"""Runs each situation of `programs/exit.c` many times: the process ends, regardless of the library's threads."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from conftest import PROGRAMS, compile_program

from support import exits

SITUATIONS = re.findall(r'^    \{"(\w+)", \w+\},$', (PROGRAMS / "exit.c").read_text(), re.M)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(PROGRAMS / "exit.c", tmp_path_factory.mktemp("exit") / "exit")


@pytest.mark.parametrize("situation", SITUATIONS)
def test_process_exit(situation: str, program: Path) -> None:
    # A wait for blocked callbacks takes 1 s.
    at_once = 20 if "blocked" in situation or "shutdown" in situation else 4
    exits.check(situation, [program, situation], os.environ, expected="", at_once=at_once)
