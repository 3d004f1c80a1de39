"""Reads the built site and the Markdown of the repository."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
SITE = Path(os.environ.get("PGENTRA_SITE", ROOT / "target" / "site")).resolve()

RESOURCES = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "use": "href",
}
"""Elements that a browser loads without a click, and the attribute with the address."""


@dataclass
class Html(HTMLParser):
    """What a page refers to, its anchors, and the text of its article outside of code."""

    path: Path
    anchors: set[str] = field(default_factory=set)
    links: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    code: int = 0
    in_article: bool = False

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.anchors.update(value for name in ("id", "name") if (value := attributes.get(name)))
        if tag == "a" and (address := attributes.get("href")):
            self.links.append(address)
        elif tag == "link" and (address := attributes.get("href")):
            # `canonical`, `next` and `prev` are not loaded, but must exist.
            self.resources.append(address)
        elif address := attributes.get(RESOURCES.get(tag, "")):
            self.resources.append(address)
        self.in_article |= tag == "article"
        self.code += tag in ("pre", "code", "script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.in_article &= tag != "article"
        self.code -= tag in ("pre", "code", "script", "style")

    def handle_data(self, data: str) -> None:
        if self.in_article and not self.code:
            self.text.append(data)


def is_own(path: Path) -> bool:
    """Whether MkDocs made this page; other generators made the references of most languages."""
    parts = path.relative_to(SITE).parts
    return not (parts[0] == "reference" and len(parts) > 2)


def own_pages() -> list[Path]:
    return sorted(path for path in SITE.rglob("*.html") if is_own(path))


def markdown_files() -> list[str]:
    """The Markdown files of the repository, also those that are not committed yet."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return sorted(name for name in set(listed.split("\0")) if name and (ROOT / name).is_file())


FENCE = re.compile(r"^(?P<indent>[ >]*)(?P<fence>```+|~~~+)(?P<info>[^`\n]*)$")


@dataclass(frozen=True)
class Block:
    """A block of code of a page. `mark` is the reason of a comment `<!-- not run: ... -->` on the line before it."""

    page: str
    line: int
    language: str
    words: str
    mark: str


def split(page: str) -> tuple[list[Block], str]:
    """Returns the blocks of code of a Markdown file, and its text without them."""
    blocks: list[Block] = []
    prose: list[str] = []
    fence = before = ""
    for number, line in enumerate((ROOT / page).read_text(encoding="utf-8").splitlines(), 1):
        match = FENCE.match(line)
        if fence:
            if match and match["fence"].startswith(fence) and not match["info"].strip():
                fence = ""
            prose.append("")
        elif match:
            fence = match["fence"]
            language, _, words = match["info"].strip().replace(",", " ", 1).partition(" ")
            mark = re.fullmatch(r"\s*<!-- not run: (.+?) -->", before)
            blocks.append(Block(page, number, language, words.strip(), mark[1] if mark else ""))
            prose.append("")
        else:
            prose.append(line)
            before = line if line.strip() else before
    return blocks, "\n".join(prose)


def github_anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of the headings of a Markdown file."""
    _, prose = split(page)
    anchors: set[str] = set(re.findall(r'<a (?:id|name)="([^"]+)"', prose))
    seen: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6}\s+(.*?)\s*#*$", prose, re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        seen[slug] = seen.get(slug, -1) + 1
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
    return anchors
