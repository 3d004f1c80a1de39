"""The sessions of `benchmarks/soak.py` through `pgentra proxy`: psycopg without any Entra package.

Each session checks that nothing is lost and that no other session's state is visible: a counter of its own in a table,
a setting of the session, the process id of its backend, and rows with a checksum. It prints a line for each login, as
the pools of the languages; the pool `integrity` is for what must never happen, `session` for a session that was cut.
"""

from __future__ import annotations

import hashlib
import os
import random
import socket
import sys
import threading
import time
from typing import Any

import psycopg

SESSIONS = 8
ROWS = 200
#: Seconds that a session lasts.
SHORTEST_S, LONGEST_S = 0.2, 25.0


def emit(pool: str, began: float, took: float, role: str, error: str) -> None:
    """Prints a line."""
    # One write, because several threads print.
    sys.stdout.write("\t".join((pool, f"{began:.3f}", f"{took:.3f}", role, " ".join(error.split()))) + "\n")
    sys.stdout.flush()


class Backends:
    """The process ids of the open sessions."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[int, str] = {}

    def add(self, pid: int, owner: str) -> str | None:
        """Registers a session; returns the owner of another session with that backend."""
        with self._lock:
            other = self._owners.get(pid)
            self._owners[pid] = owner
            return other

    def remove(self, pid: int) -> None:
        with self._lock:
            self._owners.pop(pid, None)


class Worker:
    """Opens one session after the other, each with the same counter."""

    def __init__(self, number: int, backends: Backends, seed: int, where: dict[str, Any]) -> None:
        self.name = f"worker-{number}"
        self.random = random.Random(f"{seed} {number}")
        self.backends = backends
        self.where = where
        #: The counter as it must be, and the increments whose response was lost: they may or may not have happened.
        self.counter = 0
        self.uncertain = 0

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            began, started = time.time(), time.monotonic()
            try:
                connection = psycopg.connect(**self.where, autocommit=True, connect_timeout=60)
            except psycopg.Error as error:
                emit("psycopg", began, time.monotonic() - started, "", str(error))
                stop.wait(0.2)
                continue
            emit("psycopg", began, time.monotonic() - started, "session", "")
            try:
                self._session(connection, stop)
            except psycopg.Error as error:
                now = time.time()
                emit("session", now, 0.0, "", f"{type(error).__name__}: {error}")
                stop.wait(0.2)
            finally:
                connection.close()

    def _violated(self, what: str) -> None:
        emit("integrity", time.time(), 0.0, "", f"{self.name}: {what}")

    def _session(self, connection: psycopg.Connection[Any], stop: threading.Event) -> None:
        pid = connection.execute("select pg_backend_pid()").fetchone()[0]  # type: ignore[index]
        if other := self.backends.add(pid, self.name):
            self._violated(f"the backend {pid} is that of {other}")
        try:
            connection.execute("select set_config('soak.owner', %s, false)", (self.name,))
            ends = time.monotonic() + self.random.uniform(SHORTEST_S, LONGEST_S)
            while time.monotonic() < ends and not stop.is_set():
                self._count(connection, pid)
                self._read_rows(connection)
                if self.random.random() < 0.05:
                    self._cancel(connection)
                stop.wait(self.random.uniform(0.0, 0.3))
        finally:
            self.backends.remove(pid)
        if self.random.random() < 0.3:
            # The client disappears without a farewell.
            socket.socket(fileno=os.dup(connection.fileno())).shutdown(socket.SHUT_RDWR)

    def _count(self, connection: psycopg.Connection[Any], pid: int) -> None:
        """Increments the counter; checks it, the backend and the setting of the session."""
        before, self.uncertain = self.uncertain, self.uncertain + 1
        row = connection.execute(
            "insert into soak_counter values (%s, 1) on conflict (id) do update set n = soak_counter.n + 1"
            " returning n, pg_backend_pid(), current_setting('soak.owner')",
            (self.name,),
        ).fetchone()
        assert row is not None
        n, found, owner = row
        least = self.counter + 1
        if not least <= n <= least + before:
            self._violated(f"the counter is {n}, expected {least} to {least + before}")
        if (found, owner) != (pid, self.name):
            self._violated(f"the session is that of {owner}, backend {found}, expected {pid}")
        self.counter, self.uncertain = n, 0

    def _read_rows(self, connection: psycopg.Connection[Any]) -> None:
        """Reads rows with a checksum over all of them."""
        salt = f"{self.name}-{self.random.random()}"
        rows = connection.execute(
            "select n, md5(n || %s), repeat(md5(%s || n), 1 + n %% 40) from generate_series(1, %s) as n",
            (salt, salt, ROWS),
        ).fetchall()
        expected = [
            (
                n,
                hashlib.md5(f"{n}{salt}".encode()).hexdigest(),
                hashlib.md5(f"{salt}{n}".encode()).hexdigest() * (1 + n % 40),
            )
            for n in range(1, ROWS + 1)
        ]
        if rows != expected:
            self._violated("the rows differ from their checksums")

    def _cancel(self, connection: psycopg.Connection[Any]) -> None:
        """Cancels a query; the session goes on."""
        timer = threading.Timer(0.05, connection.cancel_safe)
        timer.start()
        try:
            connection.execute("select pg_sleep(5)")
        except psycopg.errors.QueryCanceled:
            pass
        else:
            self._violated("a query was not cancelled within 5 s")
        finally:
            timer.join()


def main() -> None:
    seed = int(sys.argv[1])
    backends, stop = Backends(), threading.Event()
    # One half by TCP, the other by the Unix socket.
    tcp = {"host": "127.0.0.1", "port": int(os.environ["SOAK_PORT"]), "sslmode": "disable"}
    unix = {"host": os.environ["SOAK_SOCKET"], "port": int(os.environ["SOAK_PORT"])}
    where = {"dbname": os.environ["PGDATABASE"], "user": "anything"}
    threads = [
        threading.Thread(
            target=Worker(number, backends, seed, (unix if number % 2 else tcp) | where).run, args=(stop,), daemon=True
        )
        for number in range(SESSIONS)
    ]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(60)


if __name__ == "__main__":
    main()
