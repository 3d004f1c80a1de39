"""Every block of code in the documentation is run or compiled by a test, or says why it is not.

A block that no test runs has a comment `<!-- not run: REASON -->` on the line before it; then it is not counted here.
"""

from __future__ import annotations

import re
import sys
from fnmatch import fnmatch
from typing import NamedTuple
from xml.etree import ElementTree

import yaml
from pages import ROOT, Block, markdown_files, split


class Rule(NamedTuple):
    """Blocks of a language in pages, and the file of the test that runs them. `words` follow the language."""

    language: str
    pages: tuple[str, ...]
    test: str
    words: tuple[str, ...] = ("*",)


PYTHON_PAGES = ("README.md", "bindings-python/README.md", "docs/*.md")
RULES = [
    Rule("python", PYTHON_PAGES, "tests/e2e/test_documentation.py", ("", "file=*")),
    Rule("python", ("docs/get-started.md",), "tests/e2e/test_get_started.py", ("file=*",)),
    Rule("python", ("docs/django.md", "bindings-python/README.md"), "tests/e2e/test_django.py", ("settings",)),
    Rule("python", ("docs/url-only-applications.md",), "tests/e2e/test_url_only.py", ("process",)),
    Rule("js", ("README.md", "bindings-node/README.md", "docs/*.md"), "bindings-node/tests/documentation.test.mjs"),
    Rule("rust", ("README.md", "docs/*.md", "core/README.md"), "core/src/lib.rs", ("no_run", "")),
    Rule("rust", ("docs/rust.md", "drivers/README.md"), "drivers/src/lib.rs", ("no_run", "")),
    Rule("cmake", ("docs/c.md",), "bindings-c/tests/test_library.py"),
    Rule("c", ("README.md", "docs/*.md", "bindings-c/README.md"), "bindings-c/tests/test_library.py"),
    Rule(
        "csharp",
        ("README.md", "docs/*.md", "bindings-dotnet/README.md"),
        "bindings-dotnet/tests/PgEntra.Tests/PackageTests.cs",
    ),
    Rule("java", ("README.md", "docs/java*.md", "bindings-java/README.md"), "bindings-java/frameworks"),
    Rule("go", ("README.md", "docs/go.md", "bindings-go/README.md"), "bindings-go/tests"),
    Rule("php", ("README.md", "docs/php.md", "bindings-php/README.md"), "bindings-php/tests/test_documentation.py"),
    Rule("ruby", ("README.md", "docs/ruby.md", "bindings-ruby/README.md"), "bindings-ruby/tests/test_documentation.py"),
    Rule("kotlin", ("README.md", "docs/kotlin.md", "bindings-uniffi/README.md"), "bindings-uniffi"),
    Rule("python", ("emulator/README.md", "emulator/python/README.md"), "tests/support/emulator.py"),
    Rule("python", ("docs/azure-setup.md",), "cli/tests/test_azure_setup.py", ("environment",)),
    Rule("sql", ("docs/azure-setup.md",), "cli/tests/test_azure_setup.py"),
    # Parts of files that tests run.
    Rule("*", ("docs/recipes/*.md",), "tests/e2e/test_recipes.py", ("*from=*",)),
    # Commands of `pgentra` are parsed there; targets of make and paths of the repository below.
    Rule("sh", ("*",), "cli/src/documentation.rs"),
]
# Output, and documents whose form is checked below.
NOT_CODE = {"", "text", "json", "properties", "toml", "xml", "yaml"}
FENCED = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```$", re.DOTALL | re.MULTILINE)
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}


def is_in(page: str, pattern: str) -> bool:
    """Whether a page matches a pattern; `docs/*.md` has no pages of folders in docs."""
    return fnmatch(page, pattern) and (pattern == "*" or page.count("/") == pattern.count("/"))


def is_covered(block: Block) -> bool:
    if block.mark or block.language in NOT_CODE or block.words == "before":
        return True
    return any(
        fnmatch(block.language, rule.language)
        and any(is_in(block.page, page) for page in rule.pages)
        and any(fnmatch(block.words, words) for words in rule.words)
        for rule in RULES
    )


def test_snippets_covered() -> None:
    blocks = [block for page in markdown_files() for block in split(page)[0]]
    assert not [f"{b.page}:{b.line}: {b.language} {b.words}" for b in blocks if not is_covered(b)]


def test_snippets_shell_commands() -> None:
    """The targets of make and the paths of the repository that commands name exist."""
    targets = set(re.findall(r"^([a-z][\w-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    wrong = []
    for page in markdown_files():
        for code in re.findall(r"^```sh\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE):
            # Other makefiles are those of the reader.
            wrong += [
                f"{page}: make {name}"
                for name in re.findall(r"^make ([a-z][\w-]*)", code, re.MULTILINE)
                if name not in targets
            ]
            wrong += [
                f"{page}: {path}"
                for path in re.findall(r"(?<=[ '])\./([\w./-]+)", code)
                if path.split("/")[0] in FOLDERS and not (ROOT / path).exists()
            ]
    assert not wrong


def parse(language: str, code: str) -> None:
    """Raises an exception if a document does not have the form of its language."""
    if language == "toml" and sys.version_info >= (3, 11):
        import tomllib

        tomllib.loads(code)
    elif language == "yaml":
        list(yaml.safe_load_all(code))
    elif language == "xml":
        ElementTree.fromstring(f"<documents>{code}</documents>")
    elif language == "properties" and not all(re.match(r"[\w.-]+=", line) for line in code.split() if line[0] != "#"):
        raise ValueError("a line without a key")


def test_snippets_documents_have_their_form() -> None:
    wrong = []
    for page in markdown_files():
        for language, code in re.findall(
            r"^```(\w+)[^\n]*\n(.*?)^```$", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE
        ):
            try:
                parse(language, code)
            except (ValueError, ElementTree.ParseError, yaml.YAMLError) as error:
                wrong.append(f"{page}: {language}: {error}")
    assert not wrong


def test_snippets_tests_exist() -> None:
    assert not [rule.test for rule in RULES if not (ROOT / rule.test).exists()]
