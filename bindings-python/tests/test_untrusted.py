"""The rules of tests/vectors/untrusted.json, as Python applies them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

import pgentra
from pgentra import _native
from pgentra.errors import CredentialValueError, EntraConnectionValueError
from support.vector_runner import VECTORS, cases


@pytest.mark.parametrize("case", cases("untrusted.json", "cases"))
def test_untrusted_login(case: dict[str, Any]) -> None:
    request = json.loads(json.dumps(case["request"]).replace("{files}", str(VECTORS / "services")))
    expected = case["result"]
    if isinstance(expected, dict):
        with pytest.raises(EntraConnectionValueError) as caught:
            _native.untrusted_login(request, False)
        assert caught.value.code == expected["error"]
        assert all(part in str(caught.value) for part in expected["contains"])
        return
    login, cause = _native.untrusted_login(request, False)
    assert login == expected
    assert bool(cause) == (login == "host_not_allowed")


def test_untrusted_login_reads_the_process_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    request = {"arguments": {"host": "db.example"}, "environment": {"PGENTRA_ALLOWED_HOSTS": "db.example"}}
    monkeypatch.delenv("PGENTRA_ALLOWED_HOSTS", raising=False)
    assert _native.untrusted_login(request, True)[0] == "host_not_allowed"
    monkeypatch.setenv("PGENTRA_ALLOWED_HOSTS", "db.example")
    assert _native.untrusted_login({**request, "environment": {}}, True)[0] == "token"


@pytest.mark.parametrize("arguments", [{"credential": "a text"}, {"timeout": "soon"}, {"mode": "never"}])
def test_enable_process_wide_of_wrong_arguments(arguments: dict[str, Any]) -> None:
    with pytest.raises(CredentialValueError):
        pgentra.enable_process_wide(**arguments)
    assert "pgentra._process_wide._Finder" not in str(sys.meta_path)


PROGRAM = """
import sys
import pgentra
pgentra.enable_process_wide()
assert "psycopg" not in sys.modules and "psycopg2" not in sys.modules and "asyncpg" not in sys.modules
import psycopg, psycopg2, asyncpg, inspect, importlib.resources
for module in (psycopg, psycopg2, asyncpg):
    assert type(module.__loader__).__module__ != "pgentra._process_wide", module
    assert type(module.__spec__.loader).__module__ != "pgentra._process_wide", module
    assert importlib.resources.files(module).joinpath("__init__.py").is_file()
assert psycopg.connect.__func__ is psycopg.Connection.connect.__func__
assert "conninfo" in inspect.signature(psycopg.Connection.connect).parameters
assert "dsn" in inspect.signature(asyncpg.connect).parameters
assert inspect.iscoroutinefunction(psycopg.AsyncConnection.connect) and inspect.iscoroutinefunction(asyncpg.connect)
before = psycopg.Connection.connect.__func__
pgentra.enable_process_wide(fallback_username="alice")
assert psycopg.Connection.connect.__func__ is before
print("ok")
"""


def test_enable_process_wide_imports_no_driver() -> None:
    """Drivers are changed when they are imported, and once."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60)
    assert done.stdout == "ok\n", done.stderr
