"""Runs every Python snippet of the documentation unchanged, with the emulator instead of Azure.

A block that begins with "```python" is run; "```python before" is code from before a migration, and
"```python file=..." is a file of an application's project, which pytest runs.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from support.emulator import ROOT, Emulator, find_emulator

SERVER = "shop.postgres.database.azure.com"
BLOCK = re.compile(r"^```python(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)


class Snippet(NamedTuple):
    document: str
    line: int
    info: str
    code: str


def snippets() -> list[Snippet]:
    found = []
    for path in [ROOT / "README.md", ROOT / "bindings-python" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start("code"))
            found.append(Snippet(str(path.relative_to(ROOT)), line, match["info"].strip(), match["code"]))
    return found


RUN = [snippet for snippet in snippets() if not snippet.info]


@pytest.mark.parametrize("snippet", RUN, ids=lambda snippet: f"{snippet.document}:{snippet.line}")
def test_documentation_snippet(snippet: Snippet, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", str(emulator.server.port))
    assert emulator.server.host == "localhost"
    uses_connector = "service_connector" in snippet.code
    if uses_connector:
        text = (
            f"dbname={emulator.server.database} host=localhost port={emulator.server.port} sslmode=require user=app-mi"
        )
        monkeypatch.setenv("AZURE_POSTGRESQL_CONNECTIONSTRING", text)
    # The line numbers are the document's, so that an error points there.
    source = "\n" * snippet.line + snippet.code.replace(SERVER, "localhost")
    code = compile(source, snippet.document, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    pending = eval(code, {"__name__": "__main__"})
    if inspect.iscoroutine(pending):
        asyncio.run(asyncio.wait_for(pending, 60))
    outcomes = [(login.outcome, login.role) for login in emulator.postgres_report().logins]
    refused = "except CredentialUnavailableError" in snippet.code
    if (SERVER in snippet.code or uses_connector) and not refused:
        assert outcomes and set(outcomes) == {("logged_in", "app-mi")}


def test_documentation_of_app_tests(tmp_path: Path) -> None:
    """The pytest set-up of docs/testing-your-app.md works in a separate project."""
    for snippet in snippets():
        if snippet.info.startswith("file="):
            (tmp_path / snippet.info.removeprefix("file=")).write_text(snippet.code)
    path = os.pathsep.join([str(find_emulator().parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        env=os.environ | {"PATH": path},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_documentation_of_faults(emulator: Emulator) -> None:
    """The emulator accepts the requests that docs/testing-your-app.md lists."""
    text = (ROOT / "docs" / "testing-your-app.md").read_text()
    found = re.findall(r"`(POST|PATCH|GET) (/\w+)(?: (\{[^`]*\}))?`", text)
    assert len(found) >= 8
    for method, path, body in found:
        emulator.call(method, path, json.loads(body) if body else None)


@pytest.mark.parametrize(("mode", "driver"), [("sync", "asyncpg"), ("async", "psycopg2")])
def test_sample_without_arguments(mode: str, driver: str) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "examples/python/sqlalchemy_sample.py", "--mode", mode, "--driver", driver],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2 and driver in done.stderr


def test_documentation_lists_every_option() -> None:
    """The table of docs/python.md has the options of connections and of ``TokenProvider``, and no other ones."""
    from pgentra._login import OPTIONS
    from pgentra._typing import LoginOptions

    page = (ROOT / "docs" / "python.md").read_text()
    table = page.partition("<!-- options")[2].partition("<!-- end of options")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert listed == OPTIONS | LoginOptions.__annotations__.keys() | {"credential"}
