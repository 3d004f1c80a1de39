"""What PHP's classes do beside logins: secrets in dumps, errors, custom credentials, logging, forks."""

from __future__ import annotations

import base64
import json
import socket

import pytest

from support.language_program import Failed, LanguageProgram
from support.language_suite import Start


def token_with(**claims: object) -> str:
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.canary"


def run(program: LanguageProgram, case: str, **arguments: object) -> object:
    found: object = program.call("script", file="behaviour.php", case=case, **arguments)
    return found


def test_dumps_and_traces_contain_no_secret(program: LanguageProgram) -> None:
    shown = program.call("script", file="objects.php")
    assert len(shown) > 50
    for text in shown:
        assert "canary" not in text, text
        assert "eyJ" not in text, text
    assert "no error" not in shown


@pytest.mark.parametrize(
    ("case", "code", "text"),
    [
        ("persistent", "invalid_connection", "ATTR_PERSISTENT"),
        ("persistent in doctrine", "invalid_connection", "persistent"),
        ("other dsn", "invalid_connection", "pgsql:"),
        ("async", "invalid_connection", "PGSQL_CONNECT_ASYNC"),
        ("unknown option", "invalid_configuration", "credentials"),
        ("connection option", "invalid_configuration", "require_entra"),
        ("credential of another type", "credential_value", "int"),
        ("recursion", "custom_credential", "uses it"),
        ("bad value", "custom_credential", "int"),
        ("background", "invalid_configuration", "lazy"),
    ],
)
def test_error(program: LanguageProgram, case: str, code: str, text: str) -> None:
    with pytest.raises(Failed) as caught:
        run(program, case)
    assert (caught.value.code, text in str(caught.value)) == (code, True), str(caught.value)


def test_clone_is_an_error(program: LanguageProgram) -> None:
    with pytest.raises(Failed, match="cannot be cloned"):
        run(program, "clone")


def test_invalidate_serves_a_custom_credential(program: LanguageProgram) -> None:
    tokens = [token_with(upn="alice", exp=4_000_000_000, n=n) for n in (1, 2)]
    assert run(program, "invalidate", tokens=tokens) == [True, True, 2]


def test_refresh_calls_a_custom_credential_before_expiry(program: LanguageProgram) -> None:
    tokens = [token_with(upn="alice", exp=4_000_000_000, n=n) for n in (1, 2)]
    assert run(program, "refresh", tokens=tokens) == [True, True, 2]


def test_logging_passes_events_to_psr_logger(program: LanguageProgram) -> None:
    lines = run(program, "log")
    assert isinstance(lines, list)
    assert {level for level, _, _ in lines} >= {"debug", "error"}
    assert all(context["target"].startswith("pgentra") for _, _, context in lines)
    assert "canary" not in json.dumps(lines)


def test_stats(program: LanguageProgram) -> None:
    stats = run(program, "stats")
    assert isinstance(stats, dict)
    assert (stats["credential"], stats["role"]) == ("StaticTokenCredential", "alice")


def test_forked_children_use_the_parents_token(program: LanguageProgram) -> None:
    assert run(program, "fork") == [0, 0, 0, 0]


def test_missing_library_names_the_variable(start: Start) -> None:
    missing = start("missing")
    with pytest.raises(Failed, match=r"libpgentra.*PGENTRA_LIBRARY"):
        missing.call_once("login", options={})


def test_process_ends_while_a_fetch_waits(start: Start) -> None:
    """The token service accepts connections and does not respond."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        authority = f"https://127.0.0.1:{silent.getsockname()[1]}"
        credential = {
            "type": "client_secret",
            "tenant_id": "t",
            "client_id": "c",
            "client_secret": "canary",
            "authority_host": authority,
        }
        options = {"credential": credential, "environment": {}}
        with pytest.raises(Failed) as caught:
            start().call_once("login", options=options, timeout=0.2)
    assert caught.value.code == "timeout"
