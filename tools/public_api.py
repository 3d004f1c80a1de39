#!/usr/bin/env python3
"""Writes ``core/public-api.txt``: the public items of the crate ``pgentra``, one a line, from rustdoc's JSON.

``--check`` compares instead, and fails with the difference. rustdoc writes JSON only with a nightly toolchain: without
one nothing is checked, and the reason is printed.
"""

from __future__ import annotations

import difflib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LISTING = ROOT / "core" / "public-api.txt"
TARGET = ROOT / "target" / "public-api"
# The format of the JSON that this script reads. Later ones are tried, because they rarely differ in what is used here.
OLDEST_FORMAT = 57


def document() -> dict[str, Any]:
    """Returns rustdoc's JSON."""
    command = ["cargo", "+nightly", "rustdoc", "--quiet", "--package", "pgentra", "--lib", "--target-dir", str(TARGET)]
    arguments = ["--", "-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]
    subprocess.run([*command, *arguments], cwd=ROOT, check=True, env={**os.environ, "RUSTDOCFLAGS": ""})
    read: dict[str, Any] = json.loads((TARGET / "doc" / "pgentra.json").read_text())
    return read


class Listing:
    """The lines of the public items."""

    def __init__(self, read: dict[str, Any]) -> None:
        self.index = read["index"]
        self.lines: set[str] = set()
        # The path of each item: the first one, of those at the root before those in modules.
        self.paths: dict[int, str] = {}
        self.later: list[tuple[str, dict[str, Any]]] = [("pgentra", self.item(read["root"]))]
        while self.later:
            self.module(*self.later.pop(0))

    def item(self, number: int) -> dict[str, Any]:
        found: dict[str, Any] = self.index[str(number)]
        return found

    def module(self, path: str, module: dict[str, Any]) -> None:
        for number in module["inner"]["module"]["items"]:
            if str(number) in self.index:
                self.add(path, self.item(number))

    def add(self, path: str, item: dict[str, Any], name: str | None = None) -> None:
        ((kind, inner),) = item["inner"].items()
        if kind == "use":
            target = self.index.get(str(inner["id"]))
            if target is None:
                self.lines.add(f"pub use {path}::{inner['name']} = {inner['source']}")
            elif inner["is_glob"]:
                self.module(path, target)
            else:
                self.add(path, target, inner["name"])
            return
        path = f"{path}::{name or item['name']}"
        first = self.paths.setdefault(item["id"], path)
        if first != path:
            self.lines.add(f"pub use {path} = {first}")
        elif kind == "module":
            self.lines.add(f"pub mod {path}")
            self.later.append((path, item))
        elif kind == "function":
            self.lines.add(self.function(path, inner))
        elif kind == "struct":
            self.lines.add(f"pub struct {path}{self.generics(inner['generics'])}")
            fields = inner["kind"].get("plain", {}).get("fields", []) if isinstance(inner["kind"], dict) else []
            for number in fields:
                field = self.item(number)
                self.lines.add(f"pub {path}::{field['name']}: {self.type(field['inner']['struct_field'])}")
            self.implementations(path, inner)
        elif kind == "enum":
            self.lines.add(f"pub enum {path}{self.generics(inner['generics'])}")
            for number in inner["variants"]:
                self.variant(path, self.item(number))
            self.implementations(path, inner)
        elif kind == "trait":
            self.lines.add(f"pub trait {path}{self.bounds(inner['bounds'], ': ')}")
            for number in inner["items"]:
                self.member(path, self.item(number))
        elif kind == "constant":
            self.lines.add(f"pub const {path}: {self.type(inner['type'])}")
        elif kind == "type_alias":
            self.lines.add(f"pub type {path}{self.generics(inner['generics'])} = {self.type(inner['type'])}")
        else:
            self.lines.add(f"pub {kind} {path}")

    def variant(self, path: str, item: dict[str, Any]) -> None:
        kind = item["inner"]["variant"]["kind"]
        contents = ""
        if isinstance(kind, dict) and "tuple" in kind:
            fields = [self.item(number)["inner"]["struct_field"] for number in kind["tuple"] if number is not None]
            contents = f"({', '.join(map(self.type, fields))})"
        elif isinstance(kind, dict):
            members = [self.item(number) for number in kind["struct"]["fields"]]
            named = [f"{member['name']}: {self.type(member['inner']['struct_field'])}" for member in members]
            contents = f" {{ {', '.join(named)} }}"
        discriminant = item["inner"]["variant"]["discriminant"]
        value = f" = {discriminant['value']}" if discriminant else ""
        self.lines.add(f"pub {path}::{item['name']}{contents}{value}")

    def implementations(self, path: str, inner: dict[str, Any]) -> None:
        for number in inner["impls"]:
            implementation = self.item(number)["inner"]["impl"]
            if implementation["is_synthetic"] or implementation["blanket_impl"]:
                continue
            trait = implementation["trait"]
            if trait is not None and trait["path"] == "StructuralPartialEq":
                continue
            if trait is not None:
                self.lines.add(f"impl {self.path(trait)} for {path}")
                continue
            for member in implementation["items"]:
                if str(member) in self.index:
                    self.member(path, self.item(member))

    def member(self, path: str, item: dict[str, Any]) -> None:
        ((kind, inner),) = item["inner"].items()
        path = f"{path}::{item['name']}"
        if kind == "function":
            self.lines.add(self.function(path, inner))
        elif kind == "assoc_const":
            self.lines.add(f"pub const {path}: {self.type(inner['type'])}")
        else:
            self.lines.add(f"pub type {path}")

    def function(self, path: str, inner: dict[str, Any]) -> str:
        header = inner["header"]
        words = ["pub", *(word for word in ("const", "async", "unsafe") if header[f"is_{word}"]), "fn"]
        signature = inner["sig"]
        inputs = [self.parameter(name, kind) for name, kind in signature["inputs"]]
        output = f" -> {self.type(signature['output'])}" if signature["output"] else ""
        return f"{' '.join(words)} {path}{self.generics(inner['generics'])}({', '.join(inputs)}){output}"

    def parameter(self, name: str, kind: Any) -> str:
        if name == "self":
            text = self.type(kind)
            short = {"Self": "self", "&Self": "&self", "&mut Self": "&mut self"}
            return short.get(text, f"self: {text}")
        return f"{name}: {self.type(kind)}"

    def generics(self, generics: dict[str, Any]) -> str:
        names = []
        for parameter in generics["params"]:
            ((kind, inner),) = parameter["kind"].items()
            if kind == "type" and not inner["is_synthetic"]:
                names.append(parameter["name"] + self.bounds(inner["bounds"], ": "))
            elif kind == "lifetime":
                names.append(parameter["name"])
        return f"<{', '.join(names)}>" if names else ""

    def bounds(self, bounds: list[Any], start: str = "") -> str:
        texts = []
        for bound in bounds:
            if "trait_bound" in bound:
                optional = "?" if bound["trait_bound"]["modifier"] == "maybe" else ""
                texts.append(optional + self.path(bound["trait_bound"]["trait"]))
            elif "outlives" in bound:
                texts.append(bound["outlives"])
        return start + " + ".join(texts) if texts else ""

    def path(self, path: dict[str, Any]) -> str:
        # The name as the source spells it depends on its imports.
        name: str = path["path"].split("::")[-1]
        arguments = path["args"]
        if not arguments:
            return name
        if "parenthesized" in arguments:
            inner = arguments["parenthesized"]
            output = f" -> {self.type(inner['output'])}" if inner["output"] else ""
            return f"{name}({', '.join(map(self.type, inner['inputs']))}){output}"
        texts = []
        for argument in arguments["angle_bracketed"]["args"]:
            if "lifetime" in argument:
                texts.append(argument["lifetime"])
            elif "type" in argument:
                texts.append(self.type(argument["type"]))
        for constraint in arguments["angle_bracketed"]["constraints"]:
            binding = constraint["binding"]
            if "equality" in binding and "type" in binding["equality"]:
                texts.append(f"{constraint['name']} = {self.type(binding['equality']['type'])}")
            else:
                texts.append(constraint["name"] + self.bounds(binding.get("constraint", []), ": "))
        return f"{name}<{', '.join(texts)}>" if texts else name

    def type(self, of: Any) -> str:
        ((kind, inner),) = of.items()
        if kind == "resolved_path":
            return self.path(inner)
        if kind in ("generic", "primitive"):
            return str(inner)
        if kind == "borrowed_ref":
            lifetime = f"{inner['lifetime']} " if inner["lifetime"] else ""
            return f"&{lifetime}{'mut ' if inner['is_mutable'] else ''}{self.type(inner['type'])}"
        if kind == "tuple":
            return f"({', '.join(map(self.type, inner))})"
        if kind == "slice":
            return f"[{self.type(inner)}]"
        if kind == "array":
            return f"[{self.type(inner['type'])}; {inner['len']}]"
        if kind == "impl_trait":
            return f"impl {self.bounds(inner)}"
        if kind == "dyn_trait":
            traits = " + ".join(self.path(one["trait"]) for one in inner["traits"])
            lifetime = f" + {inner['lifetime']}" if inner["lifetime"] else ""
            return f"dyn {traits}{lifetime}"
        if kind == "qualified_path":
            return f"{self.type(inner['self_type'])}::{inner['name']}"
        return str(kind)


def main() -> int:
    check = sys.argv[1:] == ["--check"]
    if sys.argv[1:] and not check:
        print("usage: tools/public_api.py [--check]", file=sys.stderr)
        return 2
    nightly = subprocess.run(["cargo", "+nightly", "--version"], capture_output=True, check=False)
    if nightly.returncode != 0:
        print("not tried: core/public-api.txt (no nightly toolchain: rustup toolchain install nightly)")
        return 0 if check else 1
    read = document()
    if read["format_version"] < OLDEST_FORMAT:
        print(f"not tried: core/public-api.txt (this nightly's rustdoc writes format {read['format_version']})")
        return 0 if check else 1
    text = "".join(f"{line}\n" for line in sorted(Listing(read).lines, key=sort_key))
    if not check:
        LISTING.write_text(text)
        return 0
    present = LISTING.read_text() if LISTING.exists() else ""
    difference = difflib.unified_diff(
        present.splitlines(), text.splitlines(), "core/public-api.txt", "the crate", lineterm="", n=0
    )
    lines = list(difference)
    if lines:
        print("\n".join(lines), file=sys.stderr)
        print("The public API of the crate has changed. To accept it: tools/public_api.py", file=sys.stderr)
    return 1 if lines else 0


def sort_key(line: str) -> tuple[str, str]:
    """Sorts by path, so that the members of a type follow it."""
    words = [word for word in line.replace("(", " ").replace("<", " ").split() if word.startswith("pgentra::")]
    return (words[0].rstrip(":") if words else "", line.replace("impl ", "~", 1) if line.startswith("impl ") else line)


if __name__ == "__main__":
    raise SystemExit(main())
