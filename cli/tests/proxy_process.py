"""A running `pgentra proxy`, a client that only knows the start of PostgreSQL's protocol, and its HTTP endpoints."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from conftest import LIMIT_S, PGENTRA, Cli, wait_for

LOOPBACK = urllib.request.build_opener(urllib.request.ProxyHandler({}))

#: The user of the system that other clients have.
NOBODY = 65534
#: An id without an account.
OTHER_UID = 4711

#: Python of the system, which every user can run, without the modules of the tests.
SYSTEM_PYTHON = "/usr/bin/python3"


class RunningProxy:
    """A proxy in front of the emulator's PostgreSQL."""

    def __init__(
        self, cli: Cli, *arguments: str | Path, listen: tuple[str, ...] = ("127.0.0.1:0",), **options: Any
    ) -> None:
        self.process = start_proxy(cli, *arguments, listen=listen, **options)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        sockets = options.get("sockets", len(listen))
        wait_for(lambda: len(self.addresses) >= sockets or self.process.poll() is not None, "the proxy listens")
        assert self.process.poll() is None, self.log

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)

    @property
    def log(self) -> str:
        return "".join(self._lines)

    @property
    def addresses(self) -> list[str]:
        return re.findall(r"listening at (\S+)", self.log)

    @property
    def port(self) -> int:
        """The first TCP port."""
        return next(int(address.rpartition(":")[2]) for address in self.addresses if not address.startswith("/"))

    @property
    def http(self) -> str:
        """The address of the HTTP endpoints."""
        return str(wait_for(lambda: re.search(r"health and metrics at http://(\S+)", self.log), "the endpoints")[1])

    def conninfo(self, **changes: str | int) -> dict[str, Any]:
        """psycopg's arguments for a client of the proxy."""
        return {"host": "127.0.0.1", "port": self.port, "user": "anything", "dbname": "postgres", **changes}

    def get(self, path: str, *, method: str = "GET", **headers: str) -> tuple[int, Any]:
        """Status and body of an HTTP response."""
        request = urllib.request.Request(f"http://{self.http}{path}", method=method, headers=headers)
        try:
            with LOOPBACK.open(request, timeout=60) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        try:
            return status, json.loads(body)
        except ValueError:
            return status, body.decode()

    def metrics(self) -> dict[str, float]:
        """The samples by their names, without the label of the server."""
        status, text = self.get("/metrics")
        assert status == 200
        samples = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {re.sub(r'server="[^"]*",?', "", name).replace("{}", ""): float(value) for name, _, value in samples}

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends the proxy, which must end with 0."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        assert self.process.wait(timeout=LIMIT_S) == 0, self.log
        self._reader.join(timeout=LIMIT_S)
        assert "eyJ" not in self.log

    def kill(self) -> None:
        """Ends the proxy at once, whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(timeout=LIMIT_S)


def start_proxy(
    cli: Cli,
    *arguments: str | Path,
    listen: tuple[str, ...] = ("127.0.0.1:0",),
    launcher: tuple[str, ...] = (),
    variables: dict[str, str | None] | None = None,
    **options: Any,
) -> subprocess.Popen[str]:
    options.pop("sockets", None)
    listening = [text for address in listen for text in ("--listen", address)]
    return subprocess.Popen(
        [*launcher, str(PGENTRA), "proxy", *map(str, arguments), *listening],
        env=cli.variables(variables or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def startup(connection: socket.socket, user: str = "anything", database: str = "postgres") -> tuple[str, Any]:
    """Sends a startup message, and returns the kind and the content of the first response: the code of a request for
    authentication, or the fields of an error."""
    body = b"".join(text.encode() + b"\0" for text in ("user", user, "database", database)) + b"\0"
    connection.sendall(struct.pack("!II", len(body) + 8, 196608) + body)
    return response(connection)


def response(connection: socket.socket) -> tuple[str, Any]:
    kind, length = struct.unpack("!cI", read(connection, 5))
    content = read(connection, length - 4)
    if kind == b"E":
        fields = (field.decode() for field in content.split(b"\0") if field)
        return "E", {field[0]: field[1:] for field in fields}
    return kind.decode(), struct.unpack("!I", content[:4])[0] if kind == b"R" else content


def read(connection: socket.socket, length: int) -> bytes:
    found = b""
    while len(found) < length:
        more = connection.recv(length - len(found))
        assert more, "the connection was closed"
        found += more
    return found


def startup_as(uid: int, address: str, port: int, *, launcher: tuple[str, ...] = ()) -> tuple[str, Any]:
    """The same from a process of another user. `address` can be the path of a socket."""
    program = f"""if True:
        import json, socket, struct, sys
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        host = {address!r}
        if host.startswith("/"):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(host)
        else:
            connection = socket.create_connection((host, {port}))
        connection.settimeout(60)
        body = b"user\\0x\\0database\\0postgres\\0\\0"
        connection.sendall(struct.pack("!II", len(body) + 8, 196608) + body)
        found = b""
        while len(found) < 5 or len(found) < 1 + struct.unpack("!I", found[1:5])[0]:
            found += connection.recv(4096) or sys.exit("closed")
        content = found[5:1 + struct.unpack("!I", found[1:5])[0]]
        if found[:1] == b"E":
            answer = {{field[:1].decode(): field[1:].decode() for field in content.split(b"\\0") if field}}
        else:
            answer = struct.unpack("!I", content[:4])[0]
        print(json.dumps([found[:1].decode(), answer]))
    """
    require_other_users()
    done = subprocess.run(
        [*launcher, SYSTEM_PYTHON, "-I", "-c", program],
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        user=uid,
        group=uid,
        extra_groups=[],
    )
    assert done.returncode == 0, done.stderr
    kind, answer = json.loads(done.stdout)
    return kind, answer


def require_other_users() -> None:
    """Skips the test if processes of other users cannot be started."""
    if os.geteuid() != 0:
        pytest.skip("only root can start processes of other users")
    if not Path(SYSTEM_PYTHON).exists():
        pytest.skip(f"{SYSTEM_PYTHON} is missing")


def require_namespace(*options: str) -> tuple[str, ...]:
    """The command that runs a program in new namespaces; skips the test if that is not allowed."""
    command = ("unshare", *options)
    try:
        done = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=LIMIT_S)
    except FileNotFoundError:
        pytest.skip("unshare is missing")
    if done.returncode != 0:
        pytest.skip(f"new namespaces are not allowed here: {done.stderr.strip()}")
    return command


def python() -> str:
    """The Python of the tests."""
    return sys.executable
