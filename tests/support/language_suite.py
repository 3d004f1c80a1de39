"""What the suites of languages in a program of their own share: fixtures, and the tests of every credential.

The `conftest` of a suite has the fixture `start`, which starts the program, and imports the others from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import pgentra.identity
from support.emulator import Emulator, Principal
from support.every_credential import EveryCredential, Flavour
from support.language_logins import credential_document
from support.language_program import LanguageProgram

#: Starts the program with the library of a folder below that of cargo's build ("" or "testing") and further variables.
Start = Callable[..., LanguageProgram]


def starter(command: list[str | Path], target: Path) -> Start:
    """Returns the function that the fixture `start` gives."""

    def start(folder: str = "", **more: str) -> LanguageProgram:
        return LanguageProgram(command, {"PGENTRA_LIBRARY": str(target / folder / "libpgentra.so")} | more)

    return start


@pytest.fixture(scope="session")
def program(start: Start) -> Iterator[LanguageProgram]:
    running = start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def testing(start: Start) -> Iterator[LanguageProgram]:
    """The program with the build of the library that runs vectors."""
    running = start("testing", PGENTRA_TESTING="1")
    yield running
    running.stop()


@pytest.fixture
def fresh(start: Start) -> Iterator[LanguageProgram]:
    """A program that starts with the environment of its first call."""
    running = start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def running_emulator() -> Iterator[Emulator]:
    running = Emulator.start()
    yield running
    running.stop()


@pytest.fixture
def emulator(running_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    with running_emulator.clean(monkeypatch) as clean:
        yield clean


@pytest.fixture
def identity(emulator: Emulator) -> Principal:
    return emulator.add_principal("user_assigned")


class ProgramFlavour(Flavour):
    """A language whose program logs in with the documents of Python's credentials."""

    def __init__(
        self,
        language: str,
        start: Start,
        emulator: Emulator,
        entry: str,
        record_property: Callable[[str, object], None],
    ) -> None:
        super().__init__(language, pgentra.identity, record_property)
        self._start = start
        self._server = emulator.server
        self._entry = entry

    def log_in(self, credential: Any, user: str | None) -> tuple[str, int, str]:
        document = credential_document(credential)
        server = self._server
        settings = {"host": server.host, "port": server.port, "dbname": server.database, "sslmode": "verify-full"}
        given = settings if user is None else {**settings, "user": user}
        program = self._start()
        try:
            request = {"scope": pgentra.AZURE_DB_FOR_POSTGRES_SCOPE}
            token = program.call("get_token", credential=document, request=request)
            role = program.call("connect", entry=self._entry, settings=given, options={"credential": document})
        finally:
            program.stop()
        return token["token"], token["expires_on"], role


class LanguageCredentials(EveryCredential):
    """Every credential; a suite derives a class of it and sets the attributes."""

    #: The language, as in the table of credentials.
    LANGUAGE: ClassVar[str]
    #: The entry point that logs in.
    ENTRY: ClassVar[str]

    @pytest.fixture
    def flavour(self, start: Start, emulator: Emulator, record_property: Callable[[str, object], None]) -> Flavour:
        return ProgramFlavour(self.LANGUAGE, start, emulator, self.ENTRY, record_property)
