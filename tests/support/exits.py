"""Processes that must exit: each situation is run many times, and a process that does not exit in time is a failure.

PGENTRA_EXITS is the number of processes of each situation, 20 by default.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

COUNT = int(os.environ.get("PGENTRA_EXITS", "20"))
LIMIT_S = 10.0


class Exit(NamedTuple):
    status: int | None
    """None if the process did not exit by itself."""
    output: str
    seconds: float


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> Exit:
    """Starts a process and waits for its exit, at most `LIMIT_S`."""
    began = time.monotonic()
    process = subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        output, _ = process.communicate(timeout=LIMIT_S)
        status: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        status = None
    return Exit(status, output.decode(errors="replace"), time.monotonic() - began)


def check(
    situation: str,
    command: Sequence[str | Path],
    environment: Mapping[str, str],
    *,
    status: int = 0,
    expected: str | None = None,
    at_once: int = 4,
) -> None:
    """Runs the situation `COUNT` times. Every process must exit with `status`, and print `expected` if given."""
    with ThreadPoolExecutor(at_once) as threads:
        exits = list(threads.map(lambda _: run(command, environment), range(COUNT)))
    hung = [one for one in exits if one.status is None]
    assert not hung, (
        f"{situation}: {len(hung)} of {COUNT} processes did not exit within {LIMIT_S:.0f} s\n{hung[0].output}"
    )
    wrong = [one for one in exits if one.status != status or expected not in (None, one.output.strip())]
    assert not wrong, (
        f"{situation}: {len(wrong)} of {COUNT} processes exited with status {wrong[0].status} instead of {status}\n"
        f"{wrong[0].output}"
    )
    print(f"\n{situation}: {COUNT} exits, the slowest after {max(one.seconds for one in exits):.1f} s")
