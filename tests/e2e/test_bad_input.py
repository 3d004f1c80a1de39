"""Custom credentials with bad results and invalid options: typed errors that say what to do, without delay."""

from __future__ import annotations

import asyncio
import datetime
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import pgentra
import pgentra.errors
from support.drivers import DRIVERS, Driver, Target
from support.emulator import Emulator, Principal

ONE_OF_EACH = [driver for driver in DRIVERS if driver.name in ("psycopg2", "psycopg3", "psycopg3-async", "asyncpg")]

LATER = 4_000_000_000


def raises() -> Any:
    raise LookupError("the vault is closed")


async def raises_later() -> Any:
    raise LookupError("the vault is closed")


def nothing() -> Any:
    return None


def bytes_for_a_token() -> Any:
    return b"eyJ0.x.y", LATER


def a_number_for_a_token() -> Any:
    return 42, LATER


def an_empty_token() -> Any:
    return "", LATER


def three_things() -> Any:
    return "eyJ0.x.y", LATER, "more"


def no_sense_for_an_expiry() -> Any:
    return "eyJ0.x.y", "tomorrow"


def expired_long_ago() -> Any:
    return "eyJ0.x.y", 1_000_000_001  # A smaller number is a lifetime.


def surrogates() -> Any:
    return "eyJ0.\udcff.y", LATER


BAD: dict[Callable[[], Any], tuple[type[pgentra.errors.PgEntraError], str]] = {
    raises: (pgentra.errors.AuthenticationError, "custom_credential"),
    raises_later: (pgentra.errors.AuthenticationError, "custom_credential"),
    nothing: (pgentra.errors.CredentialValueError, "credential_value"),
    bytes_for_a_token: (pgentra.errors.CredentialValueError, "credential_value"),
    a_number_for_a_token: (pgentra.errors.CredentialValueError, "credential_value"),
    an_empty_token: (pgentra.errors.CredentialValueError, "credential_value"),
    three_things: (pgentra.errors.CredentialValueError, "credential_value"),
    no_sense_for_an_expiry: (pgentra.errors.CredentialValueError, "credential_value"),
    expired_long_ago: (pgentra.errors.AuthenticationError, "dead_on_arrival"),
    surrogates: (pgentra.errors.CredentialValueError, "credential_value"),
}


@pytest.mark.parametrize("driver", ONE_OF_EACH, ids=lambda driver: driver.name)
@pytest.mark.parametrize("credential", BAD, ids=lambda credential: credential.__name__)
def test_custom_credential_with_bad_result(
    driver: Driver, credential: Callable[[], Any], emulator: Emulator, target: Target
) -> None:
    kind, code = BAD[credential]
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        # A new function object each time has a cache entry of its own.
        driver.log_in(target.but(user="app-mi", entra={"credential": _twin(credential)}))
    assert time.monotonic() - began < 3
    assert caught.value.code == code
    assert isinstance(caught.value, pgentra.errors.EntraConnectionValueError)
    message = str(caught.value)
    assert message.splitlines()[0].strip()
    assert "eyJ" not in message
    if credential in (raises, raises_later):
        assert isinstance(caught.value.__cause__, LookupError)
    assert emulator.postgres_report().logins == []


def _twin(credential: Callable[[], Any]) -> Callable[[], Any]:
    if asyncio.iscoroutinefunction(credential):

        async def later() -> Any:
            return await credential()

        return later
    return lambda: credential()


@pytest.mark.parametrize("driver", ONE_OF_EACH, ids=lambda driver: driver.name)
def test_custom_credential_with_token_that_is_not_a_jwt(driver: Driver, emulator: Emulator, target: Target) -> None:
    with pytest.raises(pgentra.errors.TokenDecodeError) as caught:
        driver.log_in(target.but(entra={"credential": lambda: ("no-token-at-all", LATER)}))
    assert "user" in str(caught.value)
    assert "no-token-at-all" not in str(caught.value)
    # With an explicit user the token is not decoded; the server decides.
    with pytest.raises(driver.refused, match="invalid format"):
        driver.log_in(target.but(user="app-mi", entra={"credential": lambda: ("no-token-at-all", LATER)}))


@pytest.mark.parametrize("driver", ONE_OF_EACH, ids=lambda driver: driver.name)
@pytest.mark.parametrize("expiry", [None, "datetime", "float"])
def test_custom_credential_with_each_type_of_expiry(
    driver: Driver, expiry: str | None, emulator: Emulator, identity: Principal, target: Target
) -> None:
    """Without an expiry the token's own is used."""
    minted = emulator.mint(identity.name, named=True)
    expires: Any = {
        None: None,
        "datetime": datetime.datetime.fromtimestamp(minted.expires_on, datetime.timezone.utc),
        "float": float(minted.expires_on),
    }[expiry]
    provider = pgentra.TokenProvider(lambda: (minted.token, expires))
    provider.get()
    assert provider.stats()["expires_in"] == pytest.approx(minted.expires_on - time.time(), abs=5)
    assert driver.log_in(target.but(entra={"credential": lambda: (minted.token, expires)})) == identity.name


def test_custom_credential_that_hangs(driver: Driver, emulator: Emulator, target: Target) -> None:
    """The caller's wait ends; the credential's call continues, and the next caller waits for the same call."""
    release = threading.Event()

    def hangs() -> tuple[str, int]:
        release.wait(10)
        return "eyJ0.x.y", LATER

    entra: dict[str, Any] = {"credential": hangs, "timeout": 0.5}
    if driver.name == "asyncpg":
        # `timeout` is asyncpg's own argument, which also limits this wait.
        entra["timeout"] = 2
    began = time.monotonic()
    with pytest.raises(driver.transient) as caught:
        driver.log_in(target.but(user="app-mi", entra=entra))
    took = time.monotonic() - began
    release.set()
    assert took < 3
    assert isinstance(caught.value, pgentra.errors.AuthenticationError)
    assert caught.value.code == "timeout"


@pytest.mark.parametrize("credential", ["not-a-credential", 42, object(), {}, pgentra.TokenProvider, str, int])
def test_credential_argument_of_wrong_type(driver: Driver, credential: Any, emulator: Emulator, target: Target) -> None:
    with pytest.raises(pgentra.errors.CredentialValueError, match="credential is required") as caught:
        driver.log_in(target.but(entra={"credential": credential}))
    assert "not-a-credential" not in str(caught.value)
    assert emulator.postgres_report().logins == []


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("mode", "sometimes"),
        ("mode", 7),
        ("scope", 7),
        ("scope", ""),
        ("fallback_username", 7),
        ("management_lookup", "hunter2"),
        ("cache", "hunter2"),
        ("ca_file", 7),
        # Texts come from URLs; a text that counts as true would disable the rule.
        ("allow_insecure_transport", "hunter2"),
        ("require_entra", "hunter2"),
    ],
)
def test_option_of_wrong_type(driver: Driver, option: str, value: Any, emulator: Emulator, target: Target) -> None:
    with pytest.raises(pgentra.errors.CredentialValueError, match=option) as caught:
        driver.log_in(target.but(entra={option: value}))
    assert caught.value.code == "invalid_configuration"
    assert "hunter2" not in str(caught.value)
    assert (emulator.requests(), emulator.postgres_report().logins) == ([], [])


def test_option_that_is_unknown(driver: Driver, emulator: Emulator, target: Target) -> None:
    """The driver or pgentra rejects it."""
    with pytest.raises(Exception, match="no_such_option"):
        driver.log_in(target.but(entra={"no_such_option": 1}))
    assert emulator.postgres_report().logins == []


def test_user_with_invalid_characters(driver: Driver, emulator: Emulator, mine: Target) -> None:
    """Surrogate characters and NUL cause an error of the driver or of pgentra, not a crash or a hang."""
    for user in ("\udcff", "a\0b"):
        with pytest.raises(Exception):  # noqa: B017
            driver.log_in(mine.but(user=user))
    assert [login for login in emulator.postgres_report().logins if login.outcome == "logged_in"] == []
