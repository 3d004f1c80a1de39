"""docs/troubleshooting.md: the texts of the server are those of the vectors, and the AADSTS numbers those of the engine."""

from __future__ import annotations

import json
import re

import pytest

from support.emulator import ROOT

pytestmark = pytest.mark.one_python

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
VECTORS = json.loads((ROOT / "tests" / "vectors" / "login_errors.json").read_text())["login_errors"]


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """Returns the cells of the rows of a table, without its head."""
    table = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row] for row in table if row[0].strip() != "---"][1:]


def test_troubleshooting_texts_of_the_server() -> None:
    causes = set()
    messages = [(case["message"], case["cause"]) for case in VECTORS if "message" in case]
    for texts, cause, *_ in rows(section("By server text")):
        found = re.findall(r"`([^`]+)`", cause)
        causes.update(found)
        for text in re.findall(r"`([^`]+)`", texts):
            pattern = re.compile(".*".join(map(re.escape, text.split("..."))), re.S)
            of_text = {known for message, known in messages if pattern.search(message)}
            assert of_text, f"no vector has the text {text!r}"
            assert not found or of_text & set(found), (text, of_text)
    assert causes == {cause for _, cause in messages} - {"other", "not_a_login"}


def test_troubleshooting_numbers_of_entra() -> None:
    known = set(re.findall(r"^\| (\d+) \| `", (ROOT / "docs" / "errors.md").read_text(), re.M))
    assert set(re.findall(r"AADSTS(\d+)", PAGE)) <= known
