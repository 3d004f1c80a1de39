"""A pytest plugin: tells what passed tests show to work, one line `works: ...` each, which `tools/matrix.py` gathers.

A test says it with `record_property("works", "CLASS in LANGUAGE")`.
"""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    passed = [report for report in terminalreporter.getreports("passed") if report.when == "call"]
    for line in dict.fromkeys(value for report in passed for name, value in report.user_properties if name == "works"):
        terminalreporter.write_line(f"works: {line}")
