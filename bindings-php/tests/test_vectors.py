"""The cases of tests/vectors in PHP."""

from __future__ import annotations

import re

from conftest import HERE, ROOT

from support.language_vectors import LanguageVectors


class TestVectors(LanguageVectors):
    pass


def test_declarations_of_the_library() -> None:
    """Each declaration that PHP uses is in the header."""
    source = (HERE.parent / "src" / "Internal" / "Library.php").read_text()
    header = (ROOT / "bindings-c" / "include" / "pgentra.h").read_text()
    found = re.search(r"<<<'C'\n(.*?)\n +C;", source, re.DOTALL)
    assert found is not None
    # A pointer that the library does not read is a number in PHP, and so are functions that PHP passes as NULL.
    known = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    known = known.replace("void *pgentra_error_cause", "intptr_t pgentra_error_cause")
    known = known.replace("void *cause,", "intptr_t cause,").replace("pgentra_finalizer finalizer", "void *finalizer")
    spaced = " ".join(known.split())
    for declaration in found[1].split(";\n"):
        text = " ".join(declaration.split()).rstrip(";")
        if text.startswith("typedef") and "{" not in text or "}" in text or "pgentra_token_request {" in text:
            continue
        assert re.sub(r"\( ", "(", text) in spaced, text
