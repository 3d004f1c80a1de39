"""Failures that applications had with other libraries, one test each.

The password that is left in a URL is tested in `test_drivers.py`.
"""

from __future__ import annotations

import asyncio
import json
import os
import stat
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import azure.identity.aio
import pytest
import sqlalchemy
from sqlalchemy.pool import QueuePool

import pgentra
import pgentra.errors
import pgentra.identity.aio
from pgentra.identity import (
    AzureCliCredential,
    ClientSecretCredential,
    DefaultAzureCredential,
    ManagedIdentityCredential,
    WorkloadIdentityCredential,
)
from pgentra.sqlalchemy import enable_entra_authentication
from support.credentials import AccessToken
from support.drivers import CURRENT_USER, DRIVERS, Driver, Target
from support.emulator import Emulator, Principal

PSYCOPG3, PSYCOPG3_ASYNC = (
    next(driver for driver in DRIVERS if driver.name == name) for name in ("psycopg3", "psycopg3-async")
)


def test_pool_after_expiry_of_first_token(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """A pool opens connections after the expiry of its token, three times in a row."""
    emulator.set_tokens(lifetime_s=2)
    engine = sqlalchemy.create_engine(mine.url("postgresql+psycopg"), poolclass=QueuePool)
    enable_entra_authentication(engine, **mine.entra)
    for _ in range(3):
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text(CURRENT_USER)).scalar_one() == identity.name
            connection.invalidate()
        time.sleep(2.1)
    assert len(emulator.database_requests(identity)) == 3


@pytest.mark.one_python
def test_throttling_with_many_callers(emulator: Emulator, identity: Principal) -> None:
    """200 callers with an expired token and a service that throttles cause one request at a time."""
    provider = pgentra.TokenProvider(ManagedIdentityCredential(client_id=identity.appid))
    emulator.set_tokens(lifetime_s=2)
    ended = provider.get()
    emulator.set_tokens(lifetime_s=3600)
    time.sleep(2.1)
    emulator.call("DELETE", "/requests")
    emulator.add_fault(principal=identity.name, status=429, retry_after=1, times=1)
    tokens: list[str] = []
    refused: list[pgentra.errors.PgEntraError] = []

    def ask() -> None:
        ends = time.monotonic() + 15
        while time.monotonic() < ends:
            try:
                tokens.append(provider.get())
                return
            except pgentra.errors.PgEntraError as error:
                refused.append(error)
                # As applications retry a connect.
                time.sleep(0.1)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(tokens) == 200
    assert len(set(tokens)) == 1
    assert ended not in tokens
    assert all(error.code == "throttled" for error in refused)
    requests = emulator.database_requests(identity)
    assert len(requests) == 2
    assert requests[1].started - requests[0].started > 0.95
    assert emulator.counter("app_service").max_in_flight == 1


def _on_a_virtual_machine(emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Leaves IMDS as the only token source: no other endpoint and no developer tool."""
    monkeypatch.delenv("IDENTITY_ENDPOINT")
    monkeypatch.delenv("IDENTITY_HEADER")
    monkeypatch.setenv("AZURE_POD_IDENTITY_AUTHORITY_HOST", emulator.imds_host)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.one_python
def test_imds_after_temporary_failure(
    emulator: Emulator, target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _on_a_virtual_machine(emulator, monkeypatch, tmp_path)
    machine = emulator.add_principal("system_assigned")
    # The settings are unique to this test, so that the chain is too.
    credential = DefaultAzureCredential(
        managed_identity_client_id=machine.appid, exclude_environment_credential=True, retry_total=0
    )
    blip = emulator.add_fault(endpoint="imds", body="html", status=503)
    connection = target.but(entra={"credential": credential})
    with pytest.raises(pgentra.errors.CredentialUnavailableError):
        PSYCOPG3.log_in(connection)
    emulator.clear_fault(blip)
    ends = time.monotonic() + 6
    while True:
        try:
            assert PSYCOPG3.log_in(connection) == machine.name
            break
        except pgentra.errors.PgEntraError:
            assert time.monotonic() < ends
            time.sleep(0.1)


@pytest.mark.one_python
def test_imds_that_is_unreachable(
    emulator: Emulator, target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _on_a_virtual_machine(emulator, monkeypatch, tmp_path)
    emulator.add_fault(endpoint="imds", connection="black_hole")
    credential = DefaultAzureCredential(tenant_id="44444444-0000-0000-0000-000000000004")
    began = time.monotonic()
    with pytest.raises(pgentra.errors.CredentialUnavailableError) as caught:
        PSYCOPG3.log_in(target.but(entra={"credential": credential}))
    took = time.monotonic() - began
    print(f"\nblack-holed IMDS: unavailable after {took:.2f} s")
    # One probe takes 1 s; a second one of 3 s follows if no other credential is available.
    assert took < 5.5
    assert "ManagedIdentityCredential" in str(caught.value)
    assert len(caught.value.detail["attempts"]) >= 3


@pytest.mark.parametrize("driver", [one for one in DRIVERS if one.is_async], ids=lambda one: one.name)
def test_custom_credential_on_second_event_loop(
    driver: Driver, emulator: Emulator, identity: Principal, target: Target
) -> None:
    """A migration runs under `asyncio.run`, then the server on another loop, also after the token's expiry."""

    class Session:
        """Like the HTTP session of an SDK: bound to the loop of its first use."""

        def __init__(self) -> None:
            self.loop: asyncio.AbstractEventLoop | None = None

        async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
            running = asyncio.get_running_loop()
            if self.loop is not None and self.loop.is_closed():
                self.loop = None
            self.loop = self.loop or running
            assert self.loop is running
            await asyncio.sleep(0.01)
            minted = emulator.mint(identity.name, named=True, lifetime_s=2)
            return AccessToken(minted.token, minted.expires_on)

    connection = target.but(entra={"credential": Session()})
    assert asyncio.run(driver.log_in_async(connection)) == identity.name
    time.sleep(2)
    assert asyncio.run(driver.log_in_async(connection)) == identity.name


def test_azure_sdk_credential_on_second_event_loop(emulator: Emulator, identity: Principal, target: Target) -> None:
    """Its HTTP session is bound to the first loop, and the error says that this loop is closed. Ours has no loop."""
    emulator.set_tokens(lifetime_s=2)

    def twice(credential: Any) -> str:
        connection = target.but(entra={"credential": credential})
        assert asyncio.run(PSYCOPG3_ASYNC.log_in_async(connection)) == identity.name
        time.sleep(2.1)
        return asyncio.run(PSYCOPG3_ASYNC.log_in_async(connection))

    with pytest.raises(pgentra.errors.AuthenticationError, match=r"loop is closed.*pgentra\.identity\.aio") as caught:
        twice(azure.identity.aio.ManagedIdentityCredential(client_id=identity.appid))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert twice(pgentra.identity.aio.ManagedIdentityCredential(client_id=identity.appid)) == identity.name


def test_fork_after_engine_start(emulator: Emulator, identity: Principal, mine: Target) -> None:
    """`test_processes.py` has more tests of forks."""
    from test_processes import in_children

    assert PSYCOPG3.log_in(mine) == identity.name
    assert in_children(lambda _: PSYCOPG3.log_in(mine), 2) == [identity.name] * 2


@pytest.mark.one_python
def test_workload_identity_with_rotated_token_file(emulator: Emulator, target: Target, tmp_path: Path) -> None:
    federated = {"issuer": "https://cluster.example", "subject": "system:serviceaccount:shop:orders"}
    workload = emulator.add_principal("service_principal", federated_credentials=[federated])
    file = tmp_path / "azure-identity-token"

    def rotate(lifetime_s: int) -> None:
        minted = emulator.mint(workload.name, federated=federated, lifetime_s=lifetime_s)
        # Kubernetes replaces the file as well.
        (tmp_path / "new").write_text(minted.token + "\n")
        os.replace(tmp_path / "new", file)

    emulator.set_tokens(lifetime_s=2)
    rotate(lifetime_s=2)
    credential = WorkloadIdentityCredential(
        tenant_id=emulator.tenant_id,
        client_id=workload.appid,
        token_file_path=str(file),
        authority=emulator.authority_host,
    )
    connection = target.but(user=workload.name, entra={"credential": credential})
    assert PSYCOPG3.log_in(connection) == workload.name
    time.sleep(2.5)
    # The old file's assertion has expired: AADSTS700024.
    rotate(lifetime_s=60)
    assert PSYCOPG3.log_in(connection) == workload.name
    assert [request.status for request in emulator.requests("token")] == [200, 200]


@pytest.mark.one_python
def test_refresh_that_returns_the_same_token(emulator: Emulator, identity: Principal, target: Target) -> None:
    """A custom credential with its own cache returns the old token until shortly before its expiry."""
    held: list[AccessToken] = []

    def cached() -> tuple[str, int]:
        if not held or held[-1].expires_on - time.time() < 0.6:
            minted = emulator.mint(identity.name, named=True, lifetime_s=3)
            held.append(AccessToken(minted.token, minted.expires_on))
        return held[-1].token, held[-1].expires_on

    connection = target.but(entra={"credential": cached})
    ends = time.monotonic() + 7
    while time.monotonic() < ends:
        assert PSYCOPG3.log_in(connection) == identity.name
        time.sleep(0.1)
    assert len(held) >= 3
    assert emulator.postgres_report().counts.keys() == {"logged_in"}


FAKE_AZ = """#!{python}
import json, os, sys, time
log = open(os.environ["FAKE_AZ_LOG"], "a")
print("begin", time.time(), file=log, flush=True)
time.sleep(0.4)
print("end", time.time(), file=log, flush=True)
print(open(os.environ["FAKE_AZ_TOKEN"]).read())
"""


@pytest.mark.one_python
def test_azure_cli_called_in_parallel(
    emulator: Emulator, target: Target, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Eight credentials with different settings in eight threads run `az` eight times, one at a time."""
    alice = emulator.add_principal("user")
    minted = emulator.mint(alice.name)
    answer = {
        "accessToken": minted.token,
        "expires_on": minted.expires_on,
        "tokenType": "Bearer",
        "tenant": emulator.tenant_id,
    }
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    log = tmp_path / "log"
    program = tmp_path / "az"
    program.write_text(FAKE_AZ.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setenv("FAKE_AZ_LOG", str(log))
    monkeypatch.setenv("FAKE_AZ_TOKEN", str(tmp_path / "answer.json"))
    connections = [
        target.but(entra={"credential": AzureCliCredential(subscription=f"subscription-{number}")})
        for number in range(8)
    ]
    with ThreadPoolExecutor(16) as threads:
        # Each connection twice: equal settings share one call.
        roles = list(threads.map(PSYCOPG3.log_in, connections * 2))
    assert roles == [alice.name] * 16
    words = [line.split()[0] for line in log.read_text().splitlines()]
    assert words == ["begin", "end"] * 8


def test_role_name_of_nameless_token(
    driver: Driver, emulator: Emulator, service_principal: tuple[Principal, ClientSecretCredential], target: Target
) -> None:
    principal, credential = service_principal
    nameless = target.but(entra={"credential": credential})
    with pytest.raises(pgentra.errors.PgEntraError) as caught:
        driver.log_in(nameless)
    assert caught.value.code in ("username_extraction", "scope_permission")
    message = str(caught.value)
    assert "service principal" in message
    assert "to the connection, in PGUSER" in message
    # An explicit user always wins, and no second token is requested.
    emulator.call("DELETE", "/requests")
    assert driver.log_in(nameless.but(user=principal.name)) == principal.name
    assert driver.log_in(nameless.but(user=principal.name, as_url=True)) == principal.name
    assert emulator.requests(principal=principal) == []
    assert (
        driver.log_in(nameless.but(entra={"credential": credential, "fallback_username": principal.name}))
        == principal.name
    )


def test_token_of_40_kilobytes(driver: Driver, emulator: Emulator, target: Target) -> None:
    """A token of 40 KB (a user in many groups) reaches the server complete."""
    user = emulator.add_principal("user")
    minted = emulator.mint(
        user.name, claims={"groups": [f"{number:08}-0000-0000-0000-000000000000" for number in range(750)]}
    )
    assert len(minted.token) > 38_000
    credential = pgentra.identity.StaticTokenCredential(minted.token, minted.expires_on)
    assert driver.log_in(target.but(entra={"credential": credential})) == user.name
