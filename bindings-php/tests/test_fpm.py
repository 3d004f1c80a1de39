"""PHP-FPM: workers keep tokens between requests, inherit those of the master, and name what their settings lack."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from conftest import HERE, TARGET

from support import fastcgi
from support.emulator import Emulator, Principal

LIMIT_S = 60.0


def find_fpm() -> str | None:
    names = ["php-fpm", *(f"php-fpm{major}.{minor}" for major in (8,) for minor in range(9, 0, -1))]
    return next((found for name in names if (found := shutil.which(name) or shutil.which(f"/usr/sbin/{name}"))), None)


@contextlib.contextmanager
def fpm(
    folder: Path, lines: list[str], settings: Mapping[str, str], workers: int = 3, as_root: bool = True
) -> Iterator[str]:
    """Starts PHP-FPM with a pool's further lines and settings of php.ini. Gives its socket.

    Without `as_root`, a run of the tests by root starts it as `nobody`.
    """
    program = find_fpm()
    if program is None:
        pytest.skip("no php-fpm on this machine")
    address, config, log = folder / "fpm.sock", folder / "fpm.conf", folder / "fpm.log"
    nobody = os.geteuid() == 0 and not as_root
    root = os.geteuid() == 0 and as_root
    owner = [f"user = {getpass.getuser()}", f"group = {getpass.getuser()}"] if root else []
    if nobody:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    config.write_text(
        "\n".join(
            [
                "[global]",
                f"error_log = {log}",
                "daemonize = no",
                "[www]",
                f"listen = {address}",
                *owner,
                "pm = static",
                f"pm.max_children = {workers}",
                "catch_workers_output = yes",
                "decorate_workers_output = no",
                *lines,
                "",
            ]
        )
    )
    options = [word for name, value in settings.items() for word in ("-d", f"{name}={value}")]
    command = [program, "-F", *(["-R"] if root else []), "-y", str(config), *options]
    process = subprocess.Popen(command, env=dict(os.environ), user="nobody" if nobody else None)
    try:
        deadline = time.monotonic() + LIMIT_S
        while not address.exists():
            assert process.poll() is None and time.monotonic() < deadline, log.read_text() if log.exists() else ""
            time.sleep(0.02)
        yield str(address)
    finally:
        process.terminate()
        process.wait(LIMIT_S)
        if log.exists():
            assert "eyJ" not in log.read_text()


@pytest.fixture
def query(emulator: Emulator, identity: Principal) -> str:
    server = emulator.server
    dsn = f"pgsql:host={server.host};port={server.port};dbname={server.database};sslmode=verify-full"
    return urlencode({"dsn": dsn, "client_id": identity.appid})


def inherit(*names: str) -> list[str]:
    """The pool's lines for a worker that shall see these variables although its environment is cleared."""
    return [f"env[{name}] = ${name}" for name in names]


#: The variables of the tests themselves.
OWN = ("PGENTRA_LIBRARY", "SSL_CERT_FILE", "PGSSLROOTCERT")
APP_SERVICE = ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")


@pytest.fixture(autouse=True)
def _library(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGENTRA_LIBRARY", str(TARGET / "libpgentra.so"))


def ask(address: str, query: str, times: int = 1, parameters: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    found = []
    for _ in range(times):
        body, errors = fastcgi.request(address, str(HERE / "fpm.php"), query, parameters)
        assert "eyJ" not in body + errors
        found.append(json.loads(body))
    return found


def test_worker_keeps_token_between_requests(
    tmp_path: Path, emulator: Emulator, identity: Principal, query: str
) -> None:
    with fpm(tmp_path, ["clear_env = no"], {"ffi.enable": "1"}, workers=1) as address:
        answers = ask(address, query, 20)
    assert {answer.get("role") for answer in answers} == {identity.name}, answers
    assert len({answer["pid"] for answer in answers}) == 1
    assert len(emulator.database_requests(identity)) == 1


def test_worker_with_cleared_environment(
    tmp_path: Path, emulator: Emulator, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The default of PHP-FPM. The error names the setting; with the variables in the pool's file, the login works."""
    lines = inherit(*(name for name in OWN if name in os.environ))
    (tmp_path / "one").mkdir()
    with fpm(tmp_path / "one", lines, {"ffi.enable": "1"}, workers=1) as address:
        # A request's own variables are not those of the process.
        endpoint = {name: os.environ[name] for name in APP_SERVICE}
        (answer,) = ask(address, query.split("&client_id")[0], parameters=endpoint)
    assert "clear_env" in answer["error"], answer
    (tmp_path / "two").mkdir()
    with fpm(tmp_path / "two", lines + inherit(*APP_SERVICE), {"ffi.enable": "1"}, workers=1) as address:
        (answer,) = ask(address, query)
    assert "role" in answer, answer


def test_ffi_that_is_not_enabled(tmp_path: Path, query: str) -> None:
    """The default of php.ini allows FFI in preloaded files only."""
    with fpm(tmp_path, ["clear_env = no"], {"ffi.enable": "preload"}, workers=1) as address:
        (answer,) = ask(address, query)
    assert "opcache.preload" in answer["error"], answer


def preload(**more: str) -> dict[str, str]:
    return {
        "ffi.enable": "preload",
        "opcache.enable": "1",
        "opcache.preload": str(HERE.parent / "preload.php"),
        "opcache.preload_user": getpass.getuser(),
        **more,
    }


def test_preload_without_token(tmp_path: Path, emulator: Emulator, identity: Principal, query: str) -> None:
    with fpm(tmp_path, ["clear_env = no"], preload(), workers=1) as address:
        answers = ask(address, query, 3)
    assert {answer.get("role") for answer in answers} == {identity.name}, answers
    assert len(emulator.database_requests(identity)) == 1


def test_preload_with_token_for_all_workers(
    tmp_path: Path, emulator: Emulator, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The master fetches one token, which all workers use without a fetch of their own."""
    chosen = emulator.add_principal("user_assigned")
    monkeypatch.setenv("PGENTRA_PRELOAD", "1")
    monkeypatch.setenv("AZURE_CLIENT_ID", chosen.appid)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "ManagedIdentityCredential")
    monkeypatch.setenv("PGHOST", emulator.server.host)
    # PHP preloads in a process of its own if PHP-FPM is started by root, and then the master has no token.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        with fpm(Path(folder), ["clear_env = no"], preload(), workers=3, as_root=False) as address:
            answers = ask(address, query.split("&client_id")[0], 30)
    assert {answer.get("role") for answer in answers} == {chosen.name}, answers
    assert len({answer["pid"] for answer in answers}) > 1
    # No worker has started the engine.
    assert {answer["threads"] for answer in answers} == {0}
    assert len(emulator.database_requests(chosen)) == 1
