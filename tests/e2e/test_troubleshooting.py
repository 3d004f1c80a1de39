"""The texts of errors in the documentation are those of the server, of the engine and of the libraries."""

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


#: Pages, the heading below which error texts of pgentra are, and their number.
OWN_TEXTS = [
    ("troubleshooting", "More about logins", 2),
    ("troubleshooting", "No role name", 2),
    ("troubleshooting", "By error kind", 8),
    ("service-connector", "Errors", 9),
    ("url-only-applications", "Errors", 4),
]


#: Texts of Python and libpq there.
OTHERS_TEXTS = {"Event loop is closed", "fe_sendauth: no password supplied"}


@pytest.mark.parametrize(("page", "title", "number"), OWN_TEXTS)
def test_documented_error_texts_exist(page: str, title: str, number: int) -> None:
    sources = "".join(
        file.read_text()
        for folder, pattern in [("core/src", "*.rs"), ("bindings-python/python", "*.py")]
        for file in (ROOT / folder).rglob(pattern)
    )
    # Texts that continue on the next line, in both languages.
    sources = re.sub(r'\\\n\s*|"\s*\n\s*f?"', "", sources)
    text = (ROOT / "docs" / f"{page}.md").read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    sentences = [one for one in re.findall(r"`([^`\n]+)`", text) if one.count(" ") >= 3 and one not in OTHERS_TEXTS]
    assert len(sentences) >= number, sentences
    for sentence in sentences:
        # Quotes are escaped in the sources; the prefix of a variable and numbers are values.
        for part in re.split(
            r"\.\.\.|\"|AZURE_POSTGRESQL_(?:CONNECTIONSTRING: )?|\(HTTP \d+\)|PGENTRA_ALLOWED_HOSTS: ", sentence
        ):
            part = part.strip(" .")
            assert part in sources, f"{page}.md: {sentence!r}: {part!r} is in no source"
