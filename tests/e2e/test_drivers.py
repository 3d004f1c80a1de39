"""The behaviour that all drivers share: each test runs with each driver."""

from __future__ import annotations

import logging
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import pgentra
import pgentra.errors
from pgentra.identity import ClientSecretCredential, ManagedIdentityCredential, StaticTokenCredential
from support.drivers import DRIVERS, Driver, Target
from support.emulator import Emulator, Principal

ALICE = "alice@contoso.example"
BOB = "bob_home.example#EXT#@contoso.example"

#: Resolves to this machine, but is not a loopback address, so pgentra must treat it as remote.
NOT_LOOPBACK = "0.0.0.0"


def static(emulator: Emulator, name: str) -> StaticTokenCredential:
    minted = emulator.mint(name)
    return StaticTokenCredential(minted.token, minted.expires_on)


def as_app_service_identity(emulator: Emulator, target: Target, _: pytest.MonkeyPatch) -> tuple[Target, str]:
    return target, "app-mi"


def as_user_assigned_identity(emulator: Emulator, target: Target, _: pytest.MonkeyPatch) -> tuple[Target, str]:
    credential = ManagedIdentityCredential(client_id="11111111-0000-0000-0000-000000000002")
    return target.but(entra={"credential": credential}), "batch-mi"


def as_virtual_machine(emulator: Emulator, target: Target, patch: pytest.MonkeyPatch) -> tuple[Target, str]:
    patch.delenv("IDENTITY_ENDPOINT")
    patch.delenv("IDENTITY_HEADER")
    patch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", emulator.imds_host)
    return target, "vm-prod"


def as_deployment_slot(emulator: Emulator, target: Target, _: pytest.MonkeyPatch) -> tuple[Target, str]:
    credential = ManagedIdentityCredential(identity_config={"object_id": "aaaaaaaa-0000-0000-0000-000000000004"})
    return target.but(entra={"credential": credential}), "shop/slots/staging"


def as_service_principal(emulator: Emulator, target: Target, patch: pytest.MonkeyPatch) -> tuple[Target, str]:
    """A service principal from the environment; its token contains no name, so that the role is given."""
    patch.setenv("AZURE_TENANT_ID", emulator.tenant_id)
    patch.setenv("AZURE_CLIENT_ID", "11111111-0000-0000-0000-000000000005")
    patch.setenv("AZURE_CLIENT_SECRET", "orders-api-secret")
    patch.setenv("AZURE_AUTHORITY_HOST", emulator.authority_host)
    return target.but(entra={"fallback_username": "orders-api"}), "orders-api"


def as_user(emulator: Emulator, target: Target, _: pytest.MonkeyPatch) -> tuple[Target, str]:
    return target.but(entra={"credential": static(emulator, ALICE)}), ALICE


def as_guest(emulator: Emulator, target: Target, _: pytest.MonkeyPatch) -> tuple[Target, str]:
    """A guest, whose token does not contain the role's name."""
    return target.but(entra={"credential": static(emulator, BOB)}, user=BOB), BOB


def as_group(emulator: Emulator, target: Target, _: pytest.MonkeyPatch) -> tuple[Target, str]:
    """A group's role with a member's token."""
    return target.but(entra={"credential": static(emulator, ALICE)}, user="db-readers"), "db-readers"


PRINCIPALS = (
    as_app_service_identity,
    as_user_assigned_identity,
    as_virtual_machine,
    as_deployment_slot,
    as_service_principal,
    as_user,
    as_guest,
    as_group,
)


@pytest.mark.parametrize("principal", PRINCIPALS, ids=lambda found: found.__name__)
def test_login_of_each_kind_of_principal(
    driver: Driver,
    principal: Callable[[Emulator, Target, pytest.MonkeyPatch], tuple[Target, str]],
    emulator: Emulator,
    target: Target,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target, role = principal(emulator, target, monkeypatch)
    assert driver.log_in(target) == role
    (login,) = emulator.postgres_report().logins
    assert (login.outcome, login.tls) == ("logged_in", True)


@pytest.fixture
def readers(emulator: Emulator, target: Target) -> tuple[Target, str]:
    """A role whose name needs percent-encoding, and a user's token that is valid for it but contains another name."""
    group = emulator.add_principal("group", f"db/readers+{time.time_ns()}@all%20")
    member = emulator.add_principal("user", groups=[group.name])
    return target.but(entra={"credential": static(emulator, member.name)}), group.name


def test_user_in_argument(driver: Driver, readers: tuple[Target, str]) -> None:
    target, role = readers
    assert driver.log_in(target.but(user=role)) == role


def test_user_in_url(driver: Driver, readers: tuple[Target, str]) -> None:
    target, role = readers
    assert driver.log_in(target.but(user=role, as_url=True)) == role


def test_user_in_pguser(driver: Driver, readers: tuple[Target, str], monkeypatch: pytest.MonkeyPatch) -> None:
    target, role = readers
    monkeypatch.setenv("PGUSER", role)
    assert driver.log_in(target) == role


def test_user_in_argument_and_pguser(
    driver: Driver, readers: tuple[Target, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target, role = readers
    monkeypatch.setenv("PGUSER", "another-user")
    assert driver.log_in(target.but(user=role)) == role


@pytest.mark.parametrize("driver", [one for one in DRIVERS if one.has_services], ids=lambda one: one.name)
def test_user_in_service_file(
    driver: Driver, emulator: Emulator, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role, alice = "db-readers", static(emulator, ALICE)
    services = tmp_path / "services.conf"
    services.write_text(
        f"[shop]\nhost={target.host}\nport={target.port}\ndbname={target.database}\nuser={role}\nsslmode=verify-full\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    assert driver.log_in(Target(None, None, None, None, service="shop", entra={"credential": alice})) == role


def test_password_with_user(
    driver: Driver, emulator: Emulator, identity: Principal, mine: Target, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that the application passes as password is treated as any password."""
    minted = emulator.mint(identity.name)
    with caplog.at_level(logging.DEBUG, "pgentra"):
        assert driver.log_in(mine.but(user=identity.name, password=minted.token)) == identity.name
    assert emulator.requests() == []
    assert minted.token not in caplog.text


def test_password_with_user_in_environment(
    driver: Driver, emulator: Emulator, identity: Principal, mine: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds also for a driver that does not read `PGUSER`."""
    monkeypatch.setenv("PGUSER", identity.name)
    assert driver.log_in(mine.but(password=emulator.mint(identity.name).token)) == identity.name
    assert emulator.requests() == []


@pytest.mark.parametrize("as_url", [False, True])
def test_password_without_user(
    driver: Driver, as_url: bool, identity: Principal, mine: Target, caplog: pytest.LogCaptureFixture
) -> None:
    leftover = mine.but(password="hunter2", as_url=as_url)
    # A warning is logged once per server; no other test uses this one.
    number = DRIVERS.index(driver) + 1
    elsewhere = leftover.but(host=f"127.2.{int(as_url)}.{number}", sslmode=None)
    with caplog.at_level(logging.WARNING, "pgentra"):
        assert driver.log_in(leftover) == identity.name
        for _ in range(2):
            with pytest.raises(Exception):  # noqa: B017
                driver.log_in(elsewhere)
    assert caplog.text.count(f"{elsewhere.host} is not used, because no user is given") == 1
    assert "hunter2" not in caplog.text


def test_password_that_the_server_rejects(driver: Driver, mine: Target) -> None:
    with pytest.raises(driver.refused, match=r"Entra was not used: .* Remove the password"):
        driver.log_in(mine.but(user="app-mi", password="placeholder"))


def test_password_left_in_settings(
    driver: Driver, emulator: Emulator, mine: Target, caplog: pytest.LogCaptureFixture
) -> None:
    # Nothing listens there, and no other test uses this server (a warning is logged once per server).
    leftover = mine.but(host=f"127.1.0.{DRIVERS.index(driver) + 1}", user="app", password="hunter2", as_url=True)
    with caplog.at_level(logging.WARNING, "pgentra"):
        for _ in range(2):
            with pytest.raises(Exception):  # noqa: B017
                driver.log_in(leftover)
    assert caplog.text.count("Entra is not used") == 1
    assert "hunter2" not in caplog.text
    assert emulator.requests() == []


def test_password_with_require_entra(driver: Driver, emulator: Emulator, mine: Target) -> None:
    leftover = mine.but(user="app", password="hunter2", entra={**mine.entra, "require_entra": True})
    with pytest.raises(pgentra.errors.EntraConnectionValueError, match="password") as caught:
        driver.log_in(leftover)
    assert "hunter2" not in str(caught.value)
    # The error says which setting contains the password.
    assert f'the connection to {mine.host} as "app" has a password of its own' in str(caught.value)
    assert (emulator.requests(), emulator.postgres_report().logins) == ([], [])


def test_password_in_environment(
    driver: Driver, identity: Principal, mine: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    assert driver.log_in(mine) == identity.name


def test_password_file_ignored(
    driver: Driver, identity: Principal, mine: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "pgpass"
    file.write_text("*:*:*:*:hunter2\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    assert driver.log_in(mine.but(user=identity.name)) == identity.name


# TLS


SSLMODES = (None, "allow", "prefer")


@pytest.mark.parametrize("sslmode", SSLMODES)
def test_sslmode_weaker_than_require(
    driver: Driver, sslmode: str | None, emulator: Emulator, identity: Principal, mine: Target
) -> None:
    weak = mine.but(host=NOT_LOOPBACK, sslmode=sslmode if driver.has_sslmode else None)
    assert driver.log_in(weak) == identity.name
    assert emulator.postgres_report().logins[-1].tls

    emulator.control_postgres(plaintext=True)
    with pytest.raises(Exception, match=r"(?i)ssl"):
        driver.log_in(weak)
    assert emulator.postgres_report().plaintext_password_bytes == 0


#: Variables that libpq reads and other drivers ignore.
VARIABLES = {
    "PGHOSTADDR": "127.0.0.1",
    "PGSERVICE": "shop",
    "PGSSLMODE": "require",
    "PGSSLROOTCERT": "system",
}


@pytest.mark.parametrize("variable", VARIABLES)
def test_libpq_variables_that_the_driver_ignores(
    driver: Driver, variable: str, emulator: Emulator, mine: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No token is sent to a remote server without TLS, whether the driver reads them or not."""
    services = tmp_path / "services.conf"
    services.write_text("[shop]\nhostaddr=0.0.0.0\nsslmode=require\nsslrootcert=system\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv(variable, VARIABLES[variable])
    emulator.control_postgres(plaintext=True)
    there = mine.but(host=NOT_LOOPBACK, sslmode=None)
    if driver.is_libpq and variable == "PGHOSTADDR":
        # The driver connects to this address, which is local.
        assert driver.log_in(there)
        return
    with pytest.raises(Exception, match=r"(?i)ssl|system"):
        driver.log_in(there)
    assert emulator.postgres_report().plaintext_password_bytes == 0


@pytest.mark.parametrize("driver", [one for one in DRIVERS if not one.is_libpq], ids=lambda one: one.name)
def test_service_that_the_driver_ignores(
    driver: Driver, identity: Principal, mine: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service's user and password are ignored as well."""
    services = tmp_path / "services.conf"
    services.write_text("[shop]\nuser=another-user\npassword=hunter2\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    monkeypatch.setenv("PGSERVICE", "shop")
    assert driver.log_in(mine) == identity.name


def test_plaintext_server_receives_no_token(driver: Driver, emulator: Emulator, mine: Target) -> None:
    emulator.control_postgres(plaintext=True)
    for sslmode in ("require", "verify-full"):
        with pytest.raises(Exception, match=r"(?i)ssl"):
            driver.log_in(mine.but(host=NOT_LOOPBACK, sslmode=sslmode))
    assert emulator.postgres_report().plaintext_password_bytes == 0
    # The test can fail: with the option set, the token is sent in plaintext.
    careless = mine.but(host=NOT_LOOPBACK, sslmode="disable", entra={**mine.entra, "allow_insecure_transport": True})
    driver.log_in(careless)
    assert emulator.postgres_report().plaintext_password_bytes > 500


def test_sslmode_disable(driver: Driver, emulator: Emulator, mine: Target) -> None:
    with pytest.raises(pgentra.errors.EntraConnectionValueError) as caught:
        driver.log_in(mine.but(host=NOT_LOOPBACK, sslmode="disable"))
    assert caught.value.code == "insecure_transport"
    assert (emulator.requests(), emulator.postgres_report().logins) == ([], [])


def test_sslmode_verify_full_with_wrong_authority(driver: Driver, emulator: Emulator, mine: Target) -> None:
    with pytest.raises(Exception, match=r"(?i)certificate"):
        driver.log_in(mine.but(host=NOT_LOOPBACK, sslmode="verify-full"))
    assert [login.outcome for login in emulator.postgres_report().logins if login.outcome == "logged_in"] == []


# Login errors


def test_login_error_retried_with_newer_token(
    driver: Driver, emulator: Emulator, identity: Principal, mine: Target
) -> None:
    emulator.set_tokens(lifetime_s=6)
    assert driver.log_in(mine) == identity.name
    # A token that has just been fetched is not replaced.
    time.sleep(0.7)
    emulator.control_postgres(refuse_next=1)
    assert driver.log_in(mine) == identity.name
    assert [login.outcome for login in emulator.postgres_report().logins] == ["logged_in", "refused", "logged_in"]
    assert len(emulator.database_requests(identity)) == 2


def test_login_error_after_retry(driver: Driver, emulator: Emulator, identity: Principal, mine: Target) -> None:
    emulator.set_tokens(lifetime_s=6)
    driver.log_in(mine)
    time.sleep(0.7)
    emulator.control_postgres(refuse_next=5)
    with pytest.raises(driver.refused, match="The access token has expired") as caught:
        driver.log_in(mine)
    assert f"Role tried: '{identity.name}'" in str(caught.value)
    assert [login.outcome for login in emulator.postgres_report().logins] == ["logged_in", "refused", "refused"]
    assert len(emulator.database_requests(identity)) == 2


def test_login_error_for_missing_role(driver: Driver, emulator: Emulator, target: Target) -> None:
    unknown = emulator.add_principal("user_assigned", role=False)
    roleless = target.but(entra={"credential": ManagedIdentityCredential(client_id=unknown.appid)})
    with pytest.raises(driver.refused) as caught:
        driver.log_in(roleless)
    message = str(caught.value)
    assert f'role "{unknown.name}" does not exist' in message
    statement = (
        f"select * from pgaadauth_create_principal_with_oid('{unknown.name}', '{unknown.oid}', 'service', false, false)"
    )
    assert statement in message
    assert len(emulator.database_requests(unknown)) == 1
    assert len(emulator.postgres_report().logins) == 1


# Errors


def test_transient_error_class(driver: Driver, emulator: Emulator, target: Target) -> None:
    """The error derives from the driver's class, so that existing retries around `connect` still work."""
    principal = emulator.add_principal("service_principal")
    assert principal.secret is not None
    credential = ClientSecretCredential(
        emulator.tenant_id, principal.appid, principal.secret, authority=emulator.authority_host, retry_total=0
    )
    emulator.add_fault(endpoint="token", status=503)
    with pytest.raises(driver.transient) as caught:
        driver.log_in(target.but(user=principal.name, entra={"credential": credential}))
    assert isinstance(caught.value, pgentra.errors.AuthenticationError)
    assert isinstance(caught.value, pgentra.errors.EntraConnectionValueError)
    assert caught.value.code == "service_unavailable"
    assert str(caught.value).startswith("Could not retrieve Entra credentials: ")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    assert principal.secret not in str(caught.value)
    assert emulator.postgres_report().logins == []


def test_definite_error_class(driver: Driver, emulator: Emulator, target: Target) -> None:
    principal = emulator.add_principal("service_principal")
    credential = ClientSecretCredential(
        emulator.tenant_id, principal.appid, "wrong-secret-value", authority=emulator.authority_host
    )
    with pytest.raises(pgentra.errors.AuthenticationError) as caught:
        driver.log_in(target.but(user=principal.name, entra={"credential": credential}))
    assert caught.value.aadsts == 7000215
    assert isinstance(caught.value, pgentra.errors.EntraConnectionValueError)
    assert not isinstance(caught.value, driver.transient)
    assert "wrong-secret-value" not in str(caught.value)


def test_unreachable_server(driver: Driver, mine: Target) -> None:
    with pytest.raises(Exception) as caught:
        driver.log_in(mine.but(port=1))
    assert not isinstance(caught.value, pgentra.errors.PgEntraError)


# The application's environment and log; statistics


def test_environment_changed_at_run_time(
    driver: Driver, emulator: Emulator, identity: Principal, target: Target
) -> None:
    """`os.environ` is read when a connection is opened, not when the process starts."""
    assert driver.log_in(target) == "app-mi"
    os.environ["AZURE_CLIENT_ID"] = identity.appid
    try:
        assert driver.log_in(target) == identity.name
    finally:
        del os.environ["AZURE_CLIENT_ID"]
    assert driver.log_in(target) == "app-mi"


def test_logging_of_events(
    driver: Driver, emulator: Emulator, identity: Principal, mine: Target, caplog: pytest.LogCaptureFixture
) -> None:
    def ours() -> str:
        # asyncio also logs.
        return "\n".join(record.getMessage() for record in caplog.records if record.name.split(".")[0] == "pgentra")

    with caplog.at_level(logging.DEBUG, "pgentra"):
        driver.log_in(mine)
        # Events are logged from the engine's thread.
        deadline = time.monotonic() + 5
        while not ours() and time.monotonic() < deadline:
            time.sleep(0.02)
    assert "ManagedIdentityCredential" in ours()
    assert "eyJ" not in caplog.text


def test_stats_of_each_cache_entry(driver: Driver, identity: Principal, mine: Target) -> None:
    driver.log_in(mine)
    found = [
        cell
        for cell in pgentra.stats()
        if (cell["principal"] or {}).get("oid") == identity.oid and "ossrdbms" in cell["scope"]
    ]
    assert len(found) == 1
    (cell,) = found
    assert cell["fetches"] == 1
    assert cell["failures"] == 0
    assert cell["expires_in"] > 80_000
    assert 0 < cell["refresh_due_in"] < cell["expires_in"]


def test_token_shared_by_a_hundred_connections(
    driver: Driver, emulator: Emulator, identity: Principal, mine: Target
) -> None:
    for _ in range(5):
        driver.log_in(mine)
        driver.log_in(mine.but(entra={"credential": ManagedIdentityCredential(client_id=identity.appid)}))
    assert len(emulator.database_requests(identity)) == 1
