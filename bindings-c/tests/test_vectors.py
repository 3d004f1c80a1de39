"""The cases of tests/vectors through the ABI, by ctypes."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from ctypes import c_char_p
from pathlib import Path
from typing import Any

import pytest
from abi import (
    LIBRARY,
    Failed,
    call,
    get_token,
    login_with_expiry,
    open_credential,
    open_provider,
    read,
    run_vector,
    text,
)
from conftest import ROOT
from psycopg.pq import Conninfo

from support.language_vectors import LanguageVectors
from support.vector_runner import cases


class Library:
    """The library, with the calls that programs of other languages have in these tests."""

    def call(self, name: str, **arguments: Any) -> Any:
        return getattr(self, f"_{name}")(**arguments)

    def _decode_jwt(self, token: str) -> Any:
        return read("decode_jwt", text(token))

    def _describe_token(self, token: str) -> Any:
        return read("describe_token", text(token))

    def _parse_principal_name(self, xms_mirid: str) -> Any:
        return call("parse_principal_name", text(xms_mirid))

    def _resolve_cloud(self, arguments: list[str | None]) -> Any:
        return read("resolve_cloud", *map(text, arguments))

    def _login_error(self, sqlstate: str | None, message: str) -> Any:
        given = (text(sqlstate), text(message))
        cause = LIBRARY.pgentra_login_error_cause(*given).decode()
        return {"cause": cause, "retry": LIBRARY.pgentra_login_error_is_retriable(*given)}

    def _login_error_explain(self, arguments: list[str | None]) -> Any:
        return call("login_error_explain", *map(text, arguments))

    def _connection_read(self, text: str, form: str) -> Any:
        return read("connection_read", c_char_p(text.encode()), c_char_p(form.encode()))

    def _connection_plan(self, request: dict[str, Any]) -> Any:
        return read("connection_plan", text(json.dumps(request)))

    def _login(self, options: dict[str, Any]) -> Any:
        with open_provider(options) as provider:
            user, password, source, expires_on = login_with_expiry(provider)
        return {"user": user, "password": password, "source": source, "expires_on": expires_on}

    def _get_token(self, credential: Any, environment: dict[str, str], request: dict[str, Any]) -> Any:
        with open_credential({"credential": credential, "environment": environment}) as opened:
            token, expires_on = get_token(opened, **request)
        return {"token": token, "expires_on": expires_on}

    def _run_vector(self, group: str, case: str, directory: str) -> Any:
        return run_vector(group, case, Path(directory))


class TestVectors(LanguageVectors):
    @pytest.fixture
    def program(self) -> Library:
        return Library()

    @pytest.fixture
    def testing(self) -> Library:
        return Library()


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


def test_connection_plan_conninfo() -> None:
    chosen = random.Random(1)
    alphabet = "ab'\\\\ =\t\n\"%&?;,:/@[]#$\u00fc\u20ac"
    for _ in range(500):
        keywords = chosen.sample(["dbname", "application_name", "options", "password", "passfile", "sslrootcert"], 3)
        arguments = {name: "".join(chosen.choices(alphabet, k=chosen.randrange(8))) for name in keywords}
        arguments |= {"host": "localhost", "user": "alice"}
        plan = Library().call("connection_plan", request={"arguments": arguments, "environment": {}, "conninfo": True})
        read_back = {
            option.keyword.decode(): option.val.decode()
            for option in Conninfo.parse(plan["conninfo"].encode())
            if option.val is not None
        }
        if not arguments.get("password"):
            arguments.pop("password", None)
        assert read_back == arguments


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
