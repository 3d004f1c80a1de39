"""A pytest plugin: tells what passed tests show to work, one line `works: ...` each, which `tools/matrix.py` gathers.

A test says it with `record_property("works", "CLASS in LANGUAGE")`. Logins from the variables of Azure Service
Connector are lines `connector: IDENTITY / DRIVER / LANGUAGE`, from `record_property("connector", ...)`.
"""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    told = (property for report in passed for property in report.user_properties)
    for name, line in dict.fromkeys((name, value) for name, value in told if name in ("works", "connector")):
        terminalreporter.write_line(f"{name}: {line}")
