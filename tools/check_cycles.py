#!/usr/bin/env python3
"""Fails on an import cycle between the top-level modules of `core/src`.

A module is a file or a folder directly below `core/src`. Its imports are the `crate::` paths of its files, without
those of its tests. `lib.rs` only lists the modules, so a path to a re-export counts as one to the module that defines
the name.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "core" / "src"


def without_tests_and_comments(text: str) -> str:
    """The code that ships: tests stand at the end of a file."""
    text = re.split(r"^#\[cfg\(test\)\]\nmod ", text, maxsplit=1, flags=re.MULTILINE)[0]
    return re.sub(r"//[^\n]*", "", text)


def paths(text: str) -> Iterator[str]:
    """The first name of each path below `crate`, also of those in braces."""
    for match in re.finditer(r"\bcrate::", text):
        rest = text[match.end() :]
        if not rest.startswith("{"):
            yield re.match(r"\w*", rest)[0]  # type: ignore[index]
            continue
        depth, name = 0, ""
        for character in rest:
            if character in "{},:" and name.strip() and depth == 1:
                yield name.strip().split()[0]
            depth += (character == "{") - (character == "}")
            if depth == 0:
                break
            if depth == 1 and character in "{,}":
                name = ""
            elif depth == 1 and character == ":":
                name = " "
            elif depth == 1 and name != " ":
                name += character


def exports() -> dict[str, str]:
    """The names that `lib.rs` re-exports, with the modules that define them."""
    found = {}
    for module, names in re.findall(r"^pub use (\w+)::([^;]*);", (SOURCE / "lib.rs").read_text(), re.MULTILINE):
        found.update(dict.fromkeys(re.findall(r"\w+", names), module))
    return found


def imports() -> dict[str, dict[str, str]]:
    """For each module the modules that it imports, each with a file that does."""
    exported = exports()
    graph: dict[str, dict[str, str]] = {}
    for file in sorted(SOURCE.rglob("*.rs")):
        module = file.relative_to(SOURCE).parts[0].removesuffix(".rs")
        edges = graph.setdefault(module, {})
        for name in paths(without_tests_and_comments(file.read_text())):
            target = exported.get(name, name)
            if target != module:
                edges.setdefault(target, str(file.relative_to(SOURCE)))
    del graph["lib"]
    return graph


def components(graph: dict[str, dict[str, str]]) -> list[list[str]]:
    """Groups of modules that reach each other."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [start]
        while waiting:
            for target in graph.get(waiting.pop(), {}):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        return seen

    reach = {module: reached(module) for module in graph}
    groups = {tuple(sorted(other for other in graph if other in reach[one] and one in reach[other])) for one in graph}
    return sorted(list(group) for group in groups if group)


def main() -> int:
    """Prints each cycle with the files that close it."""
    graph = imports()
    cycles = components(graph)
    for cycle in cycles:
        print(f"core/src: these modules import each other: {', '.join(cycle)}")
        for module in cycle:
            for target, file in sorted(graph[module].items()):
                if target in cycle:
                    print(f"  {file} imports {target}")
    return 1 if cycles else 0


if __name__ == "__main__":
    sys.exit(main())
