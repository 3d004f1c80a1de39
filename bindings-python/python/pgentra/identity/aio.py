"""The awaitable credentials of pgentra, with the names and arguments of ``azure.identity.aio``.

They belong to no event loop: one object serves any number of them, one after the other or at once.
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


class DefaultAzureCredential(_classes.DefaultAzureCredential, AsyncCredential):
    __doc__ = _classes.DefaultAzureCredential.__doc__


class ChainedTokenCredential(_classes.ChainedTokenCredential, AsyncCredential):
    __doc__ = _classes.ChainedTokenCredential.__doc__


class EnvironmentCredential(_classes.EnvironmentCredential, AsyncCredential):
    __doc__ = _classes.EnvironmentCredential.__doc__


class WorkloadIdentityCredential(_classes.WorkloadIdentityCredential, AsyncCredential):
    __doc__ = _classes.WorkloadIdentityCredential.__doc__


class ManagedIdentityCredential(_classes.ManagedIdentityCredential, AsyncCredential):
    __doc__ = _classes.ManagedIdentityCredential.__doc__


class AzureCliCredential(_classes.AzureCliCredential, AsyncCredential):
    __doc__ = _classes.AzureCliCredential.__doc__


class AzureDeveloperCliCredential(_classes.AzureDeveloperCliCredential, AsyncCredential):
    __doc__ = _classes.AzureDeveloperCliCredential.__doc__


class AzurePowerShellCredential(_classes.AzurePowerShellCredential, AsyncCredential):
    __doc__ = _classes.AzurePowerShellCredential.__doc__


class AzurePipelinesCredential(_classes.AzurePipelinesCredential, AsyncCredential):
    __doc__ = _classes.AzurePipelinesCredential.__doc__


class ClientSecretCredential(_classes.ClientSecretCredential, AsyncCredential):
    __doc__ = _classes.ClientSecretCredential.__doc__


class ClientCertificateCredential(_classes.ClientCertificateCredential, AsyncCredential):
    __doc__ = _classes.ClientCertificateCredential.__doc__


CertificateCredential = ClientCertificateCredential
"""As the Azure SDK for Python calls it."""


class ClientAssertionCredential(_classes.ClientAssertionCredential, AsyncCredential):
    __doc__ = _classes.ClientAssertionCredential.__doc__


class OnBehalfOfCredential(_classes.OnBehalfOfCredential, AsyncCredential):
    __doc__ = _classes.OnBehalfOfCredential.__doc__


class StaticTokenCredential(_classes.StaticTokenCredential, AsyncCredential):
    __doc__ = _classes.StaticTokenCredential.__doc__
