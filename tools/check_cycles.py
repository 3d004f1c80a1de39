#!/usr/bin/env python3
"""Fails on an import cycle between modules: of each Rust crate, of the Python package, of Node's and .NET's source.

    tools/check_cycles.py [NAME...]    checks the sources of these names; all of them without a name

A Rust crate is checked twice: by what stands directly below `src` (a file, or a folder with all of its files), and by
file; by file, a module and the modules that it contains may import each other. A path to a re-export counts as an
import of the module that defines the name, and the tests of a file do not count. In Python and JavaScript a module is a
file; imports inside functions count, those for type checkers alone do not. C# has no imports of files: naming a type
that another file defines counts as an import of that file.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: For each module the modules that it imports, each with the file that contains the import.
Graph = dict[str, dict[str, str]]


# Rust

Path_ = tuple[str, ...]

INLINE_PATH = re.compile(r"(?<![\w:])(?:crate|super|self)(?:::\w+)+")
USE = re.compile(r"^\s*(?:pub(?:\([^)]*\))?\s+)?use\s+([^;]+);", re.MULTILINE)


def shipped_code(text: str) -> str:
    """The code without comments and without the tests at the end of the file."""
    text = re.split(r"^#\[cfg\(test\)\]\n(?:#\[[^\n]*\]\n)*mod \w+ \{", text, maxsplit=1, flags=re.MULTILINE)[0]
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def use_tree(text: str, prefix: Path_ = ()) -> Iterator[tuple[Path_, str]]:
    """The paths of a use declaration with their local names; the name of a glob is `*`."""
    text = text.strip()
    head, brace, rest = text.partition("{")
    segments = [segment.strip() for segment in head.split("::") if segment.strip()]
    if brace:
        depth, item = 0, ""
        for character in rest[: rest.rindex("}")] + ",":
            depth += (character == "{") - (character == "}")
            if character == "," and depth == 0:
                if item.strip():
                    yield from use_tree(item, (*prefix, *segments))
                item = ""
            else:
                item += character
        return
    *parents, last = segments
    last, _, alias = last.partition(" as ")
    path = (*prefix, *parents, *([] if last.strip() == "self" else [last.strip()]))
    yield path, alias.strip() or path[-1]


class Crate:
    """The modules of one crate and how their paths resolve."""

    def __init__(self, source: Path) -> None:
        self.files: dict[Path_, Path] = {}
        self.code: dict[Path_, str] = {}
        self.names: dict[Path_, dict[str, Path_]] = {}
        self.globs: dict[Path_, list[Path_]] = {}
        for file in sorted(source.rglob("*.rs")):
            parts = file.relative_to(source).with_suffix("").parts
            module = parts[:-1] if parts[-1] in ("mod", "lib", "main") else parts
            self.files[module] = file
            self.code[module] = shipped_code(file.read_text())
        for module, code in self.code.items():
            self.names[module], self.globs[module] = {}, []
            for declaration in USE.findall(code):
                for path, name in use_tree(declaration):
                    if (absolute := self.absolute(module, path)) is None:
                        continue
                    if name == "*":
                        self.globs[module].append(absolute[:-1])
                    elif name != "_":
                        self.names[module][name] = absolute

    def absolute(self, module: Path_, path: Path_) -> Path_ | None:
        """A path from the root of the crate, if it leads into this crate."""
        if path[0] == "crate":
            return path[1:]
        if path[0] == "self":
            return (*module, *path[1:])
        if path[0] == "super":
            levels = next(index for index, segment in enumerate((*path, "")) if segment != "super")
            return (*module[: len(module) - levels], *path[levels:])
        return (*module, *path) if (*module, path[0]) in self.files else None

    def defining(self, path: Path_, seen: frozenset[Path_] = frozenset()) -> Path_:
        """The module that defines what a path from the root names."""
        module: Path_ = ()
        for index, segment in enumerate(path):
            if (*module, segment) in self.files:
                module = (*module, segment)
                continue
            rest = path[index + 1 :]
            targets = [self.names[module][segment]] if segment in self.names[module] else []
            targets += [
                (*glob, segment) for glob in self.globs[module] if self.defines(self.defining(glob, seen), segment)
            ]
            for target in targets:
                if (target not in seen) and target != (*module, segment):
                    return self.defining((*target, *rest), seen | {target})
            return module
        return module

    def defines(self, module: Path_, name: str) -> bool:
        item = rf"\b(?:fn|struct|enum|trait|type|const|static|union|mod|macro_rules!)\s+{re.escape(name)}\b"
        return re.search(item, self.code[module]) is not None or name in self.names[module]

    def imports(self, module: Path_) -> Iterator[Path_]:
        """The modules that define what a module names."""
        code = USE.sub("", self.code[module])
        for name, path in self.names[module].items():
            if path in self.files:
                # An imported module: the paths through it say what is used of it.
                for match in re.finditer(rf"(?<![\w:.]){re.escape(name)}((?:::\w+)+)", code):
                    yield self.defining((*path, *match[1].split("::")[1:]))
            elif re.search(rf"\b{re.escape(name)}\b", code) or name[0].isupper():
                yield self.defining(path)
        yield from (self.defining(glob) for glob in self.globs[module])
        for match in INLINE_PATH.finditer(code):
            if (absolute := self.absolute(module, tuple(match[0].split("::")))) is not None:
                yield self.defining(absolute)
        for child in [path for path in self.files if path[:-1] == module and path]:
            for match in re.finditer(rf"(?<![\w:.]){child[-1]}((?:::\w+)+)", code):
                yield self.defining((*child, *match[1].split("::")[1:]))


def rust_modules(crate: Crate, depth: int | None) -> Graph:
    """The graph of a crate by the first `depth` levels of modules; without `depth` by file.

    `lib.rs` only lists the modules. By file, a module and those above and below it count as one.
    """
    graph: Graph = {}
    for module in crate.files:
        name = module[:depth]
        edges = graph.setdefault("::".join(name), {})
        for target in crate.imports(module):
            other = target[:depth]
            if other not in (name[: len(other)], ()) and name != other[: len(name)]:
                edges.setdefault("::".join(other), str(crate.files[module].relative_to(ROOT)))
    graph.pop("", None)
    return graph


# Python


def python_modules(package: Path) -> Graph:
    """The graph of a package, by file."""
    files = {".".join(file.relative_to(package.parent).with_suffix("").parts): file for file in package.rglob("*.py")}
    files |= {".".join(file.relative_to(package.parent).with_suffix("").parts): file for file in package.rglob("*.pyi")}
    files = {name.removesuffix(".__init__"): file for name, file in files.items()}
    graph: Graph = {}
    for name, file in files.items():
        is_package = file.stem == "__init__"
        for target in python_imports(ast.parse(file.read_text()), name, is_package):
            while target and target not in files:
                target = target.rpartition(".")[0]
            if target and target != name:
                graph.setdefault(name, {}).setdefault(target, str(file.relative_to(ROOT)))
    return graph


def python_imports(tree: ast.AST, name: str, is_package: bool) -> Iterator[str]:
    """The absolute names that a module imports, except under `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for other in node.orelse:
                yield from python_imports(other, name, is_package)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: len(name.split(".")) - node.level + is_package] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)
        else:
            yield from python_imports(node, name, is_package)


# JavaScript

JS_IMPORT = re.compile(r"""(?:\brequire\(|\bfrom\s|\bimport\s*\(|^import\s)\s*['"](\.[^'"]*)['"]""", re.MULTILINE)


def node_modules(folder: Path) -> Graph:
    """The graph of a folder of JavaScript, by file; type declarations are not code."""
    graph: Graph = {}
    for file in sorted(one for one in folder.rglob("*") if one.suffix in (".js", ".mjs", ".cjs")):
        text = re.sub(r"^\s*(?://|\*|/\*).*$", "", file.read_text(), flags=re.MULTILINE)
        edges = graph.setdefault(file.name, {})
        for path in JS_IMPORT.findall(text):
            found = [file.parent / (path + suffix) for suffix in ("", ".js", ".mjs", ".cjs", "/index.js")]
            for target in [one for one in found if one.is_file()][:1]:
                edges.setdefault(str(target.resolve().relative_to(folder)), str(file.relative_to(ROOT)))
    return graph


# C#

CS_TYPE = re.compile(
    r"\b(?:class|struct|interface|enum|record(?:\s+(?:class|struct))?)\s+(\w+)|\bdelegate\s+\S+\s+(\w+)"
)


def dotnet_files(folder: Path) -> Graph:
    """The graph of a folder of C#, by file."""
    code: dict[Path, str] = {}
    for file in sorted(folder.rglob("*.cs")):
        if not {"bin", "obj"}.intersection(file.relative_to(folder).parts):
            text = re.sub(r"//[^\n]*|/\*.*?\*/", "", file.read_text(encoding="utf-8-sig"), flags=re.DOTALL)
            text = re.sub(r'"(?:[^"\\\n]|\\.)*"', '""', text)
            # A member of an enum may have the name of a class.
            code[file] = re.sub(r"^ +\w+ = \d+,$", "", text, flags=re.MULTILINE)
    defined: dict[str, Path] = {}
    for file, text in code.items():
        for names in CS_TYPE.findall(text):
            defined.update({name: file for name in names if name and name not in defined})
    graph: Graph = {}
    for file, text in code.items():
        edges = graph.setdefault(str(file.relative_to(folder)), {})
        for name in re.findall(r"(?<![\w.])[A-Z]\w*", text):
            if (target := defined.get(name, file)) != file:
                edges.setdefault(str(target.relative_to(folder)), f"{file.relative_to(ROOT)} ({name})")
    return graph


# Cycles


def components(graph: Graph) -> list[list[str]]:
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


def graphs() -> dict[str, Graph]:
    """The graph of each part of the repository."""
    found: dict[str, Graph] = {}
    patterns = ("*/Cargo.toml", "tests/*/Cargo.toml", "bindings-*/*/Cargo.toml")
    for manifest in sorted(file for pattern in patterns for file in ROOT.glob(pattern)):
        source, name = manifest.parent / "src", str(manifest.parent.relative_to(ROOT))
        # A crate of one file has no modules.
        if source.is_dir() and len(list(source.rglob("*.rs"))) > 1:
            crate = Crate(source)
            found[name] = rust_modules(crate, 1)
            if any(len(module) > 1 for module in crate.files):
                found[f"{name} by file"] = rust_modules(crate, None)
    found["bindings-python/python"] = python_modules(ROOT / "bindings-python" / "python" / "pgentra")
    found["tests/support"] = python_modules(ROOT / "tests" / "support")
    found["bindings-node/lib"] = node_modules(ROOT / "bindings-node" / "lib")
    found["bindings-dotnet/src"] = dotnet_files(ROOT / "bindings-dotnet" / "src")
    return found


def main(names: list[str]) -> int:
    """Prints each cycle with the files that close it."""
    found = graphs()
    if unknown := set(names) - set(found):
        sys.exit(f"not one of {', '.join(found)}: {', '.join(sorted(unknown))}")
    failed = False
    for name in names or found:
        graph = found[name]
        if not graph:
            print(f"{name}: no module was found")
            failed = True
        for cycle in components(graph):
            failed = True
            print(f"{name}: these modules import each other: {', '.join(cycle)}")
            for module in cycle:
                for target, file in sorted(graph[module].items()):
                    if target in cycle:
                        print(f"  {file} imports {target}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
