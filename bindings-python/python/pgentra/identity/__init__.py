"""The credentials of pgentra, with the names and arguments of ``azure.identity``.

Each may be passed wherever the Azure SDK for Python takes a credential. The awaitable classes are in
:mod:`pgentra.identity.aio`; drivers accept both kinds. Options of the Azure SDK's pipeline that have no meaning here
(logging, user agent, policies, caches on disk) are accepted; transports and unknown options are refused.
"""

from __future__ import annotations

from . import _classes
from ._classes import AccessToken, AccessTokenInfo, SyncCredential

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


class DefaultAzureCredential(_classes.DefaultAzureCredential, SyncCredential): ...


class ChainedTokenCredential(_classes.ChainedTokenCredential, SyncCredential): ...


class EnvironmentCredential(_classes.EnvironmentCredential, SyncCredential): ...


class WorkloadIdentityCredential(_classes.WorkloadIdentityCredential, SyncCredential): ...


class ManagedIdentityCredential(_classes.ManagedIdentityCredential, SyncCredential): ...


class AzureCliCredential(_classes.AzureCliCredential, SyncCredential): ...


class AzureDeveloperCliCredential(_classes.AzureDeveloperCliCredential, SyncCredential): ...


class AzurePowerShellCredential(_classes.AzurePowerShellCredential, SyncCredential): ...


class AzurePipelinesCredential(_classes.AzurePipelinesCredential, SyncCredential): ...


class ClientSecretCredential(_classes.ClientSecretCredential, SyncCredential): ...


class ClientCertificateCredential(_classes.ClientCertificateCredential, SyncCredential): ...


CertificateCredential = ClientCertificateCredential
"""The name in the Azure SDK for Python."""


class ClientAssertionCredential(_classes.ClientAssertionCredential, SyncCredential): ...


class OnBehalfOfCredential(_classes.OnBehalfOfCredential, SyncCredential): ...


class StaticTokenCredential(_classes.StaticTokenCredential, SyncCredential): ...
