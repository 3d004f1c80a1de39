"""The cases of tests/vectors in Ruby."""

from __future__ import annotations

from support.language_vectors import LanguageVectors


class TestVectors(LanguageVectors):
    pass
