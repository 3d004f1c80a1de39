"""Logins with every driver of PHP, and with every credential."""

from __future__ import annotations

from typing import ClassVar

from support.language_logins import LanguageLogins
from support.language_suite import LanguageCredentials


class TestLogins(LanguageLogins):
    ENTRIES: ClassVar[list[str]] = ["pg_connect", "pdo", "laravel", "doctrine (pdo)", "doctrine (pgsql)"]
    LANGUAGE = "PHP"


class TestCredentials(LanguageCredentials):
    LANGUAGE = "PHP"
    ENTRY = "pdo"
