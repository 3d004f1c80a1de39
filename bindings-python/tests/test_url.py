"""Connection URLs with a token: ``TokenProvider.url``."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from recording import Recording

from pgentra import TokenProvider
from pgentra.errors import EntraConnectionValueError
from pgentra.identity import StaticTokenCredential
from support.vector_runner import cases


@pytest.fixture(autouse=True)
def _no_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("APPDATA", str(tmp_path))
    monkeypatch.setattr("pgentra._roots._BUNDLES", ("bundle.pem", __file__))


@pytest.mark.parametrize("how", ["sync", "async"])
def test_url_has_role_token_and_verify_full(how: str) -> None:
    provider = TokenProvider(Recording(upn="anna+1@contoso.com"), host="db.example")
    url = provider.url(dbname="a b/c") if how == "sync" else asyncio.run(provider.url_async(dbname="a b/c"))
    parts = urlsplit(url)
    assert (parts.scheme, parts.hostname, parts.path) == ("postgresql", "db.example", "/a%20b%2Fc")
    assert unquote(parts.username or "") == "anna+1@contoso.com"
    assert parts.password == provider.get()
    assert parse_qs(parts.query) == {"sslmode": ["verify-full"], "sslrootcert": [__file__]}
    assert provider.get() not in repr(provider)


@pytest.mark.parametrize(
    ("arguments", "server"),
    [
        ({"host": "db.example"}, "db.example/"),
        ({"host": "db.example", "port": 6432, "dbname": "d"}, "db.example:6432/d"),
        ({"host": "a.example,b.example", "port": "1,2"}, "a.example:1,b.example:2/"),
        ({"host": "a.example,b.example", "port": 1}, "a.example:1,b.example:1/"),
        ({"host": "2001:db8::1", "port": 1}, "[2001:db8::1]:1/"),
        ({"host": "db.example", "scheme": "postgresql+psycopg"}, "db.example/"),
    ],
)
def test_url_server(arguments: dict[str, Any], server: str) -> None:
    url = TokenProvider(Recording()).url(**arguments, user="app")
    assert url.startswith(arguments.get("scheme", "postgresql") + "://app:")
    assert url.partition("@")[2].partition("?")[0] == server


def test_url_takes_the_server_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGHOST": "env.example", "PGPORT": "1", "PGDATABASE": "d", "PGUSER": "role"}.items():
        monkeypatch.setenv(name, value)
    url = TokenProvider(Recording()).url(connect_timeout=5)
    assert url.startswith("postgresql://role:")
    assert "@env.example:1/d?" in url
    assert "connect_timeout=5" in url


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        *({"host": "h", name: "x"} for name in ("password", "service", "servicefile")),
        {"host": "h", "sslmode": "require"},
    ],
)
def test_url_refuses(arguments: dict[str, str]) -> None:
    credential = Recording()
    with pytest.raises(EntraConnectionValueError):
        TokenProvider(credential).url(**arguments)
    assert credential.scopes == []


@pytest.mark.parametrize("case", cases("urls.json", "cases"))
def test_url_vectors(case: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in case.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("pgentra._url.find_roots", lambda _: None)
    provider = TokenProvider(StaticTokenCredential(case["password"]))
    settings = {name: value for name, value in case["settings"].items() if name != "user"}
    arguments = {**settings, "user": case["user"], "scheme": case.get("scheme", "postgresql")}
    if "url" in case:
        assert provider.url(**arguments) == case["url"]
        return
    with pytest.raises(EntraConnectionValueError) as caught:
        provider.url(**arguments)
    assert all(text in str(caught.value) for text in case["error"]), caught.value
    assert "canary" not in str(caught.value)


def test_url_is_read_by_libpq() -> None:
    conninfo = pytest.importorskip("psycopg.conninfo")
    provider = TokenProvider(Recording(upn="o'neil @x"))
    read = conninfo.conninfo_to_dict(provider.url("db.example", "a%b?", options="-c x=1 y"))
    assert read == {
        "user": "o'neil @x",
        "password": provider.get(),
        "host": "db.example",
        "dbname": "a%b?",
        "options": "-c x=1 y",
        "sslmode": "verify-full",
        "sslrootcert": __file__,
    }
