"""Tokens that the server rejects with Azure's messages, with real drivers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from pgentra.identity import StaticTokenCredential
from support.drivers import DRIVERS, Driver, Target
from support.emulator import Emulator, Minted, Principal

pytestmark = pytest.mark.one_python


def _user(emulator: Emulator, **mint: Any) -> tuple[str, Minted]:
    principal = emulator.add_principal("user")
    return principal.name, emulator.mint(principal.name, **mint)


def expired(emulator: Emulator) -> tuple[str, Minted]:
    return _user(emulator, lifetime_s=-60, not_before_s=-3600)


def forged(emulator: Emulator) -> tuple[str, Minted]:
    return _user(emulator, forged=True)


def unsigned(emulator: Emulator) -> tuple[str, Minted]:
    return _user(emulator, unsigned=True)


def wrong_audience(emulator: Emulator) -> tuple[str, Minted]:
    return _user(emulator, audience="https://vault.azure.net")


def wrong_tenant(emulator: Emulator) -> tuple[str, Minted]:
    return _user(emulator, tenant_id="12345678-0000-0000-0000-000000000009")


def app_token_for_a_users_role(emulator: Emulator) -> tuple[str, Minted]:
    role = emulator.add_principal("user")
    return role.name, emulator.mint("orders-api")


def user_token_for_a_services_role(emulator: Emulator) -> tuple[str, Minted]:
    return "orders-api", emulator.mint("alice@contoso.example")


def another_users_role(emulator: Emulator) -> tuple[str, Minted]:
    role = emulator.add_principal("user")
    return role.name, emulator.mint("alice@contoso.example")


def group_without_the_user(emulator: Emulator) -> tuple[str, Minted]:
    role = emulator.add_principal("group")
    return role.name, emulator.mint("alice@contoso.example")


def role_in_other_case(emulator: Emulator) -> tuple[str, Minted]:
    return "Alice@Contoso.example", emulator.mint("alice@contoso.example")


TEXTS: dict[Callable[[Emulator], tuple[str, Minted]], tuple[str, str]] = {
    expired: ("28000", "The access token has expired. Acquire a new token and try again."),
    forged: ("28000", "An error occurred while validating the access token. Please acquire a new token and retry."),
    unsigned: ("28000", "An error occurred while validating the access token. Please acquire a new token and retry."),
    wrong_audience: ("28000", "The access token does not have a valid audience claim."),
    wrong_tenant: ("28000", "The access token does not have a valid tenant claim."),
    app_token_for_a_users_role: (
        "28000",
        "is neither an AAD_AUTH_TOKENTYPE_APP_USER or an AAD_AUTH_TOKENTYPE_APP_OBO token.",
    ),
    user_token_for_a_services_role: (
        "28000",
        'Service principals cannot generate AAD_AUTH_TOKENTYPE_APP_USER tokens for role "orders-api"',
    ),
    another_users_role: ("28P01", "password authentication failed for user"),
    group_without_the_user: ("28000", "does not contain group ID"),
    role_in_other_case: ("28000", 'role "Alice@Contoso.example" does not exist'),
}

#: The errors depend on the driver; one of each kind is enough.
KINDS = [driver for driver in DRIVERS if driver.name in ("psycopg2", "psycopg3", "asyncpg", "sqlalchemy-pg8000")]


@pytest.mark.parametrize("driver", KINDS, ids=lambda driver: driver.name)
@pytest.mark.parametrize("case", TEXTS, ids=lambda case: case.__name__)
def test_login_error_in_azures_words(
    driver: Driver, case: Callable[[Emulator], tuple[str, Minted]], emulator: Emulator, target: Target
) -> None:
    role, minted = case(emulator)
    sqlstate, text = TEXTS[case]
    # The credential reports another expiry, because pgentra does not send an expired token.
    credential = StaticTokenCredential(minted.token, 4_000_000_000)
    with pytest.raises(driver.refused) as caught:
        driver.log_in(target.but(user=role, entra={"credential": credential}))
    shown = str(caught.value)
    assert text in shown
    # The error adds principal and role to the server's message, never the token.
    assert f"Role tried: '{role}' (from the user given to the connection)" in shown
    assert minted.claims["oid"] in shown
    assert minted.token not in shown
    assert minted.token.split(".")[1] not in shown
    (login,) = emulator.postgres_report().logins
    assert (login.outcome, login.sqlstate) == ("refused", sqlstate)


def test_login_error_after_key_retirement(emulator: Emulator, target: Target) -> None:
    driver = KINDS[1]
    principal: Principal = emulator.add_principal("user")
    minted = emulator.mint(principal.name)
    logged_in = target.but(
        user=principal.name, entra={"credential": StaticTokenCredential(minted.token, minted.expires_on)}
    )
    assert driver.log_in(logged_in) == principal.name
    emulator.rotate_keys(retire_old=True)
    with pytest.raises(driver.refused, match="An error occurred while validating the access token"):
        driver.log_in(logged_in)
