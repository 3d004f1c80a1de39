"""The settings of applications, as docs/recipes/python.md shows them, for the server of the test."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

SERVER = urlsplit(os.environ["DATABASE_URL"])


def settings(name: str) -> str:
    """Returns a file of the folder `settings`, with the server of the test in its URLs."""
    text = (Path(__file__).parent / "settings" / name).read_text()
    return re.sub(r"shop\.postgres\.database\.azure\.com/\w+", f"{SERVER.netloc}{SERVER.path}", text)


def url(name: str) -> str:
    """Returns the first URL of a file of the folder `settings`."""
    found = re.search(r'postgresql[^\s"]+', settings(name))
    assert found is not None
    return found[0]
