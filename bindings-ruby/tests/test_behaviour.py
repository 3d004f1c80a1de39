"""What Ruby's classes do beside logins: secrets in dumps, errors, threads, forks, logging, Active Record's tools."""

from __future__ import annotations

import base64
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from support.emulator import Emulator, Principal
from support.language_program import Failed, LanguageProgram
from support.language_suite import Start


def token_with(**claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.canary"


def run(program: LanguageProgram, case: str, **arguments: object) -> Any:
    return program.call("script", file="behaviour", case=case, **arguments)


@pytest.fixture
def settings(emulator: Emulator) -> dict[str, Any]:
    server = emulator.server
    return {"host": server.host, "port": server.port, "dbname": server.database, "sslmode": "verify-full"}


def managed(identity: Principal) -> dict[str, Any]:
    return {"type": "managed_identity", "client_id": identity.appid}


def test_dumps_contain_no_secret(program: LanguageProgram) -> None:
    shown = run(program, "dumps")
    assert len(shown) == 8 * 6
    assert not [text for text in shown if "canary" in text or "eyJ" in text]


@pytest.mark.parametrize(
    ("case", "code", "text"),
    [
        ("unknown keyword", "invalid_configuration", "foo"),
        ("unknown option", "invalid_configuration", "credentials"),
        ("credential of another type", "credential_value", "Integer"),
        ("bad value", "custom_credential", "Integer"),
        ("NUL", "invalid_configuration", "NUL"),
        ("encoding", "invalid_configuration", "JSON"),
    ],
)
def test_error(program: LanguageProgram, case: str, code: str, text: str) -> None:
    with pytest.raises(Failed) as caught:
        run(program, case)
    assert (caught.value.code, text in str(caught.value)) == (code, True), str(caught.value)


def test_logger_receives_events(program: LanguageProgram) -> None:
    log = run(program, "log")
    assert "ERROR -- pgentra::cache: token fetch failed" in log
    assert "canary" not in log


def test_stats(program: LanguageProgram) -> None:
    stats = run(program, "stats")
    assert (stats["credential"], stats["role"]) == ("StaticTokenCredential", "alice")


def test_login_releases_the_interpreters_lock(fresh: LanguageProgram, emulator: Emulator, identity: Principal) -> None:
    with emulator.fault(endpoint="app_service", latency_ms=1000):
        found = run(fresh, "GVL", options={"credential": managed(identity), "user": "alice"})
    # Without the lock, the thread would not run at all.
    assert found["count"] > 5, found


def test_threads_share_one_request(fresh: LanguageProgram, emulator: Emulator, identity: Principal) -> None:
    assert run(fresh, "threads", options={"credential": managed(identity)}) == [identity.name]
    assert len(emulator.database_requests(identity)) == 1


def test_timeout_of_ruby_ends_the_wait(program: LanguageProgram) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        credential = {
            "type": "client_secret",
            "tenant_id": "t",
            "client_id": "c",
            "client_secret": "canary",
            "authority_host": f"https://127.0.0.1:{silent.getsockname()[1]}",
        }
        took = run(program, "timeout of Ruby", options={"credential": credential, "environment": {}})
    # The provider's own limit is 30 s.
    assert took < 20


def test_invalidate_serves_a_custom_credential(program: LanguageProgram) -> None:
    tokens = [token_with(upn="alice", exp=4_000_000_000, n=n) for n in (1, 2)]
    assert run(program, "invalidate", tokens=tokens) == [True, True, 2]


def test_forked_children_log_in(fresh: LanguageProgram) -> None:
    assert run(fresh, "fork") == [0, 0, 0, 0]


def test_connection_reset(fresh: LanguageProgram, identity: Principal, settings: dict[str, Any]) -> None:
    assert run(fresh, "reset", settings=settings, credential=managed(identity)) == identity.name


def test_forms_of_arguments(fresh: LanguageProgram, identity: Principal, settings: dict[str, Any]) -> None:
    found = run(fresh, "string and hash", settings=settings, credential=managed(identity))
    assert found == [identity.name] * 5


def test_connections_without_entra(
    fresh: LanguageProgram, emulator: Emulator, identity: Principal, settings: dict[str, Any]
) -> None:
    given = {**settings, "user": identity.name, "password": emulator.mint(identity.name).token}
    assert run(fresh, "not entra", settings=given) == [identity.name] * 4


def test_active_record_pool(fresh: LanguageProgram, identity: Principal, settings: dict[str, Any]) -> None:
    given = {**settings, "database": settings["dbname"]}
    del given["dbname"]
    assert run(fresh, "pool", settings=given, credential=managed(identity)) == [identity.name]


def test_active_record_structure(
    fresh: LanguageProgram, identity: Principal, settings: dict[str, Any], tmp_path: Path
) -> None:
    given = {**settings, "database": settings["dbname"]}
    del given["dbname"]
    file = str(tmp_path / "structure.sql")
    assert run(fresh, "structure", settings=given, credential=managed(identity), file_out=file) == [True, None]


def test_missing_library_names_the_variable(start: Start) -> None:
    missing = start("missing")
    with pytest.raises(RuntimeError, match=r"(?s)libpgentra.*PGENTRA_LIBRARY"):
        missing.call_once("login", options={})
