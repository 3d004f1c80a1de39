"""Custom credentials with the interface of the Azure SDK's, without importing the SDK."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from support.emulator import Emulator, Principal

#: Seconds that a slow credential takes, like a slow token source.
SLOW_S = 1.0


class AccessToken:
    """The same attributes as the Azure SDK's `AccessToken`."""

    def __init__(self, token: str, expires_on: int) -> None:
        self.token = token
        self.expires_on = expires_on


class Counting:
    """A custom credential that returns the emulator's tokens and counts its calls."""

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
    """A custom credential that blocks its thread for `SLOW_S`."""

    def __init__(self, emulator: Emulator, principal: Principal) -> None:
        # The token is made here, because that takes a blocking request.
        minted = emulator.mint(principal.name, named=True)
        self.token = AccessToken(minted.token, minted.expires_on)

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        time.sleep(SLOW_S)
        return self.token


class SlowAsync(SlowSync):
    """The same as an awaitable credential."""

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:  # type: ignore[override]
        await asyncio.sleep(SLOW_S)
        return self.token
