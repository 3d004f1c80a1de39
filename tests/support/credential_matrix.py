"""A pytest plugin: prints what passed tests show to work, one line `works: ...` or `connector: ...` each, which
`tools/matrix.py` gathers.

A test says it with `record_property("works", "CLASS in LANGUAGE")`, and with `record_property("connector", "IDENTITY /
DRIVER / LANGUAGE")` where a driver logged in from Service Connector's variables alone.
"""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    told = (pair for report in passed for pair in report.user_properties if pair[0] in ("works", "connector"))
    for name, value in dict.fromkeys(told):
        terminalreporter.write_line(f"{name}: {value}")
