"""Every credential of `pgentra.identity`: a token, and a login as the expected role.

The tests run for each *flavour*: a language whose credentials Python can call. Each credential that works is recorded
as `works: CLASS in LANGUAGE`, which `tools/matrix.py` reads.
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
from support.emulator import ROOT, Emulator, Principal

CERTIFICATES = ROOT / "tests" / "vectors" / "certificates"
PASSWORD = "canary-password"
#: The identities that the emulator's endpoints use if the request names none.
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
    """A language: the module with the classes of its credentials, and how they are called."""

    def __init__(self, language: str, module: ModuleType, record_property: Callable[[str, object], None]) -> None:
        self._language = language
        self._module = module
        self._record = record_property

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)

    def log_in(self, credential: Any, user: str | None) -> tuple[str, int, str]:
        """Returns a token as clients of the Azure SDK request it, its expiry, and the role of a connection."""
        raise NotImplementedError

    def logs_in(self, credential: Any, role: str, *, user: str | None = None) -> None:
        """Tests a credential. `user` is given for tokens that contain no name."""
        token, expires_on, logged_in = self.log_in(credential, user)
        assert logged_in == role
        # The expiry is computed from the token's lifetime after the response has arrived.
        assert abs(pgentra.decode_jwt(token)["exp"] - expires_on) < 30
        assert expires_on > time.time()
        self._record("works", f"{type(credential).__name__} in {self._language}")


def application(emulator: Emulator, **settings: Any) -> Principal:
    return emulator.add_principal("service_principal", **settings)


def by_name(emulator: Emulator, application: Principal) -> dict[str, str]:
    """Returns the arguments that every application has."""
    return {"tenant_id": emulator.tenant_id, "client_id": application.appid, "authority": emulator.authority_host}


FILES: dict[str, dict[str, Any]] = {
    "pem": {"certificate_path": CERTIFICATES / "app.pem"},
    "encrypted-pem": {"certificate_path": str(CERTIFICATES / "encrypted.pem"), "password": PASSWORD},
    "pfx": {"certificate_path": CERTIFICATES / "app.pfx", "password": PASSWORD.encode()},
    "pem-bytes": {"certificate_data": (CERTIFICATES / "app.pem").read_bytes()},
    "pfx-bytes": {"certificate_data": (CERTIFICATES / "app.pfx").read_bytes(), "password": PASSWORD},
}


def asserting(emulator: Emulator, service: Principal, federated: dict[str, str], how: str) -> Any:
    """Returns a callback that returns a cluster's assertion for the application."""

    def function() -> str:
        return emulator.mint(service.name, federated=federated).token

    async def awaitable() -> str:
        await asyncio.sleep(0)
        return await asyncio.to_thread(function)

    return function if how == "function" else awaitable


PROOFS = ["secret", "pem", "pfx", "function", "awaitable"]


class EveryCredential:
    """The tests. The module that runs them has the fixtures `flavour`, `emulator` and `identity`."""

    @pytest.fixture
    def nowhere(self, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
        """An environment without a managed identity."""
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.delenv(name)

    # Credentials from the environment

    def test_default(self, flavour: Flavour, identity: Principal) -> None:
        flavour.logs_in(flavour.DefaultAzureCredential(managed_identity_client_id=identity.appid), identity.name)

    def test_default_of_a_developer(
        self, flavour: Flavour, emulator: Emulator, nowhere: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = emulator.add_principal("user")
        monkeypatch.setenv("PATH", emulator.tools(user.name), prepend=os.pathsep)
        monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "dev")
        flavour.logs_in(flavour.DefaultAzureCredential(additionally_allowed_tenants=[user.oid]), user.name)

    def test_chained(self, flavour: Flavour, emulator: Emulator, identity: Principal) -> None:
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
    def test_environment(
        self, flavour: Flavour, emulator: Emulator, proof: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
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
        self, flavour: Flavour, emulator: Emulator, way: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
        credential = flavour.WorkloadIdentityCredential(enable_azure_proxy=way == "token_proxy")
        flavour.logs_in(credential, workload.name, user=workload.name)
        assert emulator.counter("token_proxy").total == (way == "token_proxy")

    @pytest.mark.parametrize("place", ["app_service", "imds", "azure_arc", "azure_ml", "service_fabric", "cloud_shell"])
    def test_managed_identity(
        self,
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
            # These endpoints have one identity. The token may be cached from the other flavour.
            credential, role = flavour.ManagedIdentityCredential(), {"service_fabric": APP, "cloud_shell": ALICE}[place]
        else:
            credential, role = flavour.ManagedIdentityCredential(client_id=identity.appid), identity.name
        flavour.logs_in(credential, role)
        if role == identity.name:
            assert emulator.requests(place, principal=identity)

    @pytest.mark.parametrize("by", ["object_id", "resource_id"])
    def test_managed_identity_by_its_other_names(
        self, flavour: Flavour, emulator: Emulator, identity: Principal, by: str
    ) -> None:
        name = identity.oid if by == "object_id" else RESOURCE_ID + identity.name
        flavour.logs_in(flavour.ManagedIdentityCredential(identity_config={by: name}), identity.name)

    # Developer tools

    @pytest.mark.parametrize("tool", ["AzureCliCredential", "AzureDeveloperCliCredential", "AzurePowerShellCredential"])
    def test_developer_tool(
        self, flavour: Flavour, emulator: Emulator, nowhere: None, tool: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        user = emulator.add_principal("user")
        monkeypatch.setenv("PATH", emulator.tools(user.name), prepend=os.pathsep)
        flavour.logs_in(getattr(flavour, tool)(), user.name)

    # Applications

    def test_client_secret(self, flavour: Flavour, emulator: Emulator) -> None:
        service = application(emulator)
        credential = flavour.ClientSecretCredential(**by_name(emulator, service), client_secret=service.secret)
        flavour.logs_in(credential, service.name, user=service.name)

    @pytest.mark.parametrize("file", FILES)
    def test_client_certificate(self, flavour: Flavour, emulator: Emulator, file: str) -> None:
        service = application(emulator, certificates=[str(CERTIFICATES / "no-key.pem")])
        credential = flavour.ClientCertificateCredential(**by_name(emulator, service), **FILES[file])
        flavour.logs_in(credential, service.name, user=service.name)

    def test_client_certificate_known_by_its_chain(self, flavour: Flavour, emulator: Emulator) -> None:
        """The file contains the root first."""
        text = (CERTIFICATES / "chain.pem").read_text()
        end = "-----END CERTIFICATE-----\n"
        root = text[: text.index(end) + len(end)]
        service = application(emulator, trusted_subjects=[{"subject": "leaf", "issuer": root}])
        credential = flavour.CertificateCredential(
            **by_name(emulator, service), certificate_path=CERTIFICATES / "chain.pem", send_certificate_chain=True
        )
        flavour.logs_in(credential, service.name, user=service.name)

    @pytest.mark.parametrize("how", ["function", "awaitable"])
    def test_client_assertion(self, flavour: Flavour, emulator: Emulator, how: str) -> None:
        service = application(emulator, federated_credentials=[FEDERATED])
        credential = flavour.ClientAssertionCredential(
            **by_name(emulator, service), func=asserting(emulator, service, FEDERATED, how)
        )
        flavour.logs_in(credential, service.name, user=service.name)

    @pytest.mark.parametrize("proof", PROOFS)
    def test_on_behalf_of(self, flavour: Flavour, emulator: Emulator, proof: str) -> None:
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

    def test_azure_pipelines(
        self, flavour: Flavour, emulator: Emulator, nowhere: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service = application(emulator, federated_credentials=[PIPELINE])
        task = emulator.hosts["azure_pipelines"]
        monkeypatch.setenv("SYSTEM_OIDCREQUESTURI", task["SYSTEM_OIDCREQUESTURI"])
        credential = flavour.AzurePipelinesCredential(
            **by_name(emulator, service),
            service_connection_id=SERVICE_CONNECTION,
            system_access_token=task["SYSTEM_ACCESSTOKEN"],
        )
        flavour.logs_in(credential, service.name, user=service.name)

    def test_static_token(self, flavour: Flavour, emulator: Emulator, identity: Principal) -> None:
        minted = emulator.mint(identity.name, named=True)
        flavour.logs_in(flavour.StaticTokenCredential(minted.token), identity.name)
