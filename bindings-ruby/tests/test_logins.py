"""Logins with every driver of Ruby, and with every credential."""

from __future__ import annotations

from typing import ClassVar

from support.language_logins import LanguageLogins
from support.language_suite import LanguageCredentials


class TestLogins(LanguageLogins):
    ENTRIES: ClassVar[list[str]] = ["ruby-pg", "sequel", "Active Record"]
    LANGUAGE = "Ruby"


class TestCredentials(LanguageCredentials):
    LANGUAGE = "Ruby"
    ENTRY = "ruby-pg"
