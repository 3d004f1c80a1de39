"""A pytest plugin: fails a test whose output, log, warnings or failure text contains a secret or a token."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from support.secret_pattern import SECRET


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    texts = [text for _, text in report.sections]
    if report.longrepr is not None and call.excinfo is not None and not call.excinfo.errisinstance(AssertionError):
        # Only the message: the test's source lines may contain its secrets.
        texts.append(str(call.excinfo.value))
    if any(SECRET.search(text) for text in texts):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} showed a secret or a token during {call.when}; it is not repeated here"
        report.sections = []
    return report
