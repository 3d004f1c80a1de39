#!/usr/bin/env python3
"""The credentials that work in each language, from the lines `works: CLASS in LANGUAGE` of tests.

    make test | tee FILE; tools/matrix.py FILE      writes the lines of FILE into the table of docs/credentials.md

`make test` prints the table of its run, and fails if the table of docs/credentials.md claims more.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "credentials.md"
BEGIN = "<!-- The table of `make test`, written by tools/matrix.py. -->"
END = "<!-- The end of the table. -->"

LANGUAGES = ("Rust", "C", "Python", "Python aio", "Node", ".NET", "Java", "Go", "PHP", "Ruby")
CREDENTIALS = (
    "DefaultAzureCredential",
    "ChainedTokenCredential",
    "EnvironmentCredential",
    "WorkloadIdentityCredential",
    "ManagedIdentityCredential",
    "ClientSecretCredential",
    "ClientCertificateCredential",
    "ClientAssertionCredential",
    "OnBehalfOfCredential",
    "AzurePipelinesCredential",
    "AzureCliCredential",
    "AzureDeveloperCliCredential",
    "AzurePowerShellCredential",
    "StaticTokenCredential",
)
# Some test runners put a mark before the output of a test.
LINE = re.compile(r"^(?:# )?works: (?P<credential>\S+) in (?P<language>.+?)\s*$")
YES = "yes"

# Logins from Azure Service Connector's variables alone that a run must show.
IDENTITIES = ("system-assigned", "user-assigned", "service-principal")
CONNECTOR_DRIVERS = {
    "psycopg2": "Python",
    "psycopg 3": "Python",
    "SQLAlchemy": "Python",
    "asyncpg": "Python",
    "pg": "Node",
    "Sequelize": "Node",
    "postgres.js": "Node",
    "Npgsql": ".NET",
    "pgjdbc": "Java",
    "pgx": "Go",
    "database/sql": "Go",
    "lib/pq": "Go",
    "libpq": "C",
    "libpq, client type none": "C",
    "Django": "Python",
    "tokio-postgres": "Rust",
    "sqlx": "Rust",
    "deadpool-postgres": "Rust",
    "diesel-async": "Rust",
    "pg_connect": "PHP",
    "pdo": "PHP",
    "laravel": "PHP",
    "doctrine (pdo)": "PHP",
    "ruby-pg": "Ruby",
    "Active Record": "Ruby",
    "sequel": "Ruby",
}
CONNECTOR_LINE = re.compile(r"^(?:# )?connector: (?P<identity>\S+) / (?P<driver>.+?) / (?P<language>.+?)\s*$")

Cells = set[tuple[str, str]]


def read(line: str) -> tuple[str, str] | None:
    """Returns the credential and the language of a line `works: ...`."""
    match = LINE.match(line)
    return (match["credential"], match["language"]) if match else None


def read_connector(line: str) -> tuple[str, str] | None:
    """Returns the identity and the driver of a line `connector: ...`."""
    match = CONNECTOR_LINE.match(line)
    return (match["identity"], match["driver"]) if match else None


def connector_table(cells: Cells) -> str:
    """Returns the table of drivers and identities in Markdown."""
    more = {driver: None for _, driver in sorted(cells) if driver not in CONNECTOR_DRIVERS}
    drivers = {**CONNECTOR_DRIVERS, **more}
    named = {driver: f"{driver} ({language})" if language else driver for driver, language in drivers.items()}
    width = max(map(len, named.values()))
    rules = " | ".join("-" * len(identity) for identity in IDENTITIES)
    lines = [f"| {'Service Connector':{width}} | {' | '.join(IDENTITIES)} |\n", f"| {'-' * width} | {rules} |\n"]
    for driver, name in named.items():
        marks = (YES if (identity, driver) in cells else "" for identity in IDENTITIES)
        marks = (mark.ljust(len(identity)) for mark, identity in zip(marks, IDENTITIES, strict=True))
        lines.append(f"| {name:{width}} | {' | '.join(marks)} |\n")
    return "".join(lines)


def missing_connectors(cells: Cells, ci: bool) -> list[str]:
    """Returns the logins that a run did not show. A driver without a login was not tested: an error in CI."""
    seen = {driver for _, driver in cells}
    return [
        f"no test shows it: {driver} with a {identity} identity"
        for driver in CONNECTOR_DRIVERS
        for identity in IDENTITIES
        if (driver in seen or ci) and (identity, driver) not in cells
    ]


def table(cells: Cells) -> str:
    """Returns the table of credentials and languages in Markdown."""
    widths = [max(map(len, CREDENTIALS)) + 2, *(max(len(language), len(YES)) for language in LANGUAGES)]

    def row(texts: Iterable[str]) -> str:
        return "| " + " | ".join(text.ljust(width) for text, width in zip(texts, widths, strict=True)) + " |\n"

    lines = [row(["credential", *LANGUAGES]), row("-" * width for width in widths)]
    for credential in CREDENTIALS:
        lines.append(row([f"`{credential}`", *(YES if (credential, one) in cells else "" for one in LANGUAGES)]))
    return "".join(lines)


def written(text: str) -> Cells:
    """Returns the entries of a document's table."""
    if BEGIN not in text or END not in text:
        return set()
    cells: Cells = set()
    for line in text[text.index(BEGIN) : text.index(END)].splitlines():
        credential, *marks = [part.strip() for part in line.strip().strip("|").split("|")]
        cells.update((credential.strip("`"), one) for one, mark in zip(LANGUAGES, marks, strict=False) if mark == YES)
    return cells


def compare(run: Cells, ci: bool) -> tuple[list[str], list[str]]:
    """Returns the errors of the document's table or the run, and notes.

    A language without any line was not tested, which is an error in CI and else a note.
    """
    known = {(credential, language) for credential in CREDENTIALS for language in LANGUAGES}
    wrong = [f"no row or column for: works: {credential} in {language}" for credential, language in sorted(run - known)]
    notes: list[str] = []
    document = written(DOCUMENT.read_text()) if DOCUMENT.exists() else set()
    seen = {language for _, language in run}
    for language in sorted({language for _, language in document} - seen):
        (wrong if ci else notes).append(f"not tried: {language}'s column of the table in {DOCUMENT.name}")
    name = f"docs/{DOCUMENT.name}"
    wrong += [
        f"{name} says so, and no test: {one} in {where}" for one, where in sorted(document - run) if where in seen
    ]
    if missing := sorted(run & known - document):
        notes.append(
            f"not in the table of {name}: {len(missing)} that work, such as {missing[0][0]} in {missing[0][1]}"
        )
    return wrong, notes


def main(arguments: list[str]) -> None:
    if len(arguments) != 1:
        sys.exit(__doc__)
    cells = {cell for line in Path(arguments[0]).read_text(errors="replace").splitlines() if (cell := read(line))}
    text = DOCUMENT.read_text()
    if BEGIN not in text or END not in text:
        sys.exit(f"{DOCUMENT}: does not contain the comments around the table")
    before, after = text[: text.index(BEGIN) + len(BEGIN)], text[text.index(END) :]
    DOCUMENT.write_text(f"{before}\n\n{table(cells)}\n{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
