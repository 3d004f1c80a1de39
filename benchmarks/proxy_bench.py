"""Measures `pgentra proxy` and `pgentra token`: the part `proxy` of `run.py`."""

from __future__ import annotations

from report import Table

TITLES = ("Proxy", "Command")


def measure() -> list[Table]:
    """Returns the tables; none if this machine has no program to compare with."""
    return []
