"""Runs the PHP snippets of the documentation and the samples, with the emulator instead of Azure."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import HERE, PHP, ROOT, TARGET

from support.emulator import Emulator

SERVER = "shop.postgres.database.azure.com"
PAGE = ROOT / "docs" / "php.md"
DOCUMENTS = [ROOT / "README.md", HERE.parent / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```php\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
#: Blocks that are a part of a configuration file begin with its key.
SNIPPETS = {
    f"{path.relative_to(ROOT)}, {number}": match["code"]
    for path in DOCUMENTS
    for number, match in enumerate(BLOCK.finditer(path.read_text()), 1)
    if not match["code"].startswith("'")
}


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


@pytest.mark.parametrize("code", SNIPPETS.values(), ids=SNIPPETS)
def test_documentation_snippet(code: str, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", str(emulator.server.port))
    monkeypatch.setenv("SECRET", "canary")
    if "service_connector" in code:
        server = emulator.server
        monkeypatch.setenv(
            "AZURE_POSTGRESQL_CONNECTIONSTRING",
            f"host={server.host} port={server.port} dbname={server.database} sslmode=require user=app-mi",
        )
    autoload = f"require '{HERE / 'autoload.php'}';\nrequire_once 'Doctrine/DBAL/autoload.php';\n"
    ending = "\nif (isset($connection) && !$connection instanceof PgSql\\Connection) { $connection->connect(); }\n"
    imports = "".join(re.findall(r"^use .*;\n", code, re.MULTILINE))
    body = re.sub(r"^use .*;\n", "", code, flags=re.MULTILINE)
    file = tmp_path / "snippet.php"
    file.write_text("<?php\n" + imports + autoload + body.replace(SERVER, emulator.server.host) + ending)
    output = run_php("-d", "error_reporting=-1", "-d", "display_errors=1", file)
    assert output == ""
    if "connect(" in code:
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


def test_documentation_lists_every_option() -> None:
    """The table of docs/php.md has the options of `TokenProvider`, by its comment, and those of connections."""
    table = PAGE.read_text().partition("<!-- options")[2].partition("<!-- end of options")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    source = (HERE.parent / "src" / "TokenProvider.php").read_text()
    of_provider = set(re.findall(r"(\w+)\?: ", source.partition("@param array{")[2].partition("} $options")[0]))
    options = (HERE.parent / "src" / "Internal" / "Options.php").read_text()
    of_connection = set(re.findall(r"'(\w+)' => true", options.partition("OF_CONNECTION = [")[2].partition("];")[0]))
    assert of_provider and of_connection and listed == of_provider | of_connection
