"""Runs the Ruby snippets of README.md and the samples, with the emulator instead of Azure."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, ROOT, RUBY, TARGET

from support.emulator import Emulator

SERVER = "shop.postgres.database.azure.com"
README = HERE.parent / "README.md"
BLOCK = re.compile(r"^```ruby\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
SNIPPETS = [match["code"] for match in BLOCK.finditer(README.read_text()) if not match["code"].startswith("gem ")]


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


@pytest.mark.parametrize("code", SNIPPETS, ids=range(len(SNIPPETS)))
def test_readme_snippet(code: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", str(emulator.server.port))
    ending = '\ndatabase.get(Sequel.lit("1")) if defined?(database) && database\n'
    port = code.replace(', database: "postgres",', f', database: "postgres", port: {emulator.server.port},')
    file = tmp_path / "snippet.rb"
    file.write_text('require "pgentra"\n' + port.replace(SERVER, emulator.server.host) + ending)
    run_ruby(file)
    if SERVER in code and "connect(" in code:
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
