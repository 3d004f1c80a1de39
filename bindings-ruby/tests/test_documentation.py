"""Runs the Ruby snippets of the documentation and the samples, with the emulator instead of Azure."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, ROOT, RUBY, TARGET

from support.emulator import Emulator

SERVER = "shop.postgres.database.azure.com"
PAGE = ROOT / "docs" / "ruby.md"
DOCUMENTS = [ROOT / "README.md", HERE.parent / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```ruby\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
SNIPPETS = {
    f"{path.relative_to(ROOT)}, {number}": match["code"]
    for path in DOCUMENTS
    for number, match in enumerate(BLOCK.finditer(path.read_text()), 1)
    if not match["code"].startswith("gem ")
}


def run_ruby(file: Path, **variables: str) -> str:
    done = subprocess.run(
        [RUBY, "-I", HERE.parent / "lib", file],
        env=os.environ | {"PGENTRA_LIBRARY": str(TARGET / "libpgentra.so")} | variables,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "eyJ" not in done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("code", SNIPPETS.values(), ids=SNIPPETS)
def test_documentation_snippet(code: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", str(emulator.server.port))
    if "service_connector" in code:
        server = emulator.server
        monkeypatch.setenv(
            "AZURE_POSTGRESQL_CONNECTIONSTRING",
            f"host={server.host} port={server.port} dbname={server.database} sslmode=require user=app-mi",
        )
    ending = '\ndatabase.get(Sequel.lit("1")) if defined?(database) && database\n'
    port = code.replace(', database: "postgres",', f', database: "postgres", port: {emulator.server.port},')
    file = tmp_path / "snippet.rb"
    file.write_text('require "pgentra"\n' + port.replace(SERVER, emulator.server.host) + ending)
    run_ruby(file)
    if "connect(" in code:
        assert {login.outcome for login in emulator.postgres_report().logins} == {"logged_in"}


@pytest.mark.parametrize("sample", ["pg_sample.rb", "active_record_sample.rb", "sequel_sample.rb"])
def test_sample(sample: str, emulator: Emulator) -> None:
    server = emulator.server
    output = run_ruby(
        ROOT / "examples" / "ruby" / sample,
        PGHOST=server.host,
        PGPORT=str(server.port),
        PGDATABASE=server.database,
        PGSSLMODE="verify-full",
    )
    assert output.startswith("sync: logged in as app-mi after ")


def test_documentation_lists_every_option(tmp_path: Path) -> None:
    """The table of docs/ruby.md has the options that the library's errors list."""
    table = PAGE.read_text().partition("<!-- options")[2].partition("<!-- end of options")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    file = tmp_path / "options.rb"
    file.write_text(
        'require "pgentra"\n'
        "begin\n  Pgentra::TokenProvider.new(no: 1)\nrescue Pgentra::Error => e\n  puts e.message\nend\n"
    )
    known = re.search(r"expected one of ([\w, ]+)\.", run_ruby(file))
    assert known is not None
    of_provider = set(known[1].split(", ")) - {"appid_as_username"}
    source = (HERE.parent / "lib" / "pgentra" / "login_attempt.rb").read_text()
    of_connection = set(re.findall(r"\w+", re.search(r"OF_CONNECTION = %w\[([^\]]*)\]", source)[1]))  # type: ignore[index]
    assert listed == of_provider | of_connection
