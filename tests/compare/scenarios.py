"""The scenarios: each is one credential, by class and arguments, in one environment of the emulator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from support.emulator import ROOT, Emulator

PEERS = ("python", "python aio", "node")
DATABASE = "https://ossrdbms-aad.database.windows.net/.default"
ORDERS_API = {"client_id": "11111111-0000-0000-0000-000000000005", "client_secret": "orders-api-secret"}
APP_MI = "11111111-0000-0000-0000-000000000001"
APP_MI_OBJECT = "aaaaaaaa-0000-0000-0000-000000000001"
APP_MI_RESOURCE = (
    "/subscriptions/99999999-0000-0000-0000-0000000000a5/resourceGroups/emulator/providers/"
    "Microsoft.ManagedIdentity/userAssignedIdentities/app-mi"
)


@dataclass(frozen=True)
class Scenario:
    """One credential and one request. Texts may contain names that `ScenarioContext.fill` replaces."""

    name: str
    credential: Mapping[str, Any]
    """Its class and arguments, by the engine's names; the workers translate them to their language's."""
    environment: Mapping[str, str] = field(default_factory=dict)
    hosts: str | None = None
    """The environment whose variables are set: a key of the emulator's `hosts`, or `app_service`."""
    tools: bool = False
    """Whether alice is signed in to developer tools."""
    fault: Mapping[str, Any] | None = None
    request: Mapping[str, Any] = field(default_factory=dict)
    peers: tuple[str, ...] = PEERS
    """The libraries that have this credential."""


CERTIFICATES = ROOT / "tests/vectors/certificates"
MARK = "-----END CERTIFICATE-----"


def first_certificate(file: Path) -> str:
    """The application's certificate of a PEM file, without the key."""
    text = file.read_text()
    return text[text.index("-----BEGIN CERTIFICATE") : text.index(MARK) + len(MARK)] + "\n"


def leaf_first(text: str) -> str:
    """The file's key and its certificates, from the application's to the authority's."""
    by_subject = {certificate.subject: certificate for certificate in load_pem_x509_certificates(text.encode())}
    issuers = {certificate.issuer for certificate in by_subject.values()}
    (link,) = (certificate for subject, certificate in by_subject.items() if subject not in issuers)
    chain = [link]
    while link.issuer != link.subject:
        link = by_subject[link.issuer]
        chain.append(link)
    key = text[text.index("-----BEGIN PRIVATE KEY") : text.index("-----END PRIVATE KEY-----")]
    certificates = [certificate.public_bytes(Encoding.PEM).decode() for certificate in chain]
    return "".join([key, "-----END PRIVATE KEY-----\n", *certificates])


class ScenarioContext:
    """The emulator, and the values to which scenarios refer."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        # MSAL uses the first certificate of a file as the application's.
        chain = folder / "chain.pem"
        chain.write_text(leaf_first((CERTIFICATES / "chain.pem").read_text()))
        certificates = [first_certificate(file) for file in (CERTIFICATES / "app.pem", chain)]
        federated = {"issuer": "https://oidc.example/cluster", "subject": "system:serviceaccount:shop:api"}
        application = emulator.add_principal(
            "service_principal", "certified-api", certificates=certificates, federated_credentials=[federated]
        )
        emulator.add_principal("user", "carol@contoso.example", requires_mfa=True)
        audience = ORDERS_API["client_id"]
        users = {name: emulator.mint(f"{name}@contoso.example", audience=audience).token for name in ("alice", "carol")}
        assertion = emulator.mint("app-mi", federated=federated).token
        file = folder / "federated-token"
        file.write_text(assertion)
        self.emulator = emulator
        self.tools = emulator.call("POST", "/tools", {"principal": "alice@contoso.example"})["path"]
        self._known = {
            "TENANT": emulator.tenant_id,
            "TOKEN_FILE": str(file),
            "ASSERTION": assertion,
            "CERTIFIED": application.appid,
            "CERTIFICATES": str(CERTIFICATES),
            "CHAIN": str(chain),
            "ALICE": users["alice"],
            "ALICE_TO_CERTIFIED": emulator.mint("alice@contoso.example", audience=application.appid).token,
            "CAROL": users["carol"],
        }

    def fill(self, value: Any) -> Any:
        """Returns the value with every `<NAME>` replaced."""
        if isinstance(value, Mapping):
            return {key: self.fill(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.fill(item) for item in value]
        if isinstance(value, str):
            for name, text in self._known.items():
                value = value.replace(f"<{name}>", text)
        return value


def _identity(name: str, hosts: str, **arguments: Any) -> Scenario:
    return Scenario(f"managed identity: {name}", {"class": "ManagedIdentityCredential", **arguments}, hosts=hosts)


def _secret(name: str, **changes: Any) -> Scenario:
    request = changes.pop("request", {})
    return Scenario(f"client secret: {name}", {**_SECRET, **changes}, request=request)


def _tool(kind: str, name: str, fault: Mapping[str, Any] | None = None, **more: Any) -> Scenario:
    arguments = more.pop("arguments", {})
    return Scenario(f"{kind}: {name}", {"class": _CLASSES[kind], **arguments}, tools=True, fault=fault, **more)


def _default(**arguments: Any) -> Mapping[str, Any]:
    return {"class": "DefaultAzureCredential", **arguments}


def _chain(name: str, *members: Mapping[str, Any], **more: Any) -> Scenario:
    return Scenario(f"chain: {name}", {"class": "ChainedTokenCredential", "credentials": members}, **more)


_WORKLOAD = {
    "AZURE_TENANT_ID": "<TENANT>",
    "AZURE_CLIENT_ID": APP_MI,
    "AZURE_FEDERATED_TOKEN_FILE": "<TOKEN_FILE>",
}
_SECRET = {"class": "ClientSecretCredential", "tenant_id": "<TENANT>", **ORDERS_API}
_CERTIFIED = {"class": "ClientCertificateCredential", "tenant_id": "<TENANT>", "client_id": "<CERTIFIED>"}
_FOR_ALICE = {"client_id": "<CERTIFIED>", "user_assertion_token": "<ALICE_TO_CERTIFIED>"}
_TASK = {
    "class": "AzurePipelinesCredential",
    "tenant_id": "<TENANT>",
    "client_id": ORDERS_API["client_id"],
    "system_access_token": "system-access-token",
}
_REFUSAL = {"aadsts": 50076, "description": "You must use multi-factor authentication."}
_TOOLS = ("azure_cli", "azure_developer_cli", "azure_powershell")
_CLASSES = {
    "azure_cli": "AzureCliCredential",
    "azure_developer_cli": "AzureDeveloperCliCredential",
    "azure_powershell": "AzurePowerShellCredential",
    "default": "DefaultAzureCredential",
}

SCENARIOS = [
    _secret("a token"),
    _secret("another tenant", additionally_allowed_tenants=["*"], request={"tenant_id": "contoso.example"}),
    _secret("another tenant that is not allowed", request={"tenant_id": "contoso.example"}),
    _secret("continuous access evaluation", request={"enable_cae": True}),
    _secret("a claims challenge", request={"claims": '{"access_token":{"nbf":{"essential":true,"value":"1"}}}'}),
    _secret("a wrong secret", client_secret="wrong"),
    Scenario(
        "client assertion",
        {
            "class": "ClientAssertionCredential",
            "tenant_id": "<TENANT>",
            "client_id": APP_MI,
            "get_assertion": "<ASSERTION>",
        },
    ),
    *[
        Scenario(f"client certificate: {name}", {**_CERTIFIED, "certificate_path": file, **more})
        for name, file, more in (
            ("PEM", "<CERTIFICATES>/app.pem", {}),
            ("with its chain", "<CHAIN>", {"send_certificate_chain": True}),
            ("another key", "<CERTIFICATES>/another-certificate.pem", {}),
            ("an encrypted key", "<CERTIFICATES>/encrypted.pem", {"certificate_password": "canary-password"}),
        )
    ],
    *[
        Scenario(f"on behalf of: {name}", {"class": "OnBehalfOfCredential", "tenant_id": "<TENANT>", **arguments})
        for name, arguments in (
            ("a user", {**ORDERS_API, "user_assertion_token": "<ALICE>"}),
            ("a user who has to act", {**ORDERS_API, "user_assertion_token": "<CAROL>"}),
            ("no token of a user", {**ORDERS_API, "user_assertion_token": "<ASSERTION>"}),
            ("by a certificate", {**_FOR_ALICE, "certificate_path": "<CERTIFICATES>/app.pem"}),
            (
                "by a certificate with its chain",
                {**_FOR_ALICE, "certificate_path": "<CHAIN>", "send_certificate_chain": True},
            ),
            ("by an assertion", {**_FOR_ALICE, "get_assertion": "<ASSERTION>"}),
            ("by an assertion that is none", {**_FOR_ALICE, "get_assertion": "no.token.atall"}),
        )
    ],
    Scenario(
        "pipelines: a task",
        {**_TASK, "service_connection_id": "55555555-0000-0000-0000-000000000001"},
        hosts="azure_pipelines",
    ),
    Scenario(
        "pipelines: an unknown connection", {**_TASK, "service_connection_id": "unknown"}, hosts="azure_pipelines"
    ),
    Scenario(
        "pipelines: a wrong access token",
        {**_TASK, "service_connection_id": "unknown", "system_access_token": "wrong"},
        hosts="azure_pipelines",
    ),
    Scenario(
        "environment: a certificate",
        {"class": "EnvironmentCredential"},
        {
            "AZURE_TENANT_ID": "<TENANT>",
            "AZURE_CLIENT_ID": "<CERTIFIED>",
            "AZURE_CLIENT_CERTIFICATE_PATH": "<CERTIFICATES>/app.pem",
        },
    ),
    Scenario(
        "environment: a secret",
        {"class": "EnvironmentCredential"},
        {
            "AZURE_TENANT_ID": "<TENANT>",
            "AZURE_CLIENT_ID": ORDERS_API["client_id"],
            "AZURE_CLIENT_SECRET": ORDERS_API["client_secret"],
        },
    ),
    Scenario("environment: nothing set", {"class": "EnvironmentCredential"}),
    Scenario("workload identity: Kubernetes' variables", {"class": "WorkloadIdentityCredential"}, _WORKLOAD),
    Scenario(
        "workload identity: the cluster's token proxy",
        {"class": "WorkloadIdentityCredential", "enable_azure_proxy": True},
        _WORKLOAD,
        hosts="token_proxy",
        peers=("python", "python aio"),
    ),
    Scenario(
        "workload identity: no file",
        {"class": "WorkloadIdentityCredential"},
        {**_WORKLOAD, "AZURE_FEDERATED_TOKEN_FILE": ""},
    ),
    _identity("IMDS", "imds"),
    _identity("IMDS by client id", "imds", client_id=APP_MI),
    _identity("IMDS by object id", "imds", object_id=APP_MI_OBJECT),
    _identity("IMDS by resource id", "imds", resource_id=APP_MI_RESOURCE),
    _identity("IMDS without the identity", "imds", client_id="unknown"),
    _identity("App Service", "app_service"),
    _identity("App Service by client id", "app_service", client_id=APP_MI),
    _identity("App Service by resource id", "app_service", resource_id=APP_MI_RESOURCE),
    _identity("App Service without the identity", "app_service", client_id="unknown"),
    _identity("Azure Arc", "azure_arc"),
    _identity("Azure Arc by client id", "azure_arc", client_id=APP_MI),
    _identity("Azure Arc by resource id", "azure_arc", resource_id=APP_MI_RESOURCE),
    _identity("Service Fabric", "service_fabric"),
    _identity("Service Fabric with an id", "service_fabric", client_id=APP_MI),
    _identity("Azure ML", "azure_ml"),
    _identity("Azure ML by client id", "azure_ml", client_id=APP_MI),
    _identity("Cloud Shell", "cloud_shell"),
    _identity("Cloud Shell with an id", "cloud_shell", client_id=APP_MI),
    *[
        scenario
        for kind in _TOOLS
        for scenario in (
            _tool(kind, "a token"),
            _tool(kind, "a tenant", arguments={"tenant_id": "<TENANT>"}),
            _tool(kind, "nobody is signed in", {"endpoint": "*", "error": "not_signed_in"}),
            _tool(kind, "a refusal of Entra", {"endpoint": "*", **_REFUSAL}),
            _tool(kind, "a page of HTML", {"endpoint": "*", "body": "html", "status": 200}),
        )
    ],
    _tool("azure_cli", "a subscription", arguments={"subscription": "My Subscription"}),
    _tool("azure_cli", "the local time alone", {"endpoint": "az", "shape": {"expires_on": "missing"}}),
    _tool(
        "azure_developer_cli",
        "a refusal, older form",
        {"endpoint": "azd", **_REFUSAL, "shape": {"escaped_errors": True}},
    ),
    _tool("azure_powershell", "without its module", {"endpoint": "pwsh", "error": "no_module"}),
    _tool("azure_powershell", "the execution policy", {"endpoint": "pwsh", "error": "execution_policy"}),
    Scenario("default: IMDS, after a probe", {"class": "DefaultAzureCredential"}, hosts="imds"),
    Scenario(
        "default: IMDS named alone",
        {"class": "DefaultAzureCredential"},
        {"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"},
        hosts="imds",
    ),
    Scenario(
        "default: App Service by AZURE_CLIENT_ID",
        {"class": "DefaultAzureCredential"},
        {"AZURE_CLIENT_ID": APP_MI},
        hosts="app_service",
    ),
    Scenario("default: workload identity", {"class": "DefaultAzureCredential"}, _WORKLOAD),
    _tool("default", "a developer's tools", environment={"AZURE_TOKEN_CREDENTIALS": "dev"}),
    _tool(
        "default",
        "az failed, the next tool is asked",
        {"endpoint": "az", **_REFUSAL},
        environment={"AZURE_TOKEN_CREDENTIALS": "dev"},
    ),
    Scenario(
        "default: a wrong secret stops it",
        {"class": "DefaultAzureCredential"},
        {
            "AZURE_TENANT_ID": "<TENANT>",
            "AZURE_CLIENT_ID": ORDERS_API["client_id"],
            # Different from the one above: MSAL for Python caches errors for a minute.
            "AZURE_CLIENT_SECRET": "wrong-too",
        },
        hosts="app_service",
    ),
    Scenario("default: App Service by client id", _default(managed_identity_client_id=APP_MI), hosts="app_service"),
    Scenario(
        "default: App Service by resource id",
        _default(managed_identity_resource_id=APP_MI_RESOURCE),
        hosts="app_service",
        peers=("node",),
    ),
    Scenario(
        "default: a workload",
        _default(workload_identity_client_id=APP_MI),
        {**_WORKLOAD, "AZURE_CLIENT_ID": "another"},
    ),
    Scenario(
        "default: a managed identity names the workload too",
        _default(managed_identity_client_id=APP_MI),
        {**_WORKLOAD, "AZURE_CLIENT_ID": "another"},
    ),
    Scenario(
        "default: another tenant",
        _default(additionally_allowed_tenants=["*"]),
        {
            "AZURE_TENANT_ID": "<TENANT>",
            "AZURE_CLIENT_ID": ORDERS_API["client_id"],
            "AZURE_CLIENT_SECRET": ORDERS_API["client_secret"],
        },
        request={"tenant_id": "contoso.example"},
    ),
    _tool(
        "default",
        "a tenant",
        environment={"AZURE_TOKEN_CREDENTIALS": "dev"},
        arguments={"tenant_id": "<TENANT>"},
        peers=("node",),
    ),
    Scenario(
        "default: App Service, without the members before it",
        _default(exclude_environment_credential=True, exclude_workload_identity_credential=True),
        {**_WORKLOAD, "AZURE_CLIENT_SECRET": "wrong"},
        hosts="app_service",
        peers=("python", "python aio"),
    ),
    _chain("the second has a token", {"class": "EnvironmentCredential"}, _SECRET),
    _chain("a wrong secret stops it", {**_SECRET, "client_secret": "wrong as well"}, _SECRET),
    _chain("nobody is there", {"class": "EnvironmentCredential"}, {"class": "AzureCliCredential"}),
    _chain(
        "in a chain",
        {"class": "ChainedTokenCredential", "credentials": [{"class": "EnvironmentCredential"}]},
        {"class": "ManagedIdentityCredential", "client_id": APP_MI},
        hosts="app_service",
    ),
    # At the end: @azure/identity never searches again for a PowerShell that it has not found once.
    *[Scenario(f"{kind}: not installed", {"class": _CLASSES[kind]}, {"PATH": "/nowhere"}) for kind in _TOOLS],
]
