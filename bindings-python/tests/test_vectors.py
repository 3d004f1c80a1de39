"""Runs tests/vectors through Python's API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from recording import Recording

import pgentra
from pgentra import _native
from pgentra._credentials.source import CredentialSource
from pgentra.errors import CredentialValueError, EntraConnectionValueError, PgEntraError, TokenDecodeError
from pgentra.identity import StaticTokenCredential
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


@pytest.fixture(scope="module")
def entra(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CannedEntra]:
    entra = CannedEntra(tmp_path_factory.mktemp("entra"))
    yield entra
    entra.stop()


@pytest.mark.parametrize("case", cases("claims.json", "tokens"))
def test_vectors_claims(case: dict[str, Any]) -> None:
    token = joined(case["token"])
    if "claims" in case:
        assert pgentra.decode_jwt(token) == case["claims"]
    role = case["expect"].get("role")
    # Blanks around a token are removed when it is decoded, not when it is sent.
    if role is not None and token == token.strip():
        credential = StaticTokenCredential(token, 4_000_000_000)
        login = _login(credential)
        assert login == (role, token, case["expect"]["source"])


def _login(credential: Any) -> tuple[str, str, str]:
    from pgentra._token_client import client_for

    return client_for(credential, {"management_lookup": False}).login()


@pytest.mark.parametrize("case", [*cases("claims.json", "rejected"), *cases("claims.json", "large")])
def test_vectors_tokens_that_cannot_be_read(case: dict[str, Any]) -> None:
    token = joined(case["token"])
    if "error" not in case:
        assert pgentra.decode_jwt(token)["upn"] == case["role"]
        return
    with pytest.raises(TokenDecodeError, match=r"^Invalid JWT token format") as caught:
        pgentra.decode_jwt(token)
    assert caught.value.code == "token_decode"
    assert len(token) < 8 or token not in str(caught.value)


@pytest.mark.parametrize("case", cases("claims.json", "resource_ids"))
def test_vectors_parse_principal_name(case: dict[str, Any]) -> None:
    assert pgentra.parse_principal_name(case["xms_mirid"]) == case["parse_principal_name"]


@pytest.mark.parametrize("case", cases("claims.json", "missing_names"))
def test_vectors_missing_names(case: dict[str, Any], entra: CannedEntra) -> None:
    entra.give(token_with(case["claims"]))
    config = entra.config(management_lookup=case["management_tried"])
    with pytest.raises(PgEntraError) as caught:
        _native.Provider(config, _native.environment(), None).login(None)
    assert caught.value.code == "username_extraction"
    for part in case["contains"]:
        assert part in str(caught.value)


@pytest.mark.parametrize("case", cases("clouds.json", "cases"))
def test_vectors_clouds(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # A blank option is refused before the cloud is determined.
    inputs = {name: value for name, value in case["inputs"].items() if value.strip() or name == "env_authority_host"}
    if {"authority_option", "cloud_option"} & set(inputs):
        # A custom credential has neither, and the other built-in credentials would send a request to the internet.
        document = {"type": "environment"}
        names = {"authority_option": "authority_host", "cloud_option": "cloud"}
        document.update({name: inputs[key] for key, name in names.items() if key in inputs})
        if "error" in case:
            with pytest.raises(CredentialValueError):
                _native.Provider({"credential": document, **_options(inputs)}, _native.environment(), None)
        else:
            provider = _native.Provider({"credential": document, **_options(inputs)}, _environment(inputs), None)
            assert provider.stats()["scope"] == case["expect"]["scope"]
        return
    if "env_authority_host" in inputs:
        monkeypatch.setenv("AZURE_AUTHORITY_HOST", inputs["env_authority_host"])
    credential = Recording()
    if "error" in case:
        with pytest.raises(CredentialValueError) as caught:
            pgentra.TokenProvider(credential, **_options(inputs)).get()
        assert caught.value.code == "invalid_configuration"
        return
    pgentra.TokenProvider(credential, **_options(inputs)).get()
    assert credential.scopes == [case["expect"]["scope"]]


def _options(inputs: dict[str, Any]) -> dict[str, Any]:
    names = {"scope_option": "scope", "host": "host"}
    return {name: inputs[key] for key, name in names.items() if key in inputs}


def _environment(inputs: dict[str, Any]) -> _native.Environment:
    host = inputs.get("env_authority_host")
    return _native.environment().overlaid({} if host is None else {"AZURE_AUTHORITY_HOST": host})


@pytest.mark.parametrize("case", cases("login_errors.json", "login_errors"))
def test_vectors_login_errors(case: dict[str, Any]) -> None:
    assert _native.is_retriable(case.get("sqlstate"), case["message"]) is case["retry"]


@pytest.mark.parametrize("case", cases("login_errors.json", "explanations"))
def test_vectors_explanations(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    token = "opaque" if case["principal"] is None else token_of(case["principal"])
    host = None
    if "unused_connector" in case:
        host = "shop.postgres.database.azure.com"
        for name in case["unused_connector"].split(", "):
            monkeypatch.setenv(name, f"host={host}" if name.endswith("CONNECTIONSTRING") else "set")
    told = _native.explain_login_error(*refusal_with(case["cause"]), case["role"], case["role_source"], token, host)
    check_explanation(told, case)


@pytest.mark.parametrize("case", CREATED_ROLES)
def test_vectors_create_role_statements(case: dict[str, Any]) -> None:
    told = _native.explain_login_error(*refusal_with("role_missing"), case["role"], "upn", owner_of(case))
    assert case["statement"] in told


@pytest.mark.parametrize("case", cases("tls.json", "cases"))
def test_vectors_tls(case: dict[str, Any]) -> None:
    arguments = {"sslmode": case["sslmode"]}
    request = {
        "arguments": arguments,
        "variables": {},
        "service_files": False,
        "allow_insecure_transport": case.get("allow_insecure", False),
        "unknown_server": case["hosts"] == "unknown",
    }
    if case["hosts"] != "unknown":
        arguments["host"] = ",".join(case["hosts"])
    if isinstance(case["result"], dict):
        with pytest.raises(EntraConnectionValueError) as caught:
            _native.connection_plan(request, None)
        assert caught.value.code == case["result"]["error"]
    else:
        assert _native.connection_plan(request, None).sslmode == case["result"]


@pytest.mark.parametrize("case", cases("connections.json", "strings"))
def test_vectors_connection_strings(case: dict[str, Any]) -> None:
    if "error" not in case:
        assert _native.read_connection_string(case["text"], case["form"]) == case["settings"]
        return
    with pytest.raises(PgEntraError) as caught:
        _native.read_connection_string(case["text"], case["form"])
    _check_connection_error(caught.value, case)


@pytest.mark.parametrize("case", cases("connections.json", "plans"))
def test_vectors_connection_plans(case: dict[str, Any]) -> None:
    request = json.loads(json.dumps(case["request"]).replace("{files}", str(VECTORS / "services")))
    request["repeat_warnings"] = True
    expected = case["result"]
    if "error" in expected:
        with pytest.raises(PgEntraError) as caught:
            _native.connection_plan(request, None)
        _check_connection_error(caught.value, expected)
        return
    plan = _native.connection_plan(request, None)
    found = plan.document()
    assert {key: found[key] for key in expected if key != "warns"} == {
        key: value for key, value in expected.items() if key != "warns"
    }
    for name in ("uses_entra", "user", "user_source", "sslmode", "host", "timeout", "settings", "credential"):
        assert getattr(plan, name) == found[name]
    if "warns" in expected:
        assert len(plan.warnings) == len(expected["warns"])
        for warning, part in zip(plan.warnings, expected["warns"], strict=True):
            assert part in warning
    assert "pa55word" not in repr(plan) + "".join(plan.warnings)


def _check_connection_error(error: PgEntraError, expected: dict[str, Any]) -> None:
    assert error.code == expected["error"]
    for part in expected.get("contains", []):
        assert part in str(error)
    assert "pa55word" not in str(error)


@pytest.mark.parametrize("case", SILENT_CREDENTIALS)
def test_vectors_credentials(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = prepared(case, tmp_path)
    for name, value in case["environment"].items():
        monkeypatch.setenv(name, value)
    request = case.get("request", {})

    def fetch() -> tuple[str, int]:
        scope = request.get("scope", pgentra.AZURE_DB_FOR_POSTGRES_SCOPE)
        rest = (request.get("tenant_id"), request.get("claims"), request.get("enable_cae", False))
        return CredentialSource.of(case["credential"]).token(scope, *rest)

    expected = case.get("build_error") or case.get("error")
    if expected is None:
        # The engine's tests cover its expiry.
        assert fetch()[0] == case["token"]["token"]
        return
    with pytest.raises(PgEntraError) as caught:
        fetch()
    check_error(caught.value, expected)


@pytest.mark.parametrize("case", cases("entra-errors.json", "cases"))
def test_vectors_entra_errors(case: dict[str, Any], entra: CannedEntra) -> None:
    entra.response = case["response"]
    config = entra.config()
    with pytest.raises(PgEntraError) as caught:
        source = CredentialSource.of(config["credential"], ca_file=config["ca_file"])
        source.token("https://r/.default", None, None, False)
    check_error(caught.value, case["error"])


@pytest.mark.skipif(
    not hasattr(_native, "run_vector"), reason="vectors in the engine: the wheel that ships cannot run them"
)
@pytest.mark.parametrize(("group", "case"), ENGINE_CASES)
def test_vectors_in_the_engine(group: str, case: dict[str, Any], tmp_path: Path) -> None:
    check_in_engine(_native.run_vector, PgEntraError, group, case, tmp_path)
