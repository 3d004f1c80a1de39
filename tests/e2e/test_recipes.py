"""The snippets of docs/recipes are the text of programs that tests run.

"```python from=PATH" is a part of that file; only "```text" names no file.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from support.emulator import ROOT

pytestmark = pytest.mark.one_python

PAGES = sorted((ROOT / "docs" / "recipes").glob("*.md"))
BLOCK = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
WITHOUT_FILE = {"text"}


def is_part(code: str, text: str) -> bool:
    """Returns whether the lines of `code` follow each other in `text`, with any common indentation."""
    wanted = textwrap.dedent(code).splitlines()
    lines = text.splitlines()
    return any(
        textwrap.dedent("\n".join(lines[start : start + len(wanted)])).splitlines() == wanted
        for start in range(len(lines) - len(wanted) + 1)
    )


def test_is_part_of_indented_lines() -> None:
    assert is_part("a:\n  b\n", "x\n  a:\n    b\ny")
    assert not is_part("a:\n  b\n", "a:\nb\n")
    assert not is_part("a\nb\n", "a\nx\nb\n")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_recipes_are_texts_of_programs(page: Path) -> None:
    for block in BLOCK.finditer(page.read_text()):
        language, *words = block["info"].split()
        source = next((word.removeprefix("from=") for word in words if word.startswith("from=")), None)
        assert (source is None) == (language in WITHOUT_FILE), block[0]
        if source is not None:
            assert is_part(block["code"], (ROOT / source).read_text()), f"{page.name}: not in {source}:\n{block[0]}"
