"""What the documentation site needs beyond MkDocs: a hook, which mkdocs.yml names.

- Files outside `docs/` that are pages of the site (`PAGES`), and the pages of the generated references.
- Links of a page to other files of the repository become links to GitHub if the file exists; else the build fails.
- The words after the language of a code block, which the tests read, are removed.
"""

from __future__ import annotations

import os
import posixpath
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from urllib.parse import unquote, urlsplit

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent.parent
BRANCH = "main"
# What tools/docs/reference.sh has built.
REFERENCE = Path(os.environ.get("BUILD", ROOT / "target")) / "reference"

# Pages whose source is outside docs/, by the source.
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "benchmarks/results.md": "benchmark-results.md",
    "emulator/README.md": "emulator.md",
}

PYTHON_MODULES = (
    "pgentra",
    "pgentra.psycopg3",
    "pgentra.psycopg2",
    "pgentra.asyncpg",
    "pgentra.sqlalchemy",
    "pgentra.django",
    "pgentra.identity",
    "pgentra.identity.aio",
    "pgentra.errors",
)

# A fence, or a span of code; a link is not searched there.
CODE = re.compile(
    r"^(?P<indent> *)(?P<fence>```+|~~~+).*?^(?P=indent)(?P=fence)[ \t]*$|(?P<ticks>`+)[^`].*?(?P=ticks)", re.M | re.S
)
LINK = re.compile(
    r"(?<=\]\()(?P<inline><[^>\n]*>|[^\s()]+)(?=[\s)])|^(?P<label> {0,3}\[[^\]\n]+\]:\s*)(?P<reference>\S+)", re.M
)
FENCE = re.compile(r"^(?P<fence>\s*(?:```+|~~~+))(?P<language>[\w#+.-]+)(?P<words>[ ,][^\n`]*)$", re.M)
# Readers search for the texts of errors, and rarely for the history.
BOOST = {
    "troubleshooting.md": 2,
    "reference/*": 0.5,
    "decisions/*": 0.5,
    "changelog.md": 0.5,
    "architecture.md": 0.5,
    "benchmark*": 0.5,
}
REFERENCE_PAGE = re.compile(r"`reference/(?P<path>[^`]+)`")
ROLE = re.compile(r":[a-z]+:<code>~?")
OPTION = re.compile(r"<code>(--?\w[\w-]*)</code>")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Adds the records to the section that has their list, and the packages of Go to the reference."""
    records = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("0*.md"))
    for section in config.nav or []:
        for pages in section.values():
            for position, entry in enumerate(pages if isinstance(pages, list) else []):
                if entry == {"Decisions": "decisions/README.md"}:
                    pages[position] = {"Decisions": ["decisions/README.md", *(f"decisions/{name}" for name in records)]}
                elif entry == {"Python": "reference/python.md"} and (packages := go_packages()):
                    pages.append({"Go": [f"reference/go/{package.name}" for package in packages]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for source, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    files.append(File.generated(config, "reference/python.md", content=python_reference()))
    for package in go_packages():
        text = package.read_text(encoding="utf-8")
        files.append(File.generated(config, f"reference/go/{package.name}", content=text))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Copies the references that other generators made."""
    for folder in REFERENCE.glob("*"):
        if folder.name != "go":
            # RDoc links scripts of the system, which may be missing.
            shutil.copytree(folder, Path(config.site_dir) / "reference" / folder.name, ignore_dangling_symlinks=True)


def go_packages() -> list[Path]:
    return sorted((REFERENCE / "go").glob("*.md"), key=lambda page: (page.name != "pgentra.md", page.name))


def reference_link(match: re.Match[str]) -> str:
    """Links a page of `make docs-reference`, if it was built."""
    if match["path"] != "python.md" and not (REFERENCE / match["path"]).exists():
        return match[0]
    address = match["path"].removesuffix(".md") + ".html" if match["path"].endswith(".md") else match["path"]
    return f'<a href="{address}">{match[0].strip("`")}</a>'


def python_reference() -> str:
    return "# Python reference\n\n" + "".join(
        f"## {name}\n\n::: {name}\n    options:\n      show_root_heading: false\n\n" for name in PYTHON_MODULES
    )


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    sources = {site: source for source, site in PAGES.items()}
    uri = page.file.src_uri
    source = sources.get(uri, f"docs/{uri}")
    page.meta.setdefault("search", {"boost": next((factor for name, factor in BOOST.items() if fnmatch(uri, name)), 1)})
    if uri == "reference/index.md":
        markdown = REFERENCE_PAGE.sub(reference_link, markdown)

    def link(match: re.Match[str]) -> str:
        target = match["inline"] or match["reference"]
        return (match["label"] or "") + rewritten(target, source, uri, config)

    parts, end = [], 0
    for code in CODE.finditer(markdown):
        parts += [LINK.sub(link, markdown[end : code.start()]), FENCE.sub(fence, code[0])]
        end = code.end()
    return "".join(parts) + LINK.sub(link, markdown[end:])


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Removes the roles of Python's docstrings, such as `:meth:`, before names, and marks the names of options."""
    return OPTION.sub(r'<code class="option">\1</code>', ROLE.sub("<code>", html))


def fence(match: re.Match[str]) -> str:
    """Removes the words of the tests; the name of a file becomes the title of the block."""
    title = re.search(r"\bfile=(\S+)", match["words"])
    return f"{match['fence']}{match['language']}" + (f' title="{title[1]}"' if title else "")


def rewritten(target: str, source: str, uri: str, config: MkDocsConfig) -> str:
    """Returns the link of a page of the site for a link of a file of the repository."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc or not parts.path:
        return target
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(parts.path)))
    anchor = f"#{parts.fragment}" if parts.fragment else ""
    if path in PAGES:
        site = PAGES[path]
    elif path.startswith("docs/"):
        site = path.removeprefix("docs/")
    elif not path.startswith("..") and (ROOT / path).exists():
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        return f"{config.repo_url}/{kind}/{BRANCH}/{path}{anchor}"
    else:
        return target
    return posixpath.relpath(site, posixpath.dirname(uri) or ".") + anchor
