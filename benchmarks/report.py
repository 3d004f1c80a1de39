"""The report of the benchmarks: `results.json` holds every figure, `results.md` is its table.

benchmarks/report.py check         fails if `results.md` is not the table of `results.json`
benchmarks/report.py limits        fails if the proxy or the command missed a limit
benchmarks/report.py add FILE      adds a table to both, or replaces it: FILE is JSON, a `Table`
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
JSON, MARKDOWN = FOLDER / "results.json", FOLDER / "results.md"

#: The order of the tables.
TITLES = ("Rust", "Python", "C", "PHP", "Ruby", ".NET", "Node", "Java", "Go", "Proxy", "Command")

#: The tables whose limits must hold; `make bench` fails if they do not.
LIMITED = ("Proxy", "Command")

Figures = dict[str, dict[str, float]]


@dataclass
class Row:
    """A row of a table. `figures` has the numbers of `ours` and of `peer`; the names of the keys are their units."""

    work: str
    must: str
    ours: str
    peer: str
    ok: bool
    figures: Figures = field(default_factory=dict)
    #: The chart of `plot.py` that shows this row, if any.
    chart: str = ""


@dataclass
class Table:
    """The rows of a language or a program."""

    title: str
    rows: list[Row]
    #: The day.
    measured: str = field(default_factory=lambda: f"{datetime.now(timezone.utc):%Y-%m-%d}")
    #: Text above the rows.
    note: str = ""
    #: The names of the last two columns but one.
    columns: tuple[str, str] = ("ours", "peer")


@dataclass
class Report:
    """Every table, and the machine on which they were measured."""

    machine: list[str]
    tables: list[Table]

    def put(self, table: Table) -> None:
        """Adds a table, or replaces the one with its title."""
        self.tables = [one for one in self.tables if one.title != table.title] + [table]
        self.tables.sort(key=lambda one: TITLES.index(one.title))

    def markdown(self) -> str:
        lines = ["# Benchmarks", "", "Written by `make bench`; as measured.", ""]
        lines += [*(f"- {fact}" for fact in self.machine), f"- measured {self._days()}", ""]
        for table in self.tables:
            lines += [f"## {table.title}", ""]
            lines += [table.note, ""] if table.note else []
            ours, peer = table.columns
            lines += [f"| work | must | {ours} | {peer} | |", "| --- | --- | --- | --- | --- |"]
            for row in table.rows:
                cells = (row.work, row.must, row.ours, row.peer, "ok" if row.ok else "**short**")
                lines.append(f"| {' | '.join(cells)} |")
            lines.append("")
        return "\n".join(lines)

    def _days(self) -> str:
        """Returns the day of the newest table, and of those that are older."""
        newest = max((table.measured for table in self.tables), default="")
        older = [f"{table.title} {table.measured}" for table in self.tables if table.measured != newest]
        return "; ".join([newest, *older])

    def write(self) -> None:
        """Writes both files."""
        JSON.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")
        MARKDOWN.write_text(self.markdown())


def busy() -> str:
    """Returns a sentence if other programs use this machine, which makes times worthless."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    return f"The machine was busy: load average {load:.1f} on {cores} cores at the start." if load > cores / 2 else ""


def read_table(document: dict[str, Any]) -> Table:
    rows = [Row(**row) for row in document["rows"]]
    columns = document.get("columns") or ("ours", "peer")
    day = document.get("measured")
    table = Table(document["title"], rows, note=document.get("note", ""), columns=(columns[0], columns[1]))
    return replace(table, measured=day) if day else table


def read() -> Report:
    """Returns the report of the last measurement; an empty one if there is none."""
    if not JSON.exists():
        return Report([], [])
    document = json.loads(JSON.read_text())
    return Report(document["machine"], [read_table(table) for table in document["tables"]])


def main(arguments: list[str]) -> int:
    report = read()
    match arguments:
        case ["check"]:
            if MARKDOWN.read_text() == report.markdown():
                return 0
            print(f"{MARKDOWN} is not the table of {JSON}: `make bench` writes both")
            return 1
        case ["limits"]:
            short = [row for table in report.tables if table.title in LIMITED for row in table.rows if not row.ok]
            for row in short:
                print(f"[pgentra] {row.work}: {row.ours}, must be {row.must}")
            return int(bool(short))
        case ["add", file]:
            report.put(read_table(json.loads(Path(file).read_text())))
            report.write()
            return 0
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
