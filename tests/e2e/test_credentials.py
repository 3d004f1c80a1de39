"""Every credential of `pgentra.identity` and `pgentra.identity.aio`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import pgentra
from pgentra import identity
from pgentra.identity import aio
from support import every_credential
from support.drivers import DRIVERS, Target
from support.every_credential import EveryCredential, Flavour

SYNC, ASYNC = (next(driver for driver in DRIVERS if driver.name == name) for name in ("psycopg3", "psycopg3-async"))
SCOPE = pgentra.AZURE_DB_FOR_POSTGRES_SCOPE


class Sync(Flavour):
    def __init__(self, target: Target, record_property: Callable[[str, object], None]) -> None:
        super().__init__("Python", identity, record_property)
        self._target = target

    def log_in(self, credential: Any, user: str | None) -> tuple[str, int, str]:
        with credential:
            token = credential.get_token(SCOPE)
            return (
                token.token,
                token.expires_on,
                SYNC.log_in(self._target.but(user=user, entra={"credential": credential})),
            )


class Async(Flavour):
    def __init__(self, target: Target, record_property: Callable[[str, object], None]) -> None:
        super().__init__("Python aio", aio, record_property)
        self._target = target

    def log_in(self, credential: Any, user: str | None) -> tuple[str, int, str]:
        target = self._target.but(user=user, entra={"credential": credential})

        async def awaited() -> tuple[str, int, str]:
            async with credential:
                token = await credential.get_token(SCOPE)
                return token.token, token.expires_on, await ASYNC.log_in_async(target)

        return asyncio.run(awaited())


@pytest.fixture(params=[Sync, Async], ids=["sync", "aio"])
def flavour(request: pytest.FixtureRequest, target: Target, record_property: Callable[[str, object], None]) -> Flavour:
    made: Flavour = request.param(target, record_property)
    return made


class TestCredentials(EveryCredential):
    pass


def test_credential_classes_all_covered() -> None:
    """The tests are read as text, so that a new class must be added there."""
    text = Path(every_credential.__file__).read_text()
    classes = {name for name in identity.__all__ if name.endswith("Credential")}
    assert {name for name in classes if name not in text} == set()
