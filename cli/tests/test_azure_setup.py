"""docs/azure-setup.md: its SQL statements, and `pgentra whoami` and `pgentra doctor` with each environment's variables.

The emulator stands for Azure: it has the identity endpoints of the environments, and Azure's functions for roles.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, Cli

import pgentra
from support.emulator import Emulator, Principal

PAGE = (ROOT / "docs" / "azure-setup.md").read_text()
SQL = re.findall(r"^```sql\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PYTHON = re.findall(r"^```python environment\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

#: What the federated credentials of applications trust.
CLUSTER = {"issuer": "https://oidc.prod-aks.azure.com/cluster/", "subject": "system:serviceaccount:default:shop-api"}
GITHUB = {"issuer": "https://token.actions.githubusercontent.com", "subject": "repo:contoso/shop:ref:refs/heads/main"}
PIPELINE = {
    "issuer": "https://vstoken.dev.azure.com/99999999-0000-0000-0000-0000000000d0",
    "subject": "sc://contoso/shop/orders-api",
}
#: The emulator's service connection.
CONNECTION = "55555555-0000-0000-0000-000000000001"
NO_PLATFORM = {"IDENTITY_ENDPOINT": None, "IDENTITY_HEADER": None}

#: The principals that the page names, and whether their roles are created by object id.
NAMED = {
    "shop-api": "service_principal",
    "shop-job": "user_assigned",
    "shop-readers": "group",
    "anna@contoso.com": "user",
    "gina_fabrikam.com#EXT#@contoso.onmicrosoft.com": "guest",
}


def as_superuser(cli: Cli, statement: str, database: str = "postgres") -> str:
    done = subprocess.run(
        ["psql", cli.emulator.admin_dsn.replace("/postgres?", f"/{database}?"), "-qAtXc", statement],
        env=cli.environment,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.strip()


def run_as_administrator(cli: Cli, database: str, statements: str) -> None:
    """Runs statements as the server's Entra administrator, who is signed in to `az`."""
    tools = cli.emulator.tools("admin@contoso.example")
    cli.run(
        *("psql", "--dbname", database, "localhost", "-v", "ON_ERROR_STOP=1", "-c", statements),
        AZURE_TOKEN_CREDENTIALS="AzureCliCredential",
        IDENTITY_ENDPOINT=None,
        PATH=f"{tools}:{cli.environment['PATH']}",
    )


@pytest.fixture
def principals(cli: Cli) -> Iterator[dict[str, Principal]]:
    """The principals that the page names, without roles."""
    yield {name: cli.emulator.add_principal(kind, name, role=False) for name, kind in NAMED.items()}  # type: ignore[arg-type]
    as_superuser(cli, "; ".join(f'drop role if exists "{name}"' for name in NAMED))


def test_azure_setup_statements(cli: Cli, principals: dict[str, Principal]) -> None:
    roles, grants = SQL
    assert roles.count("pgaadauth_create_principal") == len(NAMED)
    roles = roles.replace("GROUP-OBJECT-ID", principals["shop-readers"].oid)
    run_as_administrator(cli, "postgres", roles.replace("OBJECT-ID", principals["shop-api"].oid))
    created = as_superuser(cli, "select rolname from pgaadauth_list_principals(false)").splitlines()
    assert set(NAMED) <= set(created)

    database = f"orders_{uuid.uuid4().hex}"
    run_as_administrator(cli, "postgres", f"create database {database}")
    try:
        run_as_administrator(cli, database, "create table before (id serial)")
        run_as_administrator(cli, database, grants)
        run_as_administrator(cli, database, "create table after (id serial)")
        application = principals["shop-api"]
        login: dict[str, Any] = {
            "AZURE_CLIENT_ID": application.appid,
            "AZURE_CLIENT_SECRET": application.secret,
            "AZURE_TENANT_ID": cli.emulator.tenant_id,
            "AZURE_AUTHORITY_HOST": cli.emulator.authority_host,
            "IDENTITY_ENDPOINT": None,
            "PGUSER": "shop-api",
        }
        for table in ("before", "after"):
            statement = f"insert into {table} default values; update {table} set id = 2; delete from {table}"
            cli.run("psql", "-d", database, "localhost", "-v", "ON_ERROR_STOP=1", "-c", statement, **login)
    finally:
        as_superuser(cli, f"drop database {database} with (force)")
        as_superuser(cli, 'drop owned by "shop-api"')


def variables_of(environment: str, emulator: Emulator, folder: Path) -> dict[str, Any]:
    """Returns the variables that the environment sets, as the page names them."""
    entra = {"AZURE_TENANT_ID": emulator.tenant_id, "AZURE_AUTHORITY_HOST": emulator.authority_host}
    user_assigned = "11111111-0000-0000-0000-000000000001"
    match environment:
        case "App Service, Container Apps":
            return {}
        case "App Service, user-assigned":
            return {"AZURE_CLIENT_ID": "11111111-0000-0000-0000-000000000002"}
        case "virtual machine":
            return {**NO_PLATFORM, **emulator.hosts["imds"]}
        case "virtual machine, user-assigned":
            return {**NO_PLATFORM, "AZURE_CLIENT_ID": user_assigned, **emulator.hosts["imds"]}
        case "Azure Arc":
            return {**NO_PLATFORM, **emulator.hosts["azure_arc"]}
        case "Service Fabric":
            return dict(emulator.hosts["service_fabric"])
        case "Azure Machine Learning":
            return {**NO_PLATFORM, **emulator.hosts["azure_ml"]}
        case "Cloud Shell":
            return {**NO_PLATFORM, **emulator.hosts["cloud_shell"]}
        case "AKS":
            file = folder / "azure-identity-token"
            file.write_text(emulator.mint("app-mi", federated=CLUSTER).token)
            return {**NO_PLATFORM, "AZURE_CLIENT_ID": user_assigned, "AZURE_FEDERATED_TOKEN_FILE": str(file), **entra}
        case "GitHub Actions":
            # azure/login signs `az` in. The emulator's `az` is a user's; PGUSER names the role of the user's group.
            tools = {"PATH": emulator.tools("alice@contoso.example")}
            return {"AZURE_TOKEN_CREDENTIALS": "AzureCliCredential", "PGUSER": "db-readers", **tools}
        case "secret":
            secret = {
                "AZURE_CLIENT_ID": "11111111-0000-0000-0000-000000000005",
                "AZURE_CLIENT_SECRET": "orders-api-secret",
            }
            return {**NO_PLATFORM, "PGUSER": "orders-api", **secret, **entra}
    raise AssertionError(environment)


#: The role of each environment, and the credential that `pgentra whoami` reports.
ENVIRONMENTS = {
    "App Service, Container Apps": ("app-mi", "ManagedIdentityCredential (App Service)"),
    "App Service, user-assigned": ("batch-mi", "ManagedIdentityCredential (App Service)"),
    "virtual machine": ("vm-prod", "ManagedIdentityCredential (IMDS)"),
    "virtual machine, user-assigned": ("app-mi", "ManagedIdentityCredential (IMDS)"),
    "Azure Arc": ("vm-prod", "ManagedIdentityCredential (Azure Arc)"),
    "Service Fabric": ("app-mi", "ManagedIdentityCredential (Service Fabric)"),
    "Azure Machine Learning": ("app-mi", "ManagedIdentityCredential (Azure Machine Learning)"),
    "Cloud Shell": ("alice@contoso.example", "ManagedIdentityCredential (Cloud Shell)"),
    "AKS": ("app-mi", "WorkloadIdentityCredential"),
    "GitHub Actions": ("db-readers", "AzureCliCredential"),
    "secret": ("orders-api", "EnvironmentCredential"),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_azure_setup_environment(cli: Cli, environment: str, tmp_path: Path) -> None:
    variables = variables_of(environment, cli.emulator, tmp_path)
    if "PATH" in variables:
        variables["PATH"] = f"{variables['PATH']}:{cli.environment['PATH']}"
    role, credential = ENVIRONMENTS[environment]
    found = cli.json("whoami", **variables)
    assert (found["user"], found["credential"]) == (role, f"DefaultAzureCredential > {credential}")
    checks = {check["id"]: check["status"] for check in cli.json("doctor", "localhost", **variables)["checks"]}
    assert (checks["credential"], checks["token"], checks["login"]) == ("ok", "ok", "ok")


def run_snippet(snippet: str, emulator: Emulator, application: Principal, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a snippet of the page and returns the client id of the token that its credential fetches."""
    for name in os.environ:
        if name.startswith(("AZURE_", "IDENTITY_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AZURE_AUTHORITY_HOST", emulator.authority_host)
    monkeypatch.setenv("SSL_CERT_FILE", emulator.bundle_file)
    monkeypatch.setenv("NO_PROXY", "localhost,127.0.0.1")
    snippet = snippet.replace("contoso.onmicrosoft.com", emulator.tenant_id)
    names: dict[str, Any] = {}
    exec(snippet.replace("11111111-0000-0000-0000-000000000005", application.appid), names)
    return str(pgentra.decode_jwt(pgentra.get_entra_token(names["credential"]))["appid"])


def test_azure_setup_snippet_for_github(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    application = emulator.add_principal("service_principal", federated_credentials=[GITHUB])

    class Issuer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorized = self.headers["Authorization"] == "Bearer of-the-job"
            assert authorized and self.path == "/token?api=1&audience=api://AzureADTokenExchange"
            body = json.dumps({"value": emulator.mint(application.name, federated=GITHUB).token}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Issuer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_URL", f"http://127.0.0.1:{server.server_port}/token?api=1")
        monkeypatch.setenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "of-the-job")
        assert run_snippet(PYTHON[0], emulator, application, monkeypatch) == application.appid
        server.shutdown()


def test_azure_setup_snippet_for_azure_pipelines(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    application = emulator.add_principal("service_principal", federated_credentials=[PIPELINE])
    for name, value in {
        "AZURESUBSCRIPTION_TENANT_ID": emulator.tenant_id,
        "AZURESUBSCRIPTION_CLIENT_ID": application.appid,
        "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": CONNECTION,
        **emulator.hosts["azure_pipelines"],
    }.items():
        monkeypatch.setenv(name, value)
    assert run_snippet(PYTHON[1], emulator, application, monkeypatch) == application.appid
