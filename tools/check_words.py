#!/usr/bin/env python3
"""Fails if a file names the host of a package registry, or where it was written: the project speaks of itself alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Written so that no pattern matches itself.
FORBIDDEN = {
    "the host of a package registry": re.compile(
        r"\b(?:(?:static\.|index\.)?crates\.io|pypi\.(?:org|io)|files\.pythonhosted\.org|registry\.npmjs\.(?:org|com)|npmjs\.(?:org|com)"
        r"|proxy\.golang\.org|repo1?\.maven\.(?:org|apache)|api\.nuget\.org|nuget\.org|rubygems\.org|deb\.debian\.org)\b",
        re.IGNORECASE,
    ),
    "a path of one machine": re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/(?!\.postgresql)[\w.]"),
    "the number of an issue": re.compile(r"(?<![\w/.-])issues? #?\d+\b", re.IGNORECASE),
    "how it was written": re.compile(r"\b(?:this session|the brief|the lead|sub-?agents?|workplace)\b", re.IGNORECASE),
}
# Lock files hold what the package managers write.
EXEMPT = {"Cargo.lock", "check_words.py", "package-lock.json"}


def files() -> list[Path]:
    """The files that are, or are to be, in the repository."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, capture_output=True, check=True).stdout.decode()
    return [ROOT / name for name in listed.split("\0") if name]


def main() -> int:
    found = 0
    for path in files():
        if path.name in EXEMPT or not path.is_file():
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for what, pattern in FORBIDDEN.items():
                if match := pattern.search(line):
                    print(f"{path.relative_to(ROOT)}:{number}: {what}: {match[0]}")
                    found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
