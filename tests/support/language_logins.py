"""Logins of languages whose bindings run in a program of their own: the emulator's PostgreSQL with `verify-full`.

A suite derives a class of `LanguageLogins`, sets its attributes, and has the fixtures `emulator` and `fresh`: a program
that starts with the environment of its first call and ends with the test.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any, ClassVar

import psycopg
import pytest

from support.emulator import Emulator, Principal
from support.language_program import Failed, LanguageProgram

#: Resolves to this machine, but is not a loopback address, so pgentra must treat it as remote.
NOT_LOOPBACK = "0.0.0.0"
PREFIX = "AZURE_POSTGRESQL_"
HUNTER = "hunter2-canary"
#: Of the tokens in the test of expiry, in seconds.
LIFETIME_S = 10


def managed(identity: Principal) -> dict[str, Any]:
    return {"credential": {"type": "managed_identity", "client_id": identity.appid}}


def static(emulator: Emulator, principal: str) -> dict[str, Any]:
    minted = emulator.mint(principal, named=True)
    return {"credential": {"type": "static_token", "token": minted.token}}


def unique_group(emulator: Emulator) -> str:
    return emulator.add_principal("group", f"db/rea'ders+{time.time_ns()}@all%20").name


# Service Connector


def system_assigned(emulator: Emulator) -> tuple[str, dict[str, str]]:
    return "app-mi", {}


def user_assigned(emulator: Emulator) -> tuple[str, dict[str, str]]:
    identity = emulator.add_principal("user_assigned")
    return identity.name, {"CLIENTID": identity.appid}


def service_principal(emulator: Emulator) -> tuple[str, dict[str, str]]:
    principal = emulator.add_principal("service_principal")
    assert principal.secret is not None
    return principal.name, {
        "CLIENTID": principal.appid,
        "TENANTID": emulator.tenant_id,
        "CLIENTSECRET": principal.secret,
    }


def connector_role(emulator: Emulator, principal: str) -> str:
    """Creates a role for the principal, as Service Connector does; no token contains its name."""
    role = f"aad_shop_{emulator.add_principal('group').oid[:8]}"
    oid = emulator.mint(principal).claims["oid"]
    with psycopg.connect(emulator.admin_dsn, autocommit=True) as admin:
        admin.execute("select * from pgaadauth_create_principal_with_oid(%s, %s, 'service', false, false)", (role, oid))
    return role


class LanguageLogins:
    """The tests. `entry` is each of ENTRIES."""

    #: The entry points, as the program's call `connect` takes them.
    ENTRIES: ClassVar[list[str]]
    #: The language, for the tables of logins.
    LANGUAGE: ClassVar[str]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "entry" in metafunc.fixturenames:
            metafunc.parametrize("entry", self.ENTRIES)

    @pytest.fixture
    def settings(self, emulator: Emulator) -> dict[str, Any]:
        server = emulator.server
        return {"host": server.host, "port": server.port, "dbname": server.database, "sslmode": "verify-full"}

    # Roles

    def test_role_of_the_token(
        self, fresh: LanguageProgram, entry: str, identity: Principal, settings: dict[str, Any], emulator: Emulator
    ) -> None:
        assert fresh.call("connect", entry=entry, settings=settings, options=managed(identity)) == identity.name
        (login,) = emulator.postgres_report().logins
        assert (login.outcome, login.tls) == ("logged_in", True)

    def test_default_chain(self, fresh: LanguageProgram, entry: str, settings: dict[str, Any]) -> None:
        assert fresh.call("connect", entry=entry, settings=settings) == "app-mi"

    def test_explicit_user(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, settings: dict[str, Any]
    ) -> None:
        role = unique_group(emulator)
        member = emulator.add_principal("user", groups=[role])
        given = {**settings, "user": role}
        assert fresh.call("connect", entry=entry, settings=given, options=static(emulator, member.name)) == role

    def test_pguser(
        self,
        fresh: LanguageProgram,
        entry: str,
        emulator: Emulator,
        settings: dict[str, Any],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        role = unique_group(emulator)
        member = emulator.add_principal("user", groups=[role])
        monkeypatch.setenv("PGUSER", role)
        assert fresh.call("connect", entry=entry, settings=settings, options=static(emulator, member.name)) == role

    # Passwords

    def test_password_with_user(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, identity: Principal, settings: dict[str, Any]
    ) -> None:
        password = emulator.mint(identity.name).token
        given = {**settings, "user": identity.name, "password": password}
        assert fresh.call("connect", entry=entry, settings=given, options=managed(identity)) == identity.name
        assert emulator.requests() == []

    def test_password_without_user(
        self, fresh: LanguageProgram, entry: str, identity: Principal, settings: dict[str, Any]
    ) -> None:
        given = {**settings, "password": HUNTER}
        role, log = fresh.call_with_output("connect", entry=entry, settings=given, options=managed(identity))
        assert role == identity.name
        assert "is not used, because no user is given" in log
        assert HUNTER not in log

    def test_require_entra(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, settings: dict[str, Any]
    ) -> None:
        given = {**settings, "user": "app-mi", "password": HUNTER}
        with pytest.raises(Failed, match="password") as caught:
            fresh.call("connect", entry=entry, settings=given, options={"require_entra": True})
        assert caught.value.code == "invalid_connection"
        assert HUNTER not in str(caught.value)
        assert (emulator.requests(), emulator.postgres_report().logins) == ([], [])

    def test_ignore_password(
        self, fresh: LanguageProgram, entry: str, identity: Principal, settings: dict[str, Any]
    ) -> None:
        given = {**settings, "user": identity.name, "password": HUNTER}
        options = {**managed(identity), "ignore_password": True}
        assert fresh.call("connect", entry=entry, settings=given, options=options) == identity.name

    # TLS

    @pytest.mark.parametrize("sslmode", [None, "allow", "prefer", "require", "verify-full"])
    def test_plaintext_server_receives_no_token(
        self,
        fresh: LanguageProgram,
        entry: str,
        sslmode: str | None,
        emulator: Emulator,
        identity: Principal,
        settings: dict[str, Any],
    ) -> None:
        emulator.control_postgres(plaintext=True)
        given = {name: value for name, value in {**settings, "host": NOT_LOOPBACK, "sslmode": sslmode}.items() if value}
        with pytest.raises(Failed, match=r"(?i)ssl|tls"):
            fresh.call("connect", entry=entry, settings=given, options=managed(identity))
        report = emulator.postgres_report()
        assert report.plaintext_password_bytes == 0
        assert [login for login in report.logins if login.outcome == "logged_in"] == []

    def test_plaintext_allowed_by_the_application(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, identity: Principal, settings: dict[str, Any]
    ) -> None:
        """Shows that the count of the test above can fail."""
        emulator.control_postgres(plaintext=True)
        given = {**settings, "host": NOT_LOOPBACK, "sslmode": "disable"}
        with pytest.raises(Failed) as caught:
            fresh.call("connect", entry=entry, settings=given, options=managed(identity))
        assert caught.value.code == "insecure_transport"
        options = {**managed(identity), "allow_insecure_transport": True}
        assert fresh.call("connect", entry=entry, settings=given, options=options) == identity.name
        assert emulator.postgres_report().plaintext_password_bytes > 500

    # Login errors

    def test_login_error_retried_and_explained(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, identity: Principal, settings: dict[str, Any]
    ) -> None:
        emulator.set_tokens(lifetime_s=8)

        def connect() -> str:
            role: str = fresh.call("connect", entry=entry, settings=settings, options=managed(identity))
            return role

        assert connect() == identity.name
        # A token that has just been fetched is not replaced.
        time.sleep(1)
        emulator.control_postgres(refuse_next=1)
        assert connect() == identity.name
        outcomes = [login.outcome for login in emulator.postgres_report().logins]
        assert outcomes == ["logged_in", "refused", "logged_in"]
        assert len(emulator.database_requests(identity)) == 2
        time.sleep(1)
        emulator.control_postgres(refuse_next=5)
        with pytest.raises(Failed, match="The access token has expired") as caught:
            connect()
        assert f"Role tried: '{identity.name}'" in str(caught.value)
        assert "eyJ" not in str(caught.value)

    def test_missing_role_explained(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, settings: dict[str, Any]
    ) -> None:
        unknown = emulator.add_principal("user_assigned", role=False)
        with pytest.raises(Failed) as caught:
            fresh.call("connect", entry=entry, settings=settings, options=managed(unknown))
        assert f'role "{unknown.name}" does not exist' in str(caught.value)
        assert (
            f"pgaadauth_create_principal_with_oid('{unknown.name}', '{unknown.oid}', 'service', false, false)"
            in str(caught.value)
        )
        assert len(emulator.postgres_report().logins) == 1

    def test_logins_across_expiry_and_outage(
        self, fresh: LanguageProgram, emulator: Emulator, identity: Principal, settings: dict[str, Any]
    ) -> None:
        """New connections for two lifetimes of a token, with failing token requests in the second."""
        emulator.set_tokens(lifetime_s=LIFETIME_S)
        began, logins = time.monotonic(), 0
        fault: int | None = None
        while (passed := time.monotonic() - began) < 2 * LIFETIME_S:
            # The outage ends before the token that is cached then.
            outage = LIFETIME_S * 1.2 < passed < LIFETIME_S * 1.4
            if outage and fault is None:
                fault = emulator.add_fault(principal=identity.name, status=503)
            if not outage and fault is not None:
                emulator.clear_fault(fault)
                fault = None
            for entry in self.ENTRIES:
                role = fresh.call("connect", entry=entry, settings=settings, options=managed(identity))
                assert role == identity.name
                logins += 1
            time.sleep(0.2)
        requests = [one for one in emulator.database_requests(identity) if one.status == 200]
        print(f"\n{self.LANGUAGE}: {logins} logins in {2 * LIFETIME_S} s, {len(requests)} tokens")
        assert len(requests) >= 3
        assert {login.outcome for login in emulator.postgres_report().logins} == {"logged_in"}

    def test_unreachable_server(
        self, fresh: LanguageProgram, entry: str, identity: Principal, settings: dict[str, Any]
    ) -> None:
        with pytest.raises(Failed) as caught:
            fresh.call("connect", entry=entry, settings={**settings, "port": 1}, options=managed(identity))
        assert "Role tried" not in str(caught.value)

    def test_credential_that_fails(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, settings: dict[str, Any]
    ) -> None:
        principal = emulator.add_principal("service_principal")
        credential = {
            "type": "client_secret",
            "tenant_id": emulator.tenant_id,
            "client_id": principal.appid,
            "client_secret": "wrong-canary",
            "authority_host": emulator.authority_host,
        }
        with pytest.raises(Failed) as caught:
            fresh.call("connect", entry=entry, settings=settings, options={"credential": credential})
        assert (caught.value.code, caught.value.aadsts) == ("authentication_failed", 7000215)
        assert "canary" not in str(caught.value)

    # Service Connector

    @pytest.mark.parametrize(
        "kind", [system_assigned, user_assigned, service_principal], ids=lambda kind: kind.__name__
    )
    def test_service_connector(
        self,
        fresh: LanguageProgram,
        entry: str,
        kind: Callable[[Emulator], tuple[str, dict[str, str]]],
        emulator: Emulator,
        monkeypatch: pytest.MonkeyPatch,
        record_property: Callable[[str, object], None],
    ) -> None:
        """The client types of PHP and Ruby have the same form."""
        principal, variables = kind(emulator)
        role = connector_role(emulator, principal)
        server = emulator.server
        text = f"host={server.host} port={server.port} dbname={server.database} sslmode=require user={role}"
        for name, value in {"CONNECTIONSTRING": text, **variables}.items():
            monkeypatch.setenv(PREFIX + name, value)
        if kind is service_principal:
            # The emulator's authority; Service Connector does not set this variable.
            monkeypatch.setenv("AZURE_AUTHORITY_HOST", emulator.authority_host)
        assert fresh.call("connect", entry=entry, settings={}, options={"service_connector": True}) == role
        record_property("connector", f"{kind.__name__.replace('_', '-')} / {entry} / {self.LANGUAGE}")

    def test_service_connector_with_a_credential(self, fresh: LanguageProgram, entry: str, identity: Principal) -> None:
        options = {**managed(identity), "service_connector": True}
        with pytest.raises(Failed):
            fresh.call("connect", entry=entry, settings={}, options=options)

    # Custom credentials

    def test_custom_credential(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, identity: Principal, settings: dict[str, Any]
    ) -> None:
        minted = emulator.mint(identity.name, named=True)
        given = {"token": minted.token, "expires_on": minted.expires_on}
        options = {"credential": {"type": "custom_credential", "given": given}}
        assert fresh.call("connect", entry=entry, settings=settings, options=options) == identity.name

    def test_custom_credential_in_a_chain(
        self, fresh: LanguageProgram, entry: str, emulator: Emulator, identity: Principal, settings: dict[str, Any]
    ) -> None:
        minted = emulator.mint(identity.name, named=True)
        unavailable = {"type": "custom_credential", "given": {"name": "First", "unavailable": "not here"}}
        second = {"type": "custom_credential", "given": {"token": minted.token, "expires_on": minted.expires_on}}
        chain = {"type": "chained", "credentials": [unavailable, second]}
        assert fresh.call("connect", entry=entry, settings=settings, options={"credential": chain}) == identity.name

    def test_custom_credential_that_fails(self, fresh: LanguageProgram, entry: str, settings: dict[str, Any]) -> None:
        given = {"name": "VaultCredential", "fails": "the vault is sealed"}
        options = {"credential": {"type": "custom_credential", "given": given}}
        with pytest.raises(Failed, match=r"VaultCredential.*the vault is sealed") as caught:
            fresh.call("connect", entry=entry, settings=settings, options=options)
        assert caught.value.code == "custom_credential"

    # Environment of the process

    def test_empty_environment(self, fresh: LanguageProgram, entry: str, settings: dict[str, Any]) -> None:
        """An environment in place of the process's."""
        credential = {"type": "environment"}
        with pytest.raises(Failed) as caught:
            fresh.call("connect", entry=entry, settings=settings, options={"credential": credential, "environment": {}})
        assert caught.value.code == "credential_unavailable"


def credential_document(credential: Any) -> Any:
    """Returns the document of a credential of `pgentra.identity`, with the tokens of its functions in their place."""
    source = credential._pgentra_source

    def place(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("type") != "custom_credential":
                return {name: place(member) for name, member in value.items()}
            custom = source.customs[value["index"]]
            function = custom._reference()
            found = asyncio.run(function()) if custom.is_async else function()
            token, expires_on = (found, None) if isinstance(found, str) else found
            return {"type": "custom_credential", "given": {"token": token, "expires_on": expires_on}}
        return [place(member) for member in value] if isinstance(value, list) else value

    document = source.handle.document
    return place(json.loads(document) if isinstance(document, str) else document)
