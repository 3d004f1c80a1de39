"""The environments of the demonstration: the variables of each, its credential and its role."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from support.emulator import ROOT, Emulator, Principal

CERTIFICATES = ROOT / "tests" / "vectors" / "certificates"
#: The emulator's identities of an app, a machine and a developer.
APP, MACHINE, ALICE = "app-mi", "vm-prod", "alice@contoso.example"
FEDERATED = {"issuer": "https://cluster.example", "subject": "system:serviceaccount:shop:orders"}
LIMIT_S = 30


@dataclass(frozen=True)
class DemoEnvironment:
    """An environment: the credential that the default chain finds, the role, and the variables."""

    name: str
    credential: str
    role: str
    variables: dict[str, str] = field(default_factory=dict)


def environments(emulator: Emulator, folder: Path) -> Iterator[DemoEnvironment]:
    """Returns the environments; their files are written into `folder`."""
    managed_identity = "ManagedIdentityCredential"
    for name, host, role in (
        ("virtual machine", "imds", MACHINE),
        ("machine in Azure Arc", "azure_arc", MACHINE),
        ("Azure ML", "azure_ml", APP),
        ("Service Fabric", "service_fabric", APP),
        ("Cloud Shell", "cloud_shell", ALICE),
    ):
        yield DemoEnvironment(name, managed_identity, role, emulator.hosts[host])

    pod = emulator.add_principal("service_principal", "orders-pod", federated_credentials=[FEDERATED])
    file = folder / "azure-identity-token"
    file.write_text(emulator.mint(pod.name, federated=FEDERATED).token)
    of_pod = named(emulator, pod) | {"AZURE_FEDERATED_TOKEN_FILE": str(file)}
    yield DemoEnvironment("pod in Kubernetes", "WorkloadIdentityCredential", pod.name, of_pod)

    job = emulator.add_principal("service_principal", "nightly-job", certificates=[str(CERTIFICATES / "no-key.pem")])
    secret = {"AZURE_CLIENT_SECRET": job.secret or ""}
    yield DemoEnvironment("a secret", "EnvironmentCredential", job.name, named(emulator, job) | secret)
    certificate = {"AZURE_CLIENT_CERTIFICATE_PATH": str(CERTIFICATES / "app.pem")}
    yield DemoEnvironment("a certificate", "EnvironmentCredential", job.name, named(emulator, job) | certificate)

    path = os.pathsep.join([emulator.tools(ALICE), os.environ["PATH"]])
    for name, credential in (
        ("laptop with az", "AzureCliCredential"),
        ("laptop with azd", "AzureDeveloperCliCredential"),
        ("laptop with PowerShell", "AzurePowerShellCredential"),
    ):
        yield DemoEnvironment(name, credential, ALICE, {"PATH": path, "AZURE_TOKEN_CREDENTIALS": credential})


def named(emulator: Emulator, application: Principal) -> dict[str, str]:
    """Returns the variables that every application has. Its tokens contain no name."""
    return {
        "AZURE_TENANT_ID": emulator.tenant_id,
        "AZURE_CLIENT_ID": application.appid,
        "AZURE_AUTHORITY_HOST": emulator.authority_host,
        "PGUSER": application.name,
    }


def without_identity(environment: dict[str, str]) -> dict[str, str]:
    """Returns an environment without its managed identity."""
    return {name: value for name, value in environment.items() if name not in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER")}


def call_service(emulator: Emulator, folder: Path, environment: dict[str, str], node: str | None) -> str:
    """Calls a web service of the examples, in Node or in Python, as Alice; returns the response with its role."""
    application = emulator.add_principal("service_principal", f"shop-{'node' if node else 'python'}", role=False)
    # The examples use different names of these variables.
    settings = {
        "AZURE_TENANT_ID": emulator.tenant_id,
        "AZURE_CLIENT_ID": application.appid,
        "AZURE_CLIENT_SECRET": application.secret or "",
        "AZURE_AUTHORITY_HOST": emulator.authority_host,
        "PORT": "0",
    }
    settings |= {name.removeprefix("AZURE_"): value for name, value in settings.items()}
    python = (sys.executable, "python/on_behalf_of_service.py", "--port", "0")
    service = subprocess.Popen(
        (node, "node/web.js") if node else python,
        cwd=folder,
        env=without_identity(environment) | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert service.stdout is not None
        port = service.stdout.readline().split()[-1].removeprefix("http://127.0.0.1:").removesuffix("/me")
        token = emulator.sent_to(application, ALICE)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/me", headers={"Authorization": f"Bearer {token}"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=LIMIT_S) as response:
            text: str = response.read().decode()
            return text
    finally:
        service.terminate()
        service.wait(LIMIT_S)
