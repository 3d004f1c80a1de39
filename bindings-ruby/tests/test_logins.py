"""Logins with every driver of Ruby, and with every credential."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
from conftest import ruby

import pgentra.identity
from support.emulator import Emulator, Principal
from support.every_credential import EveryCredential, Flavour
from support.language_logins import LanguageLogins, ProgramFlavour


class TestLogins(LanguageLogins):
    ENTRIES: ClassVar[list[str]] = ["ruby-pg", "sequel", "Active Record"]
    LANGUAGE = "Ruby"


class Ruby(Flavour):
    def __init__(self, emulator: Emulator, record_property: Callable[[str, object], None]) -> None:
        super().__init__("Ruby", pgentra.identity, record_property)
        self._program = ProgramFlavour(ruby, emulator, "ruby-pg")

    def log_in(self, credential: Any, user: str | None) -> tuple[str, int, str]:
        return self._program.log_in(credential, user)


class TestCredentials(EveryCredential):
    @pytest.fixture
    def identity(self, emulator: Emulator) -> Principal:
        return emulator.add_principal("user_assigned")

    @pytest.fixture
    def flavour(self, emulator: Emulator, record_property: Callable[[str, object], None]) -> Flavour:
        return Ruby(emulator, record_property)
