"""The cases of tests/vectors for languages whose bindings run in a program of their own (`language_program`).

A suite derives a class of `LanguageVectors` and has the fixture `program`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.language_program import Failed, LanguageProgram
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
#: Texts that a C string cannot contain.
NUL = "\0"


def comparable(value: Any) -> Any:
    """Returns a document without what other languages write differently: empty objects, and numbers beyond 64 bits."""
    if isinstance(value, dict):
        return {name: comparable(member) for name, member in value.items()} or []
    if isinstance(value, list):
        return [comparable(member) for member in value]
    return str(value) if isinstance(value, int) and abs(value) > 2**63 else value


class LanguageVectors:
    """The tests."""

    @pytest.fixture(scope="class")
    @classmethod
    def entra(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CannedEntra]:
        entra = CannedEntra(tmp_path_factory.mktemp("entra"))
        yield entra
        entra.stop()

    @pytest.mark.parametrize("case", cases("claims.json", "tokens"))
    def test_decode_jwt_claims(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        token = joined(case["token"])
        assert comparable(program.call("decode_jwt", token=token)) == comparable(case["claims"])
        described = program.call("describe_token", token=token)
        role = described.pop("role") or {"name": None, "source": None}
        seen = {"role": role["name"], "source": role["source"], **described.pop("principal"), **described}
        assert {key: value for key, value in seen.items() if value not in (None, [])} == case["expect"]

    @pytest.mark.parametrize("case", [*cases("claims.json", "rejected"), *cases("claims.json", "large")])
    def test_decode_jwt_invalid_tokens(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        token = joined(case["token"])
        if "error" not in case:
            assert program.call("describe_token", token=token)["role"]["name"] == case["role"]
            return
        for function in ("decode_jwt", "describe_token"):
            with pytest.raises(Failed, match=r"^Invalid JWT token format") as caught:
                program.call(function, token=token)
            assert caught.value.code == "token_decode"
            assert len(token) < 8 or token not in str(caught.value)

    @pytest.mark.parametrize("case", cases("claims.json", "resource_ids"))
    def test_parse_principal_name(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        assert program.call("parse_principal_name", xms_mirid=case["xms_mirid"]) == case["parse_principal_name"]

    @pytest.mark.parametrize("case", cases("claims.json", "missing_names"))
    def test_provider_login_missing_names(
        self, program: LanguageProgram, case: dict[str, Any], entra: CannedEntra
    ) -> None:
        entra.give(token_with(case["claims"]))
        options = entra.config(management_lookup=case["management_tried"], environment={})
        with pytest.raises(Failed) as caught:
            program.call("login", options=options)
        assert caught.value.code == "username_extraction"
        for part in case["contains"]:
            assert part in str(caught.value)

    @pytest.mark.parametrize(
        "case", [case for case in cases("claims.json", "tokens") if "role" in case.values[0]["expect"]]
    )
    def test_provider_login_role(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        token = joined(case["token"]).strip()
        credential = {"type": "static_token", "token": token, "expires_on": 4_000_000_000}
        login = program.call("login", options={"credential": credential, "environment": {}})
        assert (login["user"], login["password"], login["source"]) == (
            case["expect"]["role"],
            token,
            case["expect"]["source"],
        )
        assert login["expires_on"] == 4_000_000_000

    @pytest.mark.parametrize("case", cases("clouds.json", "cases"))
    def test_resolve_cloud(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        names = ("scope_option", "host", "authority_option", "cloud_option", "env_authority_host")
        arguments = {"arguments": [case["inputs"].get(name) for name in names]}
        if "error" in case:
            with pytest.raises(Failed) as caught:
                program.call("resolve_cloud", **arguments)
            assert caught.value.code == "invalid_configuration"
            return
        resolved = program.call("resolve_cloud", **arguments)
        warning, expected = resolved.pop("warning"), dict(case["expect"])
        parts = expected.pop("warning")
        assert resolved == expected
        assert (warning is None) == (parts is None)
        for part in [parts] if isinstance(parts, str) else parts or []:
            assert part in warning

    @pytest.mark.parametrize("case", cases("login_errors.json", "login_errors"))
    def test_login_error_cause(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        found = program.call("login_error", sqlstate=case.get("sqlstate"), message=case["message"])
        assert found == {"cause": case["cause"], "retry": case["retry"]}

    @pytest.mark.parametrize("case", cases("login_errors.json", "explanations"))
    def test_login_error_explain(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        token = None if case["principal"] is None else token_of(case["principal"])
        names = case.get("unused_connector", "").split(", ")
        variables = {name: "host=db.example" for name in names if name}
        unused = ["db.example", json.dumps(variables)] if variables else [None, None]
        arguments = [*refusal_with(case["cause"]), case["role"], case["role_source"], token, *unused]
        check_explanation(program.call("login_error_explain", arguments=arguments) or "", case)

    @pytest.mark.parametrize("case", CREATED_ROLES)
    def test_login_error_explain_statement(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        arguments = [*refusal_with("role_missing"), case["role"], "upn", owner_of(case), None, None]
        assert case["statement"] in program.call("login_error_explain", arguments=arguments)

    @pytest.mark.parametrize("case", cases("tls.json", "cases"))
    def test_connection_plan_tls(self, program: LanguageProgram, case: dict[str, Any]) -> None:
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
                program.call("connection_plan", request=request)
            assert caught.value.code == case["result"]["error"]
        else:
            assert program.call("connection_plan", request=request)["sslmode"] == case["result"]

    @pytest.mark.parametrize("case", [c for c in cases("connections.json", "strings") if NUL not in c.values[0]["text"]])
    def test_connection_read(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        arguments = {"text": case["text"], "form": case["form"]}
        if "error" in case:
            with pytest.raises(Failed) as caught:
                program.call("connection_read", **arguments)
            check_refused(caught.value, case)
            return
        assert comparable(program.call("connection_read", **arguments)) == comparable(case["settings"])

    @pytest.mark.parametrize("case", cases("connections.json", "plans"))
    def test_connection_plan(self, program: LanguageProgram, case: dict[str, Any]) -> None:
        case = json.loads(json.dumps(case).replace("{files}", str(VECTORS / "services")))
        expected = dict(case["result"])
        request = {"environment": {}, **case["request"], "repeat_warnings": True}
        if "error" in expected:
            with pytest.raises(Failed) as caught:
                program.call("connection_plan", request=request)
            check_refused(caught.value, expected)
            return
        plan = program.call("connection_plan", request=request)
        warns = expected.pop("warns", None)
        assert comparable({name: plan[name] for name in expected}) == comparable(expected)
        if warns is not None:
            assert len(plan["warnings"]) == len(warns)
            assert all(part in warning for part, warning in zip(warns, plan["warnings"], strict=True))
        assert "pa55word" not in " ".join(plan["warnings"])

    @pytest.mark.parametrize("case", SILENT_CREDENTIALS)
    def test_credential_get_token(self, program: LanguageProgram, case: dict[str, Any], tmp_path: Path) -> None:
        case = prepared(case, tmp_path)
        request = {"scope": SCOPE, **case.get("request", {})}
        arguments = {"credential": case["credential"], "environment": case["environment"], "request": request}
        expected = case.get("build_error") or case.get("error")
        if expected is not None:
            with pytest.raises(Failed) as caught:
                program.call("get_token", **arguments)
            check_error(caught.value, expected)
            return
        found = program.call("get_token", **arguments)
        expected = case["token"]
        assert found["token"] == expected["token"]
        if expected.get("expires_on") is not None:
            assert found["expires_on"] == expected["expires_on"]
        elif expected.get("expires_in") is not None:
            assert abs(found["expires_on"] - time.time() - expected["expires_in"]) < 120

    @pytest.mark.parametrize("case", cases("entra-errors.json", "cases"))
    def test_credential_entra_errors(self, program: LanguageProgram, case: dict[str, Any], entra: CannedEntra) -> None:
        entra.response = case["response"]
        with pytest.raises(Failed) as caught:
            program.call("login", options=entra.config(environment={}))
        check_error(caught.value, case["error"])

    @pytest.mark.parametrize(("group", "case"), ENGINE_CASES)
    def test_engine_vectors(self, testing: LanguageProgram, group: str, case: dict[str, Any], tmp_path: Path) -> None:
        def run(group: str, case: str, folder: Path) -> str:
            found: str = testing.call("run_vector", group=group, case=case, directory=str(folder))
            return found

        check_in_engine(run, Failed, group, case, tmp_path)


def check_refused(failed: Failed, expected: dict[str, Any]) -> None:
    assert failed.code == expected["error"]
    assert all(part in str(failed) for part in expected.get("contains", []))
    assert "pa55word" not in str(failed)
