"""The rules of tests/vectors, as Python sees them. `timing.json` is the engine's alone: no clock is read here.

Of the credentials' vectors those run here that send nothing: construction, environment, files, tools and errors.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import VECTORS, Recording

import pgentra
from pgentra import _native
from pgentra._foreign import Source
from pgentra._provider import ask
from pgentra.errors import CredentialValueError, EntraConnectionValueError, PgEntraError, TokenDecodeError
from pgentra.identity import StaticTokenCredential


def cases(file: str, group: str) -> list[Any]:
    found: list[Any] = json.loads((VECTORS / file).read_text())[group]
    assert found
    return [pytest.param(case, id=str(case.get("name", index))) for index, case in enumerate(found)]


def joined(token: Any) -> str:
    if isinstance(token, str):
        return token
    return "".join(part if isinstance(part, str) else part["repeat"] * part["times"] for part in token)


@pytest.mark.parametrize("case", cases("claims.json", "tokens"))
def test_claims(case: dict[str, Any]) -> None:
    token = joined(case["token"])
    if "claims" in case:
        assert pgentra.decode_jwt(token) == case["claims"]
    role = case["expect"].get("role")
    # Blanks around a token are taken off where it is decoded, not where it is sent.
    if role is not None and token == token.strip():
        credential = StaticTokenCredential(token, 4_000_000_000)
        login = _login(credential)
        assert login == (role, token, case["expect"]["source"])


def _login(credential: Any) -> tuple[str, str, str]:
    from pgentra._provider import find_doors

    return find_doors(credential, {"management_lookup": False}).login()


@pytest.mark.parametrize("case", [*cases("claims.json", "rejected"), *cases("claims.json", "large")])
def test_tokens_that_cannot_be_read(case: dict[str, Any]) -> None:
    token = joined(case["token"])
    if "error" not in case:
        assert pgentra.decode_jwt(token)["upn"] == case["role"]
        return
    with pytest.raises(TokenDecodeError, match=r"^Invalid JWT token format") as caught:
        pgentra.decode_jwt(token)
    assert caught.value.code == "token_decode"
    assert len(token) < 8 or token not in str(caught.value)


@pytest.mark.parametrize("case", cases("claims.json", "resource_ids"))
def test_parse_principal_name(case: dict[str, Any]) -> None:
    assert pgentra.parse_principal_name(case["xms_mirid"]) == case["parse_principal_name"]


@pytest.mark.parametrize("case", cases("clouds.json", "cases"))
def test_clouds(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    # A blank option is refused before the cloud is asked for.
    inputs = {name: value for name, value in case["inputs"].items() if value.strip() or name == "env_authority_host"}
    if {"authority_option", "cloud_option"} & set(inputs):
        # A foreign credential has neither, and ours would ask a server of the internet.
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


@pytest.mark.parametrize("case", cases("refusals.json", "refusals"))
def test_refusals(case: dict[str, Any]) -> None:
    assert _native.is_retriable(case.get("sqlstate"), case["message"]) is case["retry"]


@pytest.mark.parametrize("case", cases("tls.json", "cases"))
def test_tls(case: dict[str, Any]) -> None:
    arguments = (case["sslmode"], case["hosts"], case.get("allow_insecure", False))
    if isinstance(case["result"], dict):
        with pytest.raises(EntraConnectionValueError) as caught:
            _native.secure_sslmode(*arguments)
        assert caught.value.code == case["result"]["error"]
    else:
        assert _native.secure_sslmode(*arguments) == case["result"]


def filled(folder: Path) -> Callable[[re.Match[str]], str]:
    """What stands for a place in braces inside a JSON text: the folder, or the content of a certificate's file."""

    def fill(place: re.Match[str]) -> str:
        kind, name = place.groups()
        if kind is None:
            return str(folder)
        content = (VECTORS / "certificates" / name).read_bytes()
        return base64.b64encode(content).decode() if kind == "base64" else json.dumps(content.decode())[1:-1]

    return fill


def sends_nothing(case: dict[str, Any]) -> bool:
    # A host's member is an object of this test, of which test_foreign.py has many.
    return not case.get("exchanges") and '"host"' not in json.dumps(case["credential"])


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=f"{file.stem}: {case['name']}")
        for file in sorted((VECTORS / "credentials").glob("*.json"))
        for case in json.loads(file.read_text())["cases"]
        if sends_nothing(case)
    ],
)
def test_credentials(case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = json.loads(re.sub(r"\{(text|base64|certificate):([^}]+)\}|\{dir\}", filled(tmp_path), json.dumps(case)))
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, content in case.get("files", {}).items():
        if isinstance(content, str):
            content = content.encode()
        else:
            fixture = VECTORS / "certificates" / content.get("fixture", "")
            content = fixture.read_bytes() if "fixture" in content else bytes(content["zeros"])
        (tmp_path / name).write_bytes(content)
    for name, tool in case.get("tools", {}).items():
        words = [shlex.quote(tool.get(stream, "")) for stream in ("stdout", "stderr")]
        (tools / name).write_text(
            f"#!/bin/sh\nprintf %s {words[0]}\nprintf %s {words[1]} >&2\nexit {tool.get('exit', 0)}\n"
        )
        (tools / name).chmod(0o755)
    for name, value in ({"PATH": str(tools)} | case.get("environment", {})).items():
        monkeypatch.setenv(name, value)
    request = case.get("request", {})

    def fetch() -> tuple[str, int]:
        _native.check_credential(case["credential"])
        scope = request.get("scope", pgentra.AZURE_DB_FOR_POSTGRES_SCOPE)
        rest = (request.get("tenant_id"), request.get("claims"), request.get("enable_cae", False))
        return ask(Source(case["credential"]), scope, *rest)

    expected = case.get("build_error") or case.get("error")
    if expected is None:
        # When it ends is the engine's affair.
        assert fetch()[0] == case["token"]["token"]
        return
    with pytest.raises(PgEntraError) as caught:
        fetch()
    error = caught.value
    assert (error.code, error.aadsts) == (expected["kind"], expected.get("aadsts"))
    assert all(part in str(error) for part in expected.get("text", [])), str(error)
    assert {key: error.detail.get(key) for key in expected.get("detail", {})} == expected.get("detail", {})
    attempts = [[attempt.get("credential", ""), attempt["code"]] for attempt in error.detail.get("attempts", [])]
    assert attempts == expected.get("attempts", [])
    assert "planted" not in (str(error) + repr(error) + repr(error.detail)).lower()
