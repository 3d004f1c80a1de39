"""The pools of `benchmarks/soak.py` in Python: every driver of `tests/support/pools.py`, a line for each login."""

from __future__ import annotations

import sys
import threading
import time
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))

import os

from psycopg_pool import PoolTimeout

from support import pools
from support.drivers import Target

#: Connections of each pool.
SIZE = 2


class Printed(pools.Tally):
    """Prints each login instead of counting it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def opened(self, role: str, started: float) -> None:
        self._print(time.monotonic() - started, role, "")

    def failed(self, error: BaseException) -> None:
        # The pool had no connection for 30 s; its failed logins are counted by themselves.
        if isinstance(error, PoolTimeout):
            return
        self._print(0.0, "", f"{type(error).__name__}: {error}")

    def _print(self, took: float, role: str, error: str) -> None:
        fields = (self._name, f"{time.time() - took:.3f}", f"{took:.3f}", role, " ".join(error.split()))
        # One write, because several threads print.
        sys.stdout.write("\t".join(fields) + "\n")
        sys.stdout.flush()


def main() -> None:
    pools.SIZE = SIZE
    target = Target(os.environ["PGHOST"], int(os.environ["PGPORT"]), os.environ["PGDATABASE"])
    stop = threading.Event()
    threads = [threading.Thread(target=partial(run, target, Printed(name), stop)) for name, run in pools.POOLS.items()]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(30)


if __name__ == "__main__":
    main()
