"""A pytest plugin: prints the credentials and logins that passed tests have shown to work, for `tools/matrix.py`.

A test calls `record_property("works", "CLASS in LANGUAGE")`, and `record_property("connector", "IDENTITY / DRIVER /
LANGUAGE")` if a driver logged in from Service Connector's variables alone. Each becomes a line `works: ...` or
`connector: ...`.
"""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    recorded = (pair for report in passed for pair in report.user_properties if pair[0] in ("works", "connector"))
    for name, value in dict.fromkeys(recorded):
        terminalreporter.write_line(f"{name}: {value}")
