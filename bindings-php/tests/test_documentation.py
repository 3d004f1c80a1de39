"""Runs the PHP snippets of README.md and the samples, with the emulator instead of Azure."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, PHP, ROOT, TARGET

from support.emulator import Emulator

SERVER = "shop.postgres.database.azure.com"
README = HERE.parent / "README.md"
BLOCK = re.compile(r"^```php\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
#: Blocks that are a part of a configuration file begin with its key.
SNIPPETS = [match["code"] for match in BLOCK.finditer(README.read_text()) if not match["code"].startswith("'")]


def run_php(*words: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [PHP, *(str(word) for word in words)],
        env=os.environ | {"PGENTRA_LIBRARY": str(TARGET / "libpgentra.so")} | variables,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "eyJ" not in done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("code", SNIPPETS, ids=range(len(SNIPPETS)))
def test_readme_snippet(code: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", str(emulator.server.port))
    monkeypatch.setenv("SECRET", "canary")
    autoload = f"require '{HERE / 'autoload.php'}';\nrequire_once 'Doctrine/DBAL/autoload.php';\n"
    ending = "\nif (isset($connection) && !$connection instanceof PgSql\\Connection) { $connection->connect(); }\n"
    imports = "".join(re.findall(r"^use .*;\n", code, re.MULTILINE))
    body = re.sub(r"^use .*;\n", "", code, flags=re.MULTILINE)
    file = tmp_path / "snippet.php"
    file.write_text("<?php\n" + imports + autoload + body.replace(SERVER, emulator.server.host) + ending)
    output = run_php("-d", "error_reporting=-1", "-d", "display_errors=1", file)
    assert output == ""
    if SERVER in code and "connect(" in code:
        assert {login.outcome for login in emulator.postgres_report().logins} == {"logged_in"}


@pytest.mark.parametrize("sample", ["pgsql.php", "pdo.php", "doctrine.php", "laravel.php"])
def test_sample(sample: str, emulator: Emulator) -> None:
    frameworks = {"doctrine.php": "Doctrine/DBAL/autoload.php", "laravel.php": "Illuminate/Database/autoload.php"}
    prepend = ["-d", f"auto_prepend_file={frameworks[sample]}"] if sample in frameworks else []
    server = emulator.server
    output = run_php(
        *prepend,
        ROOT / "examples" / "php" / sample,
        PGENTRA_AUTOLOAD=str(HERE / "autoload.php"),
        PGHOST=server.host,
        PGPORT=str(server.port),
        PGDATABASE=server.database,
        PGSSLMODE="verify-full",
    )
    assert output.startswith("sync: logged in as app-mi after ")
