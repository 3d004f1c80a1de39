"""Asks azure-identity, or the engine through its wheel, for one token a line of standard input."""

from __future__ import annotations

import asyncio  # noqa: F401  (a slow import is not part of any request)
import json
import os
import sys
from typing import Any

import azure.identity as peer
from azure.core.exceptions import ClientAuthenticationError

from pgentra._foreign import Source
from pgentra.identity._classes import SyncCredential


class Ours(SyncCredential):
    """Any credential of the engine, by its document."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._pgentra_source = Source(document)


def theirs(document: dict[str, Any]) -> Any:
    """The peer's credential of the same settings."""
    given = dict(document)
    kind = given.pop("type")
    discovery: dict[str, Any] = {"disable_instance_discovery": True}
    tenants: dict[str, Any] = {"additionally_allowed_tenants": given.pop("additionally_allowed_tenants", [])}
    if kind == "client_secret":
        return peer.ClientSecretCredential(**given, **discovery, **tenants)
    if kind == "client_assertion":
        token = given.pop("get_assertion")["token"]
        return peer.ClientAssertionCredential(**given, func=lambda: token, **discovery)
    if kind == "client_certificate":
        if password := given.pop("certificate_password", None):
            given["password"] = password
        return peer.CertificateCredential(**given, **discovery)
    if kind == "on_behalf_of":
        user = given.pop("user_assertion_token")
        return peer.OnBehalfOfCredential(**given, user_assertion=user, **discovery)
    if kind == "azure_pipelines":
        return peer.AzurePipelinesCredential(**given, **discovery)
    if kind == "environment":
        return peer.EnvironmentCredential(**discovery)
    if kind == "workload_identity":
        return peer.WorkloadIdentityCredential(**given, **discovery)
    if kind == "managed_identity":
        if client_id := given.pop("client_id", None):
            return peer.ManagedIdentityCredential(client_id=client_id)
        return peer.ManagedIdentityCredential(identity_config=given)
    if kind == "default":
        return peer.DefaultAzureCredential(**given, **discovery)
    tools = {
        "azure_cli": peer.AzureCliCredential,
        "azure_developer_cli": peer.AzureDeveloperCliCredential,
        "azure_powershell": peer.AzurePowerShellCredential,
    }
    return tools[kind](**given)


def outcome(build: Any, document: dict[str, Any], request: dict[str, Any]) -> str:
    """`token`, or how it failed."""
    scope = request.pop("scope")
    try:
        credential = build(document)
        return "token" if credential.get_token(scope, **request).token else "no token"
    except peer.CredentialUnavailableError:
        return "unavailable"
    except ClientAuthenticationError as error:
        # Ours is an error of azure.core by inheritance, whatever its kind.
        return "unavailable" if "Unavailable" in type(error).__name__ else "failed"
    except Exception as error:
        return f"failed ({type(error).__name__})"


def main() -> None:
    usual = dict(os.environ)
    for line in sys.stdin:
        job = json.loads(line)
        os.environ.clear()
        os.environ.update({**usual, **job["environment"]})
        build = Ours if job["side"] == "ours" else theirs
        print(json.dumps({"outcome": outcome(build, job["document"], job["request"])}), flush=True)


if __name__ == "__main__":
    main()
