"""Requests one token for each line of standard input, from azure-identity or from pgentra.identity.

The argument `aio` selects the awaitable classes.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import azure.identity
import azure.identity.aio
from azure.core.exceptions import ClientAuthenticationError

import pgentra.identity
import pgentra.identity.aio

IS_AIO = sys.argv[1:] == ["aio"]
MODULES: dict[str, Any] = {
    "peer": azure.identity.aio if IS_AIO else azure.identity,
    "ours": pgentra.identity.aio if IS_AIO else pgentra.identity,
}

#: Python's names of arguments, by the engine's names.
CLASSES = {"ClientCertificateCredential": "CertificateCredential"}
ARGUMENTS = {
    "ClientAssertionCredential": {"get_assertion": "func"},
    "ClientCertificateCredential": {"certificate_password": "password"},
    "OnBehalfOfCredential": {
        "certificate_path": "client_certificate",
        "get_assertion": "client_assertion_func",
        "user_assertion_token": "user_assertion",
    },
}
#: Classes without arguments of the HTTP pipeline.
TOOLS = ("AzureCliCredential", "AzureDeveloperCliCredential", "AzurePowerShellCredential")


def credential(module: Any, given: dict[str, Any]) -> Any:
    """Creates a scenario's credential from the class of that name in one of the modules."""
    name = given["class"]
    made = getattr(module, CLASSES.get(name, name))
    if members := given.get("credentials"):
        return made(*(credential(module, member) for member in members))
    arguments: dict[str, Any] = {} if name in TOOLS else {"disable_instance_discovery": True}
    for key, value in given.items():
        if key != "class":
            arguments[ARGUMENTS.get(name, {}).get(key, key)] = value
    for key in ("func", "client_assertion_func"):
        if assertion := arguments.get(key):
            arguments[key] = lambda assertion=assertion: assertion
    if file := arguments.get("client_certificate"):
        arguments["client_certificate"] = Path(file).read_bytes()
    identity = {key: arguments.pop(key) for key in ("object_id", "resource_id") if key in arguments}
    return made(**arguments, **({"identity_config": identity} if identity else {}))


async def awaited(asked: Any, scope: str, request: dict[str, Any]) -> Any:
    async with asked:
        return await asked.get_token(scope, **request)


def outcome(module: Any, given: dict[str, Any], request: dict[str, Any]) -> str:
    """Returns `token`, or the failure."""
    scope = request.pop("scope")
    try:
        asked = credential(module, given)
        found = asyncio.run(awaited(asked, scope, request)) if IS_AIO else asked.get_token(scope, **request)
        return "token" if found.token else "no token"
    except azure.identity.CredentialUnavailableError:
        return "unavailable"
    except ClientAuthenticationError as error:
        # Our errors derive from azure.core's, so that their kind decides.
        return "unavailable" if "Unavailable" in type(error).__name__ else "failed"
    except Exception as error:
        return f"failed ({type(error).__name__})"


def main() -> None:
    usual = dict(os.environ)
    for line in sys.stdin:
        job = json.loads(line)
        os.environ.clear()
        os.environ.update({**usual, **job["environment"]})
        result = outcome(MODULES[job["side"]], job["credential"], job["request"])
        print(json.dumps({"outcome": result}), flush=True)


if __name__ == "__main__":
    main()
