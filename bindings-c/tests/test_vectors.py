"""The cases of tests/vectors through the ABI, by ctypes."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from ctypes import c_char_p
from pathlib import Path
from typing import Any

import pytest
from abi import LIBRARY, Failed, call, get_token, login, open_credential, open_provider, read, run_vector, text
from conftest import ROOT
from psycopg.pq import Conninfo

from support.vector_runner import (
    CREATED_ROLES,
    ENGINE_CASES,
    SILENT_CREDENTIALS,
    VECTORS,
    CannedEntra,
    cases,
    check_error,
    check_explanation,
    check_in_engine,
    joined,
    owner_of,
    prepared,
    refusal_with,
    token_of,
    token_with,
)

SCOPE = "https://ossrdbms-aad.database.windows.net/.default"


@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CannedEntra]:
    entra = CannedEntra(tmp_path_factory.mktemp("entra"))
    yield entra
    entra.stop()


@pytest.mark.parametrize("case", cases("claims.json", "tokens"))
def test_decode_jwt_claims(case: dict[str, Any]) -> None:
    token = joined(case["token"])
    assert read("decode_jwt", text(token)) == case["claims"]
    described = read("describe_token", text(token))
    role = described.pop("role") or {"name": None, "source": None}
    seen = {"role": role["name"], "source": role["source"], **described.pop("principal"), **described}
    assert {key: value for key, value in seen.items() if value not in (None, [])} == case["expect"]


@pytest.mark.parametrize("case", [*cases("claims.json", "rejected"), *cases("claims.json", "large")])
def test_decode_jwt_invalid_tokens(case: dict[str, Any]) -> None:
    token = joined(case["token"])
    if "error" not in case:
        assert read("describe_token", text(token))["role"]["name"] == case["role"]
        return
    for function in ("decode_jwt", "describe_token"):
        with pytest.raises(Failed, match=r"^Invalid JWT token format") as caught:
            call(function, text(token))
        assert caught.value.code == "token_decode"
        assert len(token) < 8 or token not in str(caught.value)


@pytest.mark.parametrize("case", cases("claims.json", "resource_ids"))
def test_parse_principal_name(case: dict[str, Any]) -> None:
    assert call("parse_principal_name", text(case["xms_mirid"])) == case["parse_principal_name"]


@pytest.mark.parametrize("case", cases("claims.json", "missing_names"))
def test_provider_login_missing_names(case: dict[str, Any], entra: CannedEntra) -> None:
    entra.give(token_with(case["claims"]))
    config = entra.config(management_lookup=case["management_tried"], environment={})
    with pytest.raises(Failed) as caught, open_provider(config) as provider:
        login(provider)
    assert caught.value.code == "username_extraction"
    for part in case["contains"]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "case", [case for case in cases("claims.json", "tokens") if "role" in case.values[0]["expect"]]
)
def test_provider_login_role(case: dict[str, Any]) -> None:
    token = joined(case["token"]).strip()
    config = {
        "credential": {"type": "static_token", "token": token, "expires_on": 4_000_000_000},
        "environment": {},
    }
    with open_provider(config) as provider:
        assert login(provider) == (case["expect"]["role"], token, case["expect"]["source"])


@pytest.mark.parametrize("case", cases("clouds.json", "cases"))
def test_resolve_cloud(case: dict[str, Any]) -> None:
    names = ("scope_option", "host", "authority_option", "cloud_option", "env_authority_host")
    arguments = [text(case["inputs"].get(name)) for name in names]
    if "error" in case:
        with pytest.raises(Failed) as caught:
            call("resolve_cloud", *arguments)
        assert caught.value.code == "invalid_configuration"
        return
    resolved = read("resolve_cloud", *arguments)
    warning, expected = resolved.pop("warning"), dict(case["expect"])
    parts = expected.pop("warning")
    assert resolved == expected
    assert (warning is None) == (parts is None)
    for part in [parts] if isinstance(parts, str) else parts or []:
        assert part in warning


@pytest.mark.parametrize("case", cases("login_errors.json", "login_errors"))
def test_login_error_cause(case: dict[str, Any]) -> None:
    arguments = (text(case.get("sqlstate")), text(case["message"]))
    assert LIBRARY.pgentra_login_error_cause(*arguments).decode() == case["cause"]
    assert LIBRARY.pgentra_login_error_is_retriable(*arguments) is case["retry"]


@pytest.mark.parametrize("case", cases("login_errors.json", "explanations"))
def test_login_error_explain(case: dict[str, Any]) -> None:
    token = None if case["principal"] is None else token_of(case["principal"])
    # The unused variables of a case are set for the server.
    names = case.get("unused_connector", "").split(", ")
    variables = {name: "host=db.example" for name in names if name}
    unused = ("db.example", json.dumps(variables)) if variables else (None, None)
    arguments = (*refusal_with(case["cause"]), case["role"], case["role_source"], token, *unused)
    check_explanation(call("login_error_explain", *map(text, arguments)) or "", case)


@pytest.mark.parametrize("case", CREATED_ROLES)
def test_login_error_explain_statement(case: dict[str, Any]) -> None:
    arguments = (*refusal_with("role_missing"), case["role"], "upn", owner_of(case), None, None)
    assert case["statement"] in (call("login_error_explain", *map(text, arguments)) or "")


@pytest.mark.parametrize("case", cases("tls.json", "cases"))
def test_connection_plan_tls(case: dict[str, Any]) -> None:
    known = case["hosts"] != "unknown"
    request = {
        "arguments": {"sslmode": case["sslmode"], **({"host": ",".join(case["hosts"])} if known else {})},
        "variables": {},
        "service_files": False,
        "environment": {},
        "unknown_server": not known,
        "allow_insecure_transport": case.get("allow_insecure", False),
    }
    if isinstance(case["result"], dict):
        with pytest.raises(Failed) as caught:
            plan_of(request)
        assert caught.value.code == case["result"]["error"]
    else:
        assert plan_of(request)["sslmode"] == case["result"]


@pytest.mark.parametrize("case", cases("connections.json", "strings"))
def test_connection_read(case: dict[str, Any]) -> None:
    arguments = (text(case["text"]), text(case["form"]))
    if "error" in case:
        with pytest.raises(Failed) as caught:
            call("connection_read", *arguments)
        check_refused(caught.value, case)
        return
    assert read("connection_read", *arguments) == case["settings"]


@pytest.mark.parametrize("case", cases("urls.json", "cases"))
def test_connection_url(case: dict[str, Any]) -> None:
    names = ("settings", "scheme", "user")
    request = {"environment": case.get("environment", {}), **{name: case[name] for name in names if name in case}}
    arguments = (text(json.dumps(request)), text(case["password"]))
    if "url" in case:
        assert call("connection_url", *arguments) == case["url"]
        assert call("connection_url", arguments[0], None) is None
        return
    with pytest.raises(Failed) as caught:
        call("connection_url", *arguments)
    assert caught.value.code == "invalid_connection"
    assert all(part in str(caught.value) for part in case["error"])
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("case", cases("connections.json", "plans"))
def test_connection_plan(case: dict[str, Any]) -> None:
    case = json.loads(json.dumps(case).replace("{files}", str(VECTORS / "services")))
    expected = dict(case["result"])
    request = {"environment": {}, **case["request"], "repeat_warnings": True}
    if "error" in expected:
        with pytest.raises(Failed) as caught:
            plan_of(request)
        check_refused(caught.value, expected)
        return
    plan = plan_of(request)
    warns = expected.pop("warns", None)
    assert {name: plan[name] for name in expected} == expected
    if warns is not None:
        assert len(plan["warnings"]) == len(warns)
        assert all(part in warning for part, warning in zip(warns, plan["warnings"], strict=True))
    assert "pa55word" not in " ".join(plan["warnings"])


def test_connection_plan_conninfo() -> None:
    chosen = random.Random(1)
    alphabet = "ab'\\\\ =\t\n\"%&?;,:/@[]#$\u00fc\u20ac"
    for _ in range(500):
        keywords = chosen.sample(["dbname", "application_name", "options", "password", "passfile", "sslrootcert"], 3)
        arguments = {name: "".join(chosen.choices(alphabet, k=chosen.randrange(8))) for name in keywords}
        arguments |= {"host": "localhost", "user": "alice"}
        plan = plan_of({"arguments": arguments, "environment": {}, "conninfo": True})
        read_back = {
            option.keyword.decode(): option.val.decode()
            for option in Conninfo.parse(plan["conninfo"].encode())
            if option.val is not None
        }
        if not arguments.get("password"):
            arguments.pop("password", None)
        assert read_back == arguments


def plan_of(request: dict[str, Any]) -> dict[str, Any]:
    plan: dict[str, Any] = read("connection_plan", text(json.dumps(request)))
    return plan


def check_refused(failed: Failed, expected: dict[str, Any]) -> None:
    assert failed.code == expected["error"]
    assert all(part in str(failed) for part in expected.get("contains", []))
    assert "pa55word" not in str(failed)


@pytest.mark.parametrize("case", SILENT_CREDENTIALS)
def test_credential_get_token(case: dict[str, Any], tmp_path: Path) -> None:
    case = prepared(case, tmp_path)
    config = {"credential": case["credential"], "environment": case["environment"]}

    def fetch() -> tuple[str, int]:
        with open_credential(config) as credential:
            return get_token(credential, **{"scope": SCOPE, **case.get("request", {})})

    expected = case.get("build_error") or case.get("error")
    if expected is not None:
        with pytest.raises(Failed) as caught:
            fetch()
        check_error(caught.value, expected)
        return
    token, expires_on = fetch()
    expected = case["token"]
    assert token == expected["token"]
    if expected.get("expires_on") is not None:
        assert expires_on == expected["expires_on"]
    elif expected.get("expires_in") is not None:
        assert abs(expires_on - time.time() - expected["expires_in"]) < 60


@pytest.mark.parametrize("case", cases("entra-errors.json", "cases"))
def test_credential_entra_errors(case: dict[str, Any], entra: CannedEntra) -> None:
    entra.response = case["response"]
    with open_credential(entra.config(environment={})) as credential, pytest.raises(Failed) as caught:
        get_token(credential, "https://r/.default")
    check_error(caught.value, case["error"])


@pytest.mark.parametrize(("group", "case"), ENGINE_CASES)
def test_engine_vectors(group: str, case: dict[str, Any], tmp_path: Path) -> None:
    check_in_engine(run_vector, Failed, group, case, tmp_path)


def option_kinds() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the options of the configuration with their schemas."""
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text())
    groups = [schema, *schema["$defs"].values()]
    groups += [variant for group in groups for variant in group.get("oneOf", [])]
    for group in groups:
        yield from group.get("properties", {}).items()


@pytest.mark.parametrize(("name", "schema"), [pytest.param(*item, id=item[0]) for item in option_kinds()])
def test_options_to_json_type_of_every_option(name: str, schema: dict[str, Any]) -> None:
    types = [schema.get("type", "object")] if isinstance(schema.get("type", "object"), str) else schema["type"]
    if "anyOf" in schema and "RefreshMode" in str(schema["anyOf"]):
        types = ["string"]
    values: dict[str, tuple[str, object]] = {
        "string": ("a text", "a text"),
        "boolean": ("true", True),
        "number": ("2.5", 2.5),
        "integer": ("7", 7),
        "array": ("[]", []) if name == "credentials" else ("a, b", ["a", "b"]),
        "object": ("{}", {}),
    }
    value, expected = values[next(kind for kind in types if kind != "null")]
    names, texts = (c_char_p * 2)(name.encode(), None), (c_char_p * 2)(value.encode(), None)
    assert read("options_to_json", names, texts) == {name: expected}
