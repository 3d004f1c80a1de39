#!/usr/bin/env python3
"""Checks the texts of all tracked files: registry hosts, paths of one machine, dropped words, indirect pronouns.

    tools/check_text.py            prints each finding; the exit status is 1 if there is one
    tools/check_text.py --count    prints how many findings each folder has

`docs/glossary.md` lists the terms to use. The frequency of indirect pronouns ("who", "nobody") is measured over the
prose of all Markdown files, without code, and over all Rust doc comments: sentences that name the subject read faster.
"""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent

# These patterns do not match their own source.
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"\b(?:(?:static\.|index\.)?crates\.io|pypi\.(?:org|io)|files\.pythonhosted\.org|registry\.npmjs\.(?:org|com)|npmjs\.(?:org|com)"
        r"|proxy\.golang\.org|repo1?\.maven\.(?:org|apache)|api\.nuget\.org|nuget\.org|rubygems\.org|deb\.debian\.org)\b",
        re.IGNORECASE,
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/(?!\.postgresql)[\w.]"),
}
# The package managers write lock files.
LOCK_FILES = {"Cargo.lock", "package-lock.json"}

#: Dropped words, as whole words and as parts of identifiers, with their inflections.
DROPPED = {
    *("courier", "couriers", "crew", "crews", "desk", "desks", "door", "doors", "visitor", "visitors"),
    *("greet", "greeted", "greets", "planted"),
}
DROPPED_PAIRS = {("let", "in"), ("turn", "away"), ("turned", "away"), ("turns", "away")}
MAY_NAME_DROPPED_WORDS = {"CHANGELOG.md", "docs/glossary.md", "tools/check_text.py"}
IDENTIFIER = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
SERDE_VISITOR = re.compile(r"\bde::(?:\w+::)*(?:\{[^}]*)?\bVisitor\b")

INDIRECT_PRONOUNS = re.compile(r"\b(?:who|whoever|whom|whose|nobody|none|somebody)\b", re.IGNORECASE)
PER_1000_WORDS = 1.5
CODE_BLOCK = re.compile(r"^( *)(```|~~~).*?^ *\2", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"(`+).+?\1", re.DOTALL)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
RUST_DOC = re.compile(r"^\s*//[/!](?!/) ?(.*)$", re.MULTILINE)
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")


class Finding(NamedTuple):
    file: str
    line: int
    text: str


def tracked_files() -> Iterator[tuple[str, str]]:
    """Path and text of each file that is, or is to be, in the repository; files that are not UTF-8 are left out."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    for name in sorted(set(filter(None, listed.split("\0")))):
        path = ROOT / name
        if path.name not in LOCK_FILES and path.is_file() and not path.is_symlink():
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def dropped_words(line: str) -> Iterator[str]:
    """The identifiers and words of a line that contain a dropped word."""
    for identifier in IDENTIFIER.findall(line):
        parts = [part.lower() for part in PART.findall(identifier)]
        if DROPPED.intersection(parts) or DROPPED_PAIRS.intersection(itertools.pairwise(parts)):
            yield identifier


def check_lines(file: str, text: str) -> Iterator[Finding]:
    may_name = file in MAY_NAME_DROPPED_WORDS
    serde = file.endswith(".rs") and SERDE_VISITOR.search(text) is not None
    for word in [] if may_name else dropped_words(file):
        yield Finding(file, 0, f"a dropped word in the file's name: {word}")
    for number, line in enumerate(text.splitlines(), 1):
        for what, pattern in FORBIDDEN.items():
            if match := pattern.search(line):
                yield Finding(file, number, f"{what}: {match[0]}")
        for word in [] if may_name else dropped_words(line):
            if not (serde and word.lower().endswith("visitor")):
                yield Finding(file, number, f"a dropped word: {word}")


def prose(file: str, text: str) -> str | None:
    """The text of a page without its code, or of the doc comments of Rust source."""
    if file.endswith(".rs"):
        text = "\n".join(RUST_DOC.findall(text))
    elif not file.endswith(".md"):
        return None
    return CODE_SPAN.sub("", CODE_BLOCK.sub("", COMMENT.sub("", text)))


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--count"]):
        sys.exit(__doc__)
    findings: list[Finding] = []
    words: Counter[str] = Counter()
    pronouns: dict[str, Counter[str]] = {}
    for file, text in tracked_files():
        findings += check_lines(file, text)
        if (written := prose(file, text)) is not None:
            kind = "Rust doc comments" if file.endswith(".rs") else "Markdown"
            words[kind] += len(WORD.findall(written))
            if found := len(INDIRECT_PRONOUNS.findall(written)):
                pronouns.setdefault(kind, Counter())[file] += found
    frequent = [kind for kind, count in words.items() if frequency(pronouns, kind, count) > PER_1000_WORDS]
    if arguments:
        for folder, count in sorted(Counter(finding.file.split("/")[0] for finding in findings).items()):
            print(f"{folder}: {count}")
    else:
        for finding in findings:
            print(f"{finding.file}:{finding.line}: {finding.text}")
    for kind in frequent if not arguments else sorted(words):
        print(f"{kind}: {frequency(pronouns, kind, words[kind]):.1f} indirect pronouns per 1,000 words")
        most = pronouns.get(kind, Counter()).most_common(None if arguments else 10)
        print("".join(f"  {file}: {count}\n" for file, count in most), end="")
    if frequent:
        print(f"(who, whoever, whom, whose, nobody, none, somebody: at most {PER_1000_WORDS} per 1,000 words)")
    return 1 if findings or frequent else 0


def frequency(pronouns: dict[str, Counter[str]], kind: str, words: int) -> float:
    return 1000 * sum(pronouns.get(kind, Counter()).values()) / max(words, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
