"""The emulator's option `--exec`, as programs see it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.emulator import find_emulator

pytestmark = pytest.mark.one_python

CREATE = """
import os, psycopg
with psycopg.connect(os.environ["PGENTRA_EMULATOR_ADMIN_DSN"], autocommit=True) as admin:
    admin.execute("create table shop_order (id int)")
    print(admin.execute("select current_setting('is_superuser')").fetchone()[0])
"""


def test_exec_passes_the_connection_string_of_the_administrator() -> None:
    """For fixtures and migrations: a plain role may not create tables."""
    ended = subprocess.run(
        [find_emulator(), "--exec", sys.executable, "-c", CREATE],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, "on"), ended.stderr
