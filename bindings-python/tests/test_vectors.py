"""The rules of tests/vectors, as Python sees them. `timing.json` is the engine's alone: no clock is read here."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import VECTORS, Recording

import pgentra
from pgentra import _native
from pgentra.errors import CredentialValueError, EntraConnectionValueError, TokenDecodeError
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
