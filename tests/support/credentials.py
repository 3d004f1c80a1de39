"""Credentials of a host program, by their shape alone: nothing of Azure's SDK is imported."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from support.emulator import Emulator, Principal

#: Seconds that a slow credential takes, as a slow token service does.
SLOW_S = 1.0


class AccessToken:
    """What Azure's SDK returns, without importing it."""

    def __init__(self, token: str, expires_on: int) -> None:
        self.token = token
        self.expires_on = expires_on


class Counting:
    """A host's credential that hands out the emulator's tokens and counts how often it is asked."""

    def __init__(self, emulator: Emulator, principal: str) -> None:
        self._emulator = emulator
        self._principal = principal
        self.calls: list[str] = []

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.calls.append(scopes[0])
        audience = "management" if "management" in scopes[0] else "database"
        minted = self._emulator.mint(self._principal, audience=audience)
        return AccessToken(minted.token, minted.expires_on)


class SlowSync:
    """A host's credential that takes its time and blocks its thread."""

    def __init__(self, emulator: Emulator, principal: Principal) -> None:
        # Made before: that takes a blocking request.
        minted = emulator.mint(principal.name, named=True)
        self.token = AccessToken(minted.token, minted.expires_on)

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        time.sleep(SLOW_S)
        return self.token


class SlowAsync(SlowSync):
    """The same, awaitable."""

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]
        await asyncio.sleep(SLOW_S)
        return self.token
