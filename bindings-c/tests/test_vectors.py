"""The rules of tests/vectors through the ABI, by ctypes.

`timing.json` and the credentials' are the engine's alone: no clock is read and no service spoken to on this side of it.
"""

from __future__ import annotations

import base64
import json
import time
from ctypes import c_bool, c_char_p, c_size_t
from typing import Any

import pytest
from abi import LIBRARY, Failed, call, get_token, login, open_credential, open_provider, read, text
from conftest import ROOT

VECTORS = ROOT / "tests" / "vectors"


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
    assert read("decode_jwt", text(token)) == case["claims"]
    described = read("describe_token", text(token))
    role = described.pop("role") or {"name": None, "source": None}
    seen = {"role": role["name"], "source": role["source"], **described.pop("principal"), **described}
    assert {key: value for key, value in seen.items() if value not in (None, [])} == case["expect"]


@pytest.mark.parametrize("case", [*cases("claims.json", "rejected"), *cases("claims.json", "large")])
def test_tokens_that_cannot_be_read(case: dict[str, Any]) -> None:
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


# Those for which a management token was asked need a service that has one.
UNASKED = [case for case in cases("claims.json", "missing_names") if not case.values[0]["management_tried"]]


@pytest.mark.parametrize("case", UNASKED)
def test_missing_names(case: dict[str, Any]) -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": 4_000_000_000, **case["claims"]}).encode()).decode()
    config = {
        "credential": {"type": "static_token", "token": f"e30.{payload.rstrip('=')}.sig", "expires_on": 4_000_000_000},
        "management_lookup": False,
        "environment": {},
    }
    with pytest.raises(Failed) as caught, open_provider(config) as provider:
        login(provider)
    assert caught.value.code == "username_extraction"
    for part in case["contains"]:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "case", [case for case in cases("claims.json", "tokens") if "role" in case.values[0]["expect"]]
)
def test_logins(case: dict[str, Any]) -> None:
    token = joined(case["token"]).strip()
    config = {
        "credential": {"type": "static_token", "token": token, "expires_on": 4_000_000_000},
        "environment": {},
    }
    with open_provider(config) as provider:
        assert login(provider) == (case["expect"]["role"], token, case["expect"]["source"])


@pytest.mark.parametrize("case", cases("clouds.json", "cases"))
def test_clouds(case: dict[str, Any]) -> None:
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


@pytest.mark.parametrize("case", cases("refusals.json", "refusals"))
def test_refusals(case: dict[str, Any]) -> None:
    arguments = (text(case.get("sqlstate")), text(case["message"]))
    assert LIBRARY.pgentra_refusal_cause(*arguments).decode() == case["cause"]
    assert LIBRARY.pgentra_refusal_is_retriable(*arguments) is case["retry"]


@pytest.mark.parametrize("case", cases("refusals.json", "explanations"))
def test_explanations(case: dict[str, Any]) -> None:
    of_cause = [one.values[0] for one in cases("refusals.json", "refusals") if one.values[0]["cause"] == case["cause"]]
    principal = case["principal"]
    token = None if principal is None else token_of(principal)
    arguments = (of_cause[0].get("sqlstate"), of_cause[0]["message"], case["role"], case["role_source"], token)
    told = call("refusal_explain", *map(text, arguments)) or ""
    for part in case["contains"]:
        assert part in told
    for part in case.get("lacks", []):
        assert part not in told


def token_of(principal: dict[str, Any]) -> str:
    """A token whose claims make it one of that kind."""
    prefix = "/subscriptions/s/resourcegroups/g/providers"
    of_kind: dict[str, dict[str, Any]] = {
        "user": {"idtyp": "user"},
        "guest": {"idtyp": "user", "acct": 1},
        "service_principal": {"idtyp": "app", "appidacr": "1"},
        "user_assigned_identity": {"xms_mirid": f"{prefix}/Microsoft.ManagedIdentity/userAssignedIdentities/app-mi"},
        "system_assigned_identity": {"xms_mirid": f"{prefix}/Microsoft.Compute/virtualMachines/vm"},
        "application": {"idtyp": "app"},
        "unknown": {},
    }
    ids = {key: principal[key] for key in ("oid", "tid", "appid") if principal.get(key)}
    payload = json.dumps({**of_kind[principal["kind"]], **ids}).encode()
    return f"e30.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.sig"


@pytest.mark.parametrize("case", cases("tls.json", "cases"))
def test_tls(case: dict[str, Any]) -> None:
    hosts = (c_char_p * len(case["hosts"]))(*(host.encode() for host in case["hosts"]))
    arguments = (text(case["sslmode"]), hosts, c_size_t(len(hosts)), c_bool(case.get("allow_insecure", False)))
    if isinstance(case["result"], dict):
        with pytest.raises(Failed) as caught:
            call("secure_sslmode", *arguments, owned=False)
        assert caught.value.code == case["result"]["error"]
    else:
        assert call("secure_sslmode", *arguments, owned=False) == case["result"]


@pytest.mark.parametrize("case", cases("credentials/static_token.json", "cases"))
def test_static_tokens(case: dict[str, Any]) -> None:
    """The one credential that asks nobody; all others are the engine's tests to run."""
    with open_credential({"credential": case["credential"], "environment": {}}) as credential:
        token, expires_on = get_token(credential, "https://vault.azure.net/.default")
    expected = case["token"]
    assert token == expected["token"]
    if expected["expires_on"] is None:
        assert abs(expires_on - time.time() - expected["expires_in"]) < 60
    else:
        assert expires_on == expected["expires_on"]
