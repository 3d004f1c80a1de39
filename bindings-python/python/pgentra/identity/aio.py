"""The awaitable credentials of pgentra, with the names and arguments of ``azure.identity.aio``.

They belong to no event loop: one object works on any number of loops, one after the other or at once.
"""

from __future__ import annotations

from . import _classes
from ._classes import AccessToken, AccessTokenInfo, AsyncCredential

__all__ = [
    "AccessToken",
    "AccessTokenInfo",
    "AzureCliCredential",
    "AzureDeveloperCliCredential",
    "AzurePipelinesCredential",
    "AzurePowerShellCredential",
    "CertificateCredential",
    "ChainedTokenCredential",
    "ClientAssertionCredential",
    "ClientCertificateCredential",
    "ClientSecretCredential",
    "DefaultAzureCredential",
    "EnvironmentCredential",
    "ManagedIdentityCredential",
    "OnBehalfOfCredential",
    "StaticTokenCredential",
    "WorkloadIdentityCredential",
]


class DefaultAzureCredential(_classes.DefaultAzureCredential, AsyncCredential): ...


class ChainedTokenCredential(_classes.ChainedTokenCredential, AsyncCredential): ...


class EnvironmentCredential(_classes.EnvironmentCredential, AsyncCredential): ...


class WorkloadIdentityCredential(_classes.WorkloadIdentityCredential, AsyncCredential): ...


class ManagedIdentityCredential(_classes.ManagedIdentityCredential, AsyncCredential): ...


class AzureCliCredential(_classes.AzureCliCredential, AsyncCredential): ...


class AzureDeveloperCliCredential(_classes.AzureDeveloperCliCredential, AsyncCredential): ...


class AzurePowerShellCredential(_classes.AzurePowerShellCredential, AsyncCredential): ...


class AzurePipelinesCredential(_classes.AzurePipelinesCredential, AsyncCredential): ...


class ClientSecretCredential(_classes.ClientSecretCredential, AsyncCredential): ...


class ClientCertificateCredential(_classes.ClientCertificateCredential, AsyncCredential): ...


CertificateCredential = ClientCertificateCredential
"""The name in the Azure SDK for Python."""


class ClientAssertionCredential(_classes.ClientAssertionCredential, AsyncCredential): ...


class OnBehalfOfCredential(_classes.OnBehalfOfCredential, AsyncCredential): ...


class StaticTokenCredential(_classes.StaticTokenCredential, AsyncCredential): ...
