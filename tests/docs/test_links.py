"""The built site and the repository's Markdown refer only to what exists; the site loads nothing from other hosts."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pages import ROOT, SITE, Html, github_anchors, markdown_files, own_pages, split

MARKDOWN_LINK = re.compile(r"\]\(\s*(<[^>]*>|[^\s()]+)[^)]*\)|^ {0,3}\[[^\]]+\]:\s*(\S+)", re.MULTILINE)
# Text that Markdown would have turned into a list, a table, a heading, a block of code or a link.
NOT_RENDERED = re.compile(r"^\s*(?:[-*] \S|\d+\. \S.*\n\s*2\. |\|.*\||#{1,6} \S|```|~~~|!!! )|\]\(", re.MULTILINE)
STYLE_ADDRESS = re.compile(r"(?:url\(|@import)\s*[\"']?((?:https?:)?//[^\"')]*)")


def is_external(address: str) -> bool:
    parts = urlsplit(address)
    return parts.scheme in ("http", "https") or bool(parts.netloc)


def test_site_has_pages() -> None:
    assert {"index.html", "get-started.html", "troubleshooting.html"} <= {path.name for path in own_pages()}


def test_site_links() -> None:
    pages = {path: Html(path) for path in sorted(SITE.rglob("*.html"))}
    broken = []
    for path in own_pages():
        # Its addresses begin at the root of the host.
        if path.name == "404.html":
            continue
        for address in pages[path].links + pages[path].resources:
            parts = urlsplit(address)
            if is_external(address) or parts.scheme in ("data", "mailto"):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file() or SITE not in target.parents:
                broken.append(f"{path.relative_to(SITE)}: {address}")
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                broken.append(f"{path.relative_to(SITE)}: {address}: no such anchor")
    assert not broken


def test_site_resources_external() -> None:
    found = [f"{path.relative_to(SITE)}: {address}" for path in own_pages() for address in external_resources(path)]
    for sheet in SITE.rglob("*.css"):
        addresses = STYLE_ADDRESS.findall(sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.relative_to(SITE)}: {address}" for address in addresses]
    assert not found


def external_resources(path: Path) -> list[str]:
    return [address for address in Html(path).resources if is_external(address)]


def test_site_text_unrendered() -> None:
    found = []
    for path in own_pages():
        text = re.sub(r"[ \t]+\n", "\n", "".join(Html(path).text))
        excerpts = [text[max(0, match.start() - 40) : match.end() + 40] for match in NOT_RENDERED.finditer(text)]
        found += [f"{path.relative_to(SITE)}: {excerpt!r}" for excerpt in excerpts]
    assert not found


def test_markdown_links() -> None:
    """Links between files of the repository, as GitHub shows them."""
    anchors: dict[str, set[str]] = {}
    broken = []
    for page in markdown_files():
        text = re.sub(r"(`+)[^`].*?\1", "", split(page)[1], flags=re.DOTALL)
        for inline, reference in MARKDOWN_LINK.findall(text):
            parts = urlsplit((inline or reference).strip("<>"))
            if parts.scheme or parts.netloc:
                continue
            target = ((ROOT / page).parent / unquote(parts.path)).resolve() if parts.path else ROOT / page
            if ROOT not in [target, *target.parents] or not target.exists():
                broken.append(f"{page}: {parts.geturl()}")
            elif parts.fragment and target.suffix == ".md":
                name = str(target.relative_to(ROOT))
                if parts.fragment not in anchors.setdefault(name, github_anchors(name)):
                    broken.append(f"{page}: {parts.geturl()}: no such heading")
    assert not broken
