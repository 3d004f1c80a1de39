"""Every credential of `pgentra.identity` and `pgentra.identity.aio`: a token, and a login as the role expected.

Each test that passes says so in a line `works: CLASS in Python` or `works: CLASS in Python aio`, which
`tools/matrix.py` gathers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pgentra
from drivers import DRIVERS, Target
from emulator import ROOT, Emulator, Principal
from pgentra import identity
from pgentra.identity import aio

SYNC, ASYNC = (next(driver for driver in DRIVERS if driver.name == name) for name in ("psycopg3", "psycopg3-async"))
CERTIFICATES = ROOT / "tests" / "vectors" / "certificates"
PASSWORD = "planted-password"
#: Who the emulator's places hand out where no identity is asked for.
APP, ALICE = "app-mi", "alice@contoso.example"
FEDERATED = {"issuer": "https://cluster.example", "subject": "system:serviceaccount:shop:orders"}
PIPELINE = {
    "issuer": "https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0",
    "subject": "sc://contoso/shop/orders-api",
}
RESOURCE_ID = (
    "/subscriptions/99999999-0000-0000-0000-0000000000a5/resourceGroups/emulator/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/"
)
SERVICE_CONNECTION = "55555555-0000-0000-0000-000000000001"


class Flavour:
    """One of the two modules, and how its credentials are asked."""

    def __init__(self, module: ModuleType, target: Target, record_property: Callable[[str, object], None]) -> None:
        self.module = module
        self.is_async = module is aio
        self._target = target
        self._record = record_property

    def __getattr__(self, name: str) -> Any:
        return getattr(self.module, name)

    def logs_in(self, credential: Any, role: str, *, user: str | None = None) -> None:
        """Asks as a client of the Azure SDK does, then connects. `user`: where the token tells no name."""
        scope = pgentra.AZURE_DB_FOR_POSTGRES_SCOPE
        target = self._target.but(user=user, entra={"credential": credential})

        async def awaited() -> tuple[Any, str]:
            async with credential:
                return await credential.get_token(scope), await ASYNC.who_async(target)

        if self.is_async:
            token, logged_in = asyncio.run(awaited())
        else:
            with credential:
                token, logged_in = credential.get_token(scope), SYNC.who(target)
        assert logged_in == role
        # What lasts for some seconds "from now" ends so much later as it was on its way.
        assert abs(pgentra.decode_jwt(token.token)["exp"] - token.expires_on) < 30
        assert token.expires_on > time.time()
        self._record("works", f"{type(credential).__name__} in {'Python aio' if self.is_async else 'Python'}")


@pytest.fixture(params=[identity, aio], ids=["sync", "aio"])
def flavour(request: pytest.FixtureRequest, target: Target, record_property: Callable[[str, object], None]) -> Flavour:
    return Flavour(request.param, target, record_property)


@pytest.fixture
def nowhere(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a managed identity."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.delenv(name)


def application(emulator: Emulator, **settings: Any) -> Principal:
    return emulator.add_principal("service_principal", **settings)


def by_name(emulator: Emulator, application: Principal) -> dict[str, str]:
    """The arguments that every application has."""
    return {"tenant_id": emulator.tenant_id, "client_id": application.appid, "authority": emulator.authority_host}


# Where a program runs


def test_default(flavour: Flavour, identity: Principal) -> None:
    flavour.logs_in(flavour.DefaultAzureCredential(managed_identity_client_id=identity.appid), identity.name)


def test_default_of_a_developer(
    flavour: Flavour, emulator: Emulator, nowhere: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = emulator.add_principal("user")
    monkeypatch.setenv("PATH", emulator.tools(user.name), prepend=os.pathsep)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "dev")
    flavour.logs_in(flavour.DefaultAzureCredential(additionally_allowed_tenants=[user.oid]), user.name)


def test_chained(flavour: Flavour, emulator: Emulator, identity: Principal) -> None:
    def theirs() -> tuple[str, int]:
        minted = emulator.mint(identity.name, named=True)
        return minted.token, minted.expires_on

    chain = flavour.ChainedTokenCredential(
        flavour.EnvironmentCredential(), flavour.WorkloadIdentityCredential(), theirs
    )
    flavour.logs_in(chain, identity.name)
    chain = flavour.ChainedTokenCredential(
        flavour.EnvironmentCredential(), flavour.ManagedIdentityCredential(client_id=identity.appid)
    )
    flavour.logs_in(chain, identity.name)


@pytest.mark.parametrize("proof", ["secret", "certificate"])
def test_environment(flavour: Flavour, emulator: Emulator, proof: str, monkeypatch: pytest.MonkeyPatch) -> None:
    service = application(emulator, certificates=[str(CERTIFICATES / "no-key.pem")])
    assert service.secret is not None
    monkeypatch.setenv("AZURE_TENANT_ID", emulator.tenant_id)
    monkeypatch.setenv("AZURE_CLIENT_ID", service.appid)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", emulator.authority_host)
    if proof == "secret":
        monkeypatch.setenv("AZURE_CLIENT_SECRET", service.secret)
    else:
        monkeypatch.setenv("AZURE_CLIENT_CERTIFICATE_PATH", str(CERTIFICATES / "app.pem"))
    flavour.logs_in(flavour.EnvironmentCredential(), service.name, user=service.name)


@pytest.mark.parametrize("way", ["entra", "token_proxy"])
def test_workload_identity(
    flavour: Flavour, emulator: Emulator, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    workload = application(emulator, federated_credentials=[FEDERATED])
    file = tmp_path / "azure-identity-token"
    file.write_text(emulator.mint(workload.name, federated=FEDERATED).token + "\n")
    monkeypatch.setenv("AZURE_TENANT_ID", emulator.tenant_id)
    monkeypatch.setenv("AZURE_CLIENT_ID", workload.appid)
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", str(file))
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", emulator.authority_host)
    if way == "token_proxy":
        for name, value in emulator.hosts["token_proxy"].items():
            monkeypatch.setenv(name, value)
    credential = flavour.WorkloadIdentityCredential(use_token_proxy=way == "token_proxy")
    flavour.logs_in(credential, workload.name, user=workload.name)
    assert emulator.counter("token_proxy").total == (way == "token_proxy")


@pytest.mark.parametrize("place", ["app_service", "imds", "azure_arc", "azure_ml", "service_fabric", "cloud_shell"])
def test_managed_identity(
    flavour: Flavour,
    emulator: Emulator,
    identity: Principal,
    place: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if place != "app_service":
        request.getfixturevalue("nowhere")
        for name, value in emulator.hosts[place].items():
            monkeypatch.setenv(name, value)
    if place in ("service_fabric", "cloud_shell"):
        # They refuse to be asked for one identity of many. What was fetched in the other flavour is as good.
        credential, role = flavour.ManagedIdentityCredential(), {"service_fabric": APP, "cloud_shell": ALICE}[place]
    else:
        credential, role = flavour.ManagedIdentityCredential(client_id=identity.appid), identity.name
    flavour.logs_in(credential, role)
    if role == identity.name:
        assert emulator.requests(place, principal=identity)


@pytest.mark.parametrize("by", ["object_id", "resource_id"])
def test_managed_identity_by_its_other_names(
    flavour: Flavour, emulator: Emulator, identity: Principal, by: str
) -> None:
    name = identity.oid if by == "object_id" else RESOURCE_ID + identity.name
    flavour.logs_in(flavour.ManagedIdentityCredential(identity_config={by: name}), identity.name)


# Who signs in where programs are written


@pytest.mark.parametrize("tool", ["AzureCliCredential", "AzureDeveloperCliCredential", "AzurePowerShellCredential"])
def test_developer_tool(
    flavour: Flavour, emulator: Emulator, nowhere: None, tool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = emulator.add_principal("user")
    monkeypatch.setenv("PATH", emulator.tools(user.name), prepend=os.pathsep)
    flavour.logs_in(getattr(flavour, tool)(), user.name)


# Applications


def test_client_secret(flavour: Flavour, emulator: Emulator) -> None:
    service = application(emulator)
    credential = flavour.ClientSecretCredential(**by_name(emulator, service), client_secret=service.secret)
    flavour.logs_in(credential, service.name, user=service.name)


FILES: dict[str, dict[str, Any]] = {
    "pem": {"certificate_path": CERTIFICATES / "app.pem"},
    "encrypted-pem": {"certificate_path": str(CERTIFICATES / "encrypted.pem"), "password": PASSWORD},
    "pfx": {"certificate_path": CERTIFICATES / "app.pfx", "password": PASSWORD.encode()},
    "pem-bytes": {"certificate_data": (CERTIFICATES / "app.pem").read_bytes()},
    "pfx-bytes": {"certificate_data": (CERTIFICATES / "app.pfx").read_bytes(), "password": PASSWORD},
}


@pytest.mark.parametrize("file", FILES)
def test_client_certificate(flavour: Flavour, emulator: Emulator, file: str) -> None:
    service = application(emulator, certificates=[str(CERTIFICATES / "no-key.pem")])
    credential = flavour.ClientCertificateCredential(**by_name(emulator, service), **FILES[file])
    flavour.logs_in(credential, service.name, user=service.name)


def test_client_certificate_known_by_its_chain(flavour: Flavour, emulator: Emulator) -> None:
    """The file has the root first."""
    text = (CERTIFICATES / "chain.pem").read_text()
    end = "-----END CERTIFICATE-----\n"
    root = text[: text.index(end) + len(end)]
    service = application(emulator, trusted_subjects=[{"subject": "leaf", "issuer": root}])
    credential = flavour.CertificateCredential(
        **by_name(emulator, service), certificate_path=CERTIFICATES / "chain.pem", send_certificate_chain=True
    )
    flavour.logs_in(credential, service.name, user=service.name)


def asserting(emulator: Emulator, service: Principal, federated: dict[str, str], how: str) -> Any:
    """A callback that returns what a cluster asserts of the application."""

    def function() -> str:
        return emulator.mint(service.name, federated=federated).token

    async def awaitable() -> str:
        await asyncio.sleep(0)
        return await asyncio.to_thread(function)

    return function if how == "function" else awaitable


@pytest.mark.parametrize("how", ["function", "awaitable"])
def test_client_assertion(flavour: Flavour, emulator: Emulator, how: str) -> None:
    service = application(emulator, federated_credentials=[FEDERATED])
    credential = flavour.ClientAssertionCredential(
        **by_name(emulator, service), func=asserting(emulator, service, FEDERATED, how)
    )
    flavour.logs_in(credential, service.name, user=service.name)


PROOFS = ["secret", "pem", "pfx", "function", "awaitable"]


@pytest.mark.parametrize("proof", PROOFS)
def test_on_behalf_of(flavour: Flavour, emulator: Emulator, proof: str) -> None:
    service = application(
        emulator, certificates=[str(CERTIFICATES / "no-key.pem")], federated_credentials=[FEDERATED], role=False
    )
    user = emulator.add_principal("user")
    proofs: dict[str, dict[str, Any]] = {
        "secret": {"client_secret": service.secret},
        "pem": {"client_certificate": (CERTIFICATES / "app.pem").read_bytes()},
        "pfx": {"client_certificate": (CERTIFICATES / "app.pfx").read_bytes(), "password": PASSWORD},
    }
    proven = proofs.get(proof) or {"client_assertion_func": asserting(emulator, service, FEDERATED, proof)}
    credential = flavour.OnBehalfOfCredential(
        **by_name(emulator, service), user_assertion=emulator.sent_to(service, user.name), **proven
    )
    flavour.logs_in(credential, user.name)


def test_azure_pipelines(flavour: Flavour, emulator: Emulator, nowhere: None, monkeypatch: pytest.MonkeyPatch) -> None:
    service = application(emulator, federated_credentials=[PIPELINE])
    task = emulator.hosts["azure_pipelines"]
    monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", task["SYSTEM_OIDCREQUESTURI"])
    credential = flavour.AzurePipelinesCredential(
        **by_name(emulator, service),
        service_connection_id=SERVICE_CONNECTION,
        system_access_token=task["SYSTEM_ACCESSTOKEN"],
    )
    flavour.logs_in(credential, service.name, user=service.name)


def test_static_token(flavour: Flavour, emulator: Emulator, identity: Principal) -> None:
    minted = emulator.mint(identity.name, named=True)
    flavour.logs_in(flavour.StaticTokenCredential(minted.token), identity.name)


def test_every_class_is_here() -> None:
    """By the tests above, read as text: a new class has to be added here."""
    text = Path(__file__).read_text()
    classes = {name for name in identity.__all__ if name.endswith("Credential")}
    assert {name for name in classes if name not in text} == set()
