#!/usr/bin/env python3
"""Runs test suites in sequence, also after a failure, and adds up their results.

    tools/tally.py SUITE=SECONDS...

A suite is a make target; after that time, builds included, it is killed with its children. The results of cargo,
pytest, node:test and dotnet test are read from its output, which is also printed. A line that contains a secret of the
tests, or a token, is a failure. A line `skipped: ...` names a toolchain that is not installed: a skip, or with CI=true
a failure. A line that begins with `not tried` is optional everywhere.
Lines `works: CLASS in LANGUAGE` form the table of tools/matrix.py, which must agree with the documentation's; lines
`connector: IDENTITY / DRIVER / LANGUAGE` form the table of logins from Service Connector's variables, which must be
complete. The first dozen failed tests of each suite are repeated at the end. The last line is
`N passed, N failed, N skipped`; the exit status is 0 if nothing failed.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import matrix

from support.secret_pattern import SECRET

COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CARGO = re.compile(r"^test result: \w+\. (?P<passed>\d+) passed; (?P<failed>\d+) failed; (?P<skipped>\d+) ignored;")
CARGO_IGNORED = re.compile(r"^test (?P<name>.+?) \.\.\. ignored(?:, (?P<reason>.*))?$")
PYTEST = re.compile(r"^=*\s*(?P<counts>\d+ \w+(?:, \d+ \w+)*) in [\d.]+s(?: \([\d:]+\))?\s*=*$")
# On a terminal the mark is U+2139.
NODE = re.compile(r"^[#\u2139] (?P<word>pass|fail|cancelled|skipped|todo) (?P<count>\d+)$")
NAMES_A_FAILURE = re.compile(r"^(?:FAILED|ERROR|failed) \S|^\u2716 (?!failing tests)|^test .* \.\.\. FAILED$")
# The number of failures that are repeated for one suite.
NAMED_FAILURES = 12
# Cargo lists the names below this line.
CARGO_FAILURES = "failures:"
# The summary of Maven's tests; one with the word "Time" is that of a class.
MAVEN = re.compile(
    r"^\[\w+\] Tests run: (?P<run>\d+), Failures: (?P<failures>\d+), Errors: (?P<errors>\d+), "
    r"Skipped: (?P<skipped>\d+)$"
)
MAVEN_FAILURE = re.compile(r"^\[ERROR\]   \S+.*:\d+ ")
# The summary of `dotnet test`.
DOTNET = re.compile(r"^  (?P<word>succeeded|failed|skipped): (?P<count>\d+)$")
PYTEST_SKIPPED = re.compile(r"^SKIPPED \[\d+\] (?P<reason>.*)$")
KINDS = {
    "passed": "passed",
    "failed": "failed",
    "error": "failed",
    "errors": "failed",
    "skipped": "skipped",
    "xfailed": "skipped",
    "xpassed": "failed",
    "pass": "passed",
    "fail": "failed",
    "cancelled": "failed",
    "todo": "skipped",
    "succeeded": "passed",
}


@dataclass
class Result:
    """The results of one suite so far."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list[str] = field(default_factory=list)
    in_failures: bool = False
    works: matrix.Cells = field(default_factory=set)
    connectors: matrix.Cells = field(default_factory=set)

    def read(self, line: str, ci: bool) -> None:
        if match := CARGO.match(line):
            for kind, count in match.groupdict().items():
                self.count(kind, int(count))
        elif match := PYTEST.match(line):
            for part in match["counts"].split(", "):
                count, word = part.split()
                if word in KINDS:
                    self.count(KINDS[word], int(count))
        elif match := NODE.match(line) or DOTNET.match(line):
            self.count(KINDS[match["word"]], int(match["count"]))
        elif match := MAVEN.match(line):
            run, failures, errors, skipped = (int(count) for count in match.groups())
            self.count("passed", run - failures - errors - skipped)
            self.count("failed", failures + errors)
            self.count("skipped", skipped)
        elif (
            MAVEN_FAILURE.match(line)
            or NAMES_A_FAILURE.match(line)
            or (self.in_failures and re.fullmatch(r" {4}[\w:.]+", line))
        ):
            if sum(note.startswith("failed: ") for note in self.notes) < NAMED_FAILURES:
                self.note(f"failed: {line.strip()[:300]}")
        elif match := CARGO_IGNORED.match(line):
            self.notes.append(f"skipped: {match['name']}: {match['reason'] or 'ignored'}")
        elif match := PYTEST_SKIPPED.match(line):
            self.notes.append(f"skipped: {match['reason']}")
        elif line.startswith("skipped: "):
            self.count("failed" if ci else "skipped", 1)
            self.notes.append(line + (" (a failure, because CI=true)" if ci else ""))
        elif line.startswith(("not tried: ", "not tried under ")):
            self.note(line)
        elif cell := matrix.read(line):
            self.works.add(cell)
        elif cell := matrix.read_connector(line):
            self.connectors.add(cell)
        self.in_failures = line == CARGO_FAILURES or (self.in_failures and line.startswith("    "))

    def note(self, line: str) -> None:
        """Adds a note once: some test runners report a failure twice."""
        if line not in self.notes:
            self.notes.append(line)

    def count(self, kind: str, number: int) -> None:
        setattr(self, kind, getattr(self, kind) + number)


def kill(process: subprocess.Popen[str]) -> None:
    """Kills a suite with all its children."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def restore_interrupts() -> None:
    """Restores the handling of Ctrl-C, which background jobs of a shell ignore, for the tests of interrupts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run(suite: str, limit: float, ci: bool) -> Result:
    result = Result()
    environment = os.environ | {"CARGO_TERM_COLOR": "never", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [os.environ.get("MAKE", "make"), "--no-print-directory", suite],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        preexec_fn=restore_interrupts,
    )
    output = process.stdout
    assert output is not None

    def forward() -> None:
        for line in output:
            if SECRET.search(line):
                result.count("failed", 1)
                result.notes.append(f"failed: {suite} showed a secret or a token, which is not repeated here")
                line = "[pgentra] a line that holds a secret or a token\n"
            sys.stdout.write(line)
            sys.stdout.flush()
            result.read(COLOUR.sub("", line.rstrip("\n")), ci)

    reader = threading.Thread(target=forward, daemon=True)
    reader.start()
    status = None
    try:
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = process.wait(limit)
    finally:
        kill(process)
    # Processes that a suite leaves behind may keep the pipe open.
    reader.join(5)
    if status is None:
        result.count("failed", 1)
        result.notes.append(f"failed: {suite} was killed after {limit:.0f} s")
    elif status and not result.failed:
        result.count("failed", 1)
        result.notes.append(f"failed: {suite} ended with status {status}")
    elif not (status or result.passed or result.failed or result.skipped):
        result.count("failed", 1)
        result.notes.append(f"failed: {suite} ran no test")
    return result


def main(arguments: list[str]) -> int:
    if not arguments or not all(re.fullmatch(r"[\w.-]+=\d+", argument) for argument in arguments):
        sys.exit(__doc__)
    ci = os.environ.get("CI", "").lower() in ("1", "true")
    results: dict[str, tuple[Result, float]] = {}
    for argument in arguments:
        suite, _, limit = argument.partition("=")
        print(f"[pgentra] {suite}", flush=True)
        started = time.monotonic()
        results[suite] = run(suite, float(limit), ci), time.monotonic() - started
    print(f"\n{'suite':20}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}")
    for suite, (result, seconds) in results.items():
        print(f"{suite:20}{result.passed:8}{result.failed:8}{result.skipped:9}{seconds:9.0f}")
    for suite, (result, _) in results.items():
        for note in result.notes:
            if not note.startswith("failed: "):
                print(f"{suite}: {note}")
    works: matrix.Cells = set().union(*(result.works for result, _ in results.values()))
    wrong, notes = matrix.compare(works, ci)
    if works:
        print(f"\n{matrix.table(works)}")
    for line in wrong + notes:
        print(f"the table of credentials: {line}")
    connectors: matrix.Cells = set().union(*(result.connectors for result, _ in results.values()))
    if connectors:
        print(f"\n{matrix.connector_table(connectors)}")
    if connectors or len(results) > 1:
        missing = matrix.missing_connectors(connectors, ci)
        wrong += missing
        for line in missing:
            print(f"the table of Service Connector: {line}")
    total = [sum(getattr(result, kind) for result, _ in results.values()) for kind in ("passed", "failed", "skipped")]
    total[1] += len(wrong)
    # The failures come last, so that the end of a log shows their causes.
    for suite, (result, _) in results.items():
        for note in result.notes:
            if note.startswith("failed: "):
                print(f"{suite}: {note}")
    print(f"{total[0]} passed, {total[1]} failed, {total[2]} skipped", flush=True)
    return 1 if total[1] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
