"""The credentials of pgentra, with the names and arguments of ``azure.identity``.

Each may be passed wherever the Azure SDK for Python takes a credential. Their awaitable twins are in
:mod:`pgentra.identity.aio`; drivers take either kind. Options of the Azure SDK's pipeline that mean nothing here
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


class DefaultAzureCredential(_classes.DefaultAzureCredential, SyncCredential):
    __doc__ = _classes.DefaultAzureCredential.__doc__


class ChainedTokenCredential(_classes.ChainedTokenCredential, SyncCredential):
    __doc__ = _classes.ChainedTokenCredential.__doc__


class EnvironmentCredential(_classes.EnvironmentCredential, SyncCredential):
    __doc__ = _classes.EnvironmentCredential.__doc__


class WorkloadIdentityCredential(_classes.WorkloadIdentityCredential, SyncCredential):
    __doc__ = _classes.WorkloadIdentityCredential.__doc__


class ManagedIdentityCredential(_classes.ManagedIdentityCredential, SyncCredential):
    __doc__ = _classes.ManagedIdentityCredential.__doc__


class AzureCliCredential(_classes.AzureCliCredential, SyncCredential):
    __doc__ = _classes.AzureCliCredential.__doc__


class AzureDeveloperCliCredential(_classes.AzureDeveloperCliCredential, SyncCredential):
    __doc__ = _classes.AzureDeveloperCliCredential.__doc__


class AzurePowerShellCredential(_classes.AzurePowerShellCredential, SyncCredential):
    __doc__ = _classes.AzurePowerShellCredential.__doc__


class AzurePipelinesCredential(_classes.AzurePipelinesCredential, SyncCredential):
    __doc__ = _classes.AzurePipelinesCredential.__doc__


class ClientSecretCredential(_classes.ClientSecretCredential, SyncCredential):
    __doc__ = _classes.ClientSecretCredential.__doc__


class ClientCertificateCredential(_classes.ClientCertificateCredential, SyncCredential):
    __doc__ = _classes.ClientCertificateCredential.__doc__


CertificateCredential = ClientCertificateCredential
"""As the Azure SDK for Python calls it."""


class ClientAssertionCredential(_classes.ClientAssertionCredential, SyncCredential):
    __doc__ = _classes.ClientAssertionCredential.__doc__


class OnBehalfOfCredential(_classes.OnBehalfOfCredential, SyncCredential):
    __doc__ = _classes.OnBehalfOfCredential.__doc__


class StaticTokenCredential(_classes.StaticTokenCredential, SyncCredential):
    __doc__ = _classes.StaticTokenCredential.__doc__
