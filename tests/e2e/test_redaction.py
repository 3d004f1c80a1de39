"""The plugin that searches the output of every test for secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

PRINTED = "print({secret!r})"
LOGGED = "import logging; logging.getLogger('pgentra').debug({secret!r})"
RAISED = "raise ValueError({secret!r})"


@pytest.mark.parametrize("how", [PRINTED, LOGGED, RAISED], ids=["printed", "logged", "raised"])
@pytest.mark.parametrize(
    "secret", ["hello", "canary" + "-1", "ey" + "JhbGciOiJSUzI1NiIsInR5" + ".eyJvaWQiOiJvIiwidGlkIjoi"]
)
def test_redaction_plugin_with_secret_in_output(tmp_path: Path, how: str, secret: str) -> None:
    (tmp_path / "test_one.py").write_text(f"def test_one():\n    {how.format(secret=secret)}\n")
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "support.redaction", "--log-level", "DEBUG", "test_one.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    harmless = secret == "hello"
    assert ("showed a secret" in ended.stdout) is not harmless, ended.stdout
    if not harmless:
        assert ended.returncode == 1
        assert ended.stdout.count(secret) == 0
