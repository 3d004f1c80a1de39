"""What the products print, and what their packages contain, links to pages that exist."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

import pgentra
from support.emulator import ROOT

pytestmark = pytest.mark.one_python

REPOSITORY = "https://github.com/pgentra/pgentra"
#: Folders of what ships. Their tests do not.
PRODUCTS = ["core", "cli", "drivers", "emulator", "proxy", *(path.name for path in ROOT.glob("bindings-*"))]
LINK = re.compile(
    re.escape(REPOSITORY)
    + r"/(?:blob|tree)/main/(?P<path>[\w./-]+?)(?:#(?P<anchor>[\w-]+))?(?=[^\w/#-]*(?:\s|$|[)\"'<>`\]]))"
)
PAGE = re.compile(r"(?<![\w/])docs/(?P<path>[\w./-]+\.(?:md|json))(?:#(?P<anchor>[\w-]+))?")
RELATIVE = re.compile(r"\]\((?!https?:|#|mailto:)(?P<path>[^)\s]+)\)")
#: Files that registries show as the page of a package. They do not resolve relative links.
PACKAGE_PAGES = ["node", "php", "python", "ruby", "dotnet"]


def shipped_files() -> Iterator[tuple[str, str]]:
    """Path and text of each tracked file of a product, without tests."""
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-z", *PRODUCTS], capture_output=True, check=True, text=True
    ).stdout
    for name in filter(None, listed.split("\0")):
        path = ROOT / name
        if "tests" in path.parts or "/src/test/" in name or not path.is_file():
            continue
        try:
            yield name, path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue


def anchors(page: Path) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w -]", "", re.sub(r"[`*]", "", text).lower()).replace(" ", "-") for text in headings}


def problem(path: str, anchor: str | None) -> str | None:
    target = ROOT / path
    if not target.exists():
        return f"{path} does not exist"
    if anchor is not None and anchor not in anchors(target):
        return f"{path} has no heading #{anchor}"
    return None


def test_shipped_links_exist() -> None:
    problems, count = [], 0
    for name, text in shipped_files():
        found = [(match["path"].rstrip("."), match["anchor"]) for match in LINK.finditer(text)]
        found += [(f"docs/{match['path']}", match["anchor"]) for match in PAGE.finditer(LINK.sub("", text))]
        count += len(found)
        problems += [f"{name}: {error}" for path, anchor in found if (error := problem(path, anchor))]
    assert count > 40
    assert problems == []


@pytest.mark.parametrize("binding", PACKAGE_PAGES)
def test_package_page_has_no_relative_link(binding: str) -> None:
    page = ROOT / f"bindings-{binding}" / "README.md"
    assert [match["path"] for match in RELATIVE.finditer(page.read_text())] == []


def test_statistics_are_documented() -> None:
    page = (ROOT / "docs" / "observability.md").read_text()
    table = page.partition("## Statistics")[2]
    documented = {name for row in re.findall(r"^\| (`[^|]+) \|", table, re.M) for name in re.findall(r"`(\w+)`", row)}
    provider = pgentra.TokenProvider(lambda: ("opaque", 3600), user="shop")
    provider.conninfo()
    assert documented == set(provider.stats())
