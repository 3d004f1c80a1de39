"""The credential classes, synchronous and awaitable from one description each."""

from __future__ import annotations

from os import fspath

from .. import _native
from .._credentials.source import CredentialSource, resolve, resolve_assertion, restore
from ..errors import PgEntraError, _for_azure
from ._options import Arguments

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Any

    # The Azure SDK's clients use these classes in their annotations, so type checkers must see them as base classes.
    from azure.core.credentials import AccessToken as _AccessToken
    from azure.core.credentials import AccessTokenInfo as _AccessTokenInfo
    from typing_extensions import Self

    from .._typing import CredentialLike
else:
    _AccessToken, _AccessTokenInfo = tuple, object


class AccessToken(_AccessToken):
    """A token and its expiry in seconds since the epoch; a pair, as the Azure SDK's. Its ``repr`` shows no token."""

    __slots__ = ()

    def __new__(cls, token: str, expires_on: int) -> Self:
        return tuple.__new__(cls, (token, expires_on))

    @property
    def token(self) -> str:
        """The token."""
        return self[0]

    @property
    def expires_on(self) -> int:
        """Its expiry in seconds since the epoch."""
        return self[1]

    def __getnewargs__(self) -> tuple[str, int]:
        return self[0], self[1]

    def __repr__(self) -> str:
        return f"AccessToken(expires_on={self.expires_on})"


class AccessTokenInfo(_AccessTokenInfo):
    """A token with its expiry, type and refresh point. Its ``repr`` shows no token."""

    __slots__ = ("expires_on", "refresh_on", "token", "token_type")

    def __init__(
        self, token: str, expires_on: int, *, token_type: str = "Bearer", refresh_on: int | None = None
    ) -> None:
        self.token = token
        self.expires_on = expires_on
        """Seconds since the epoch."""
        self.token_type = token_type
        self.refresh_on = refresh_on
        """The refresh point, in seconds since the epoch. A later call returns the newer token; it does not block."""

    def __repr__(self) -> str:
        return f"AccessTokenInfo(expires_on={self.expires_on}, token_type={self.token_type!r})"


class Credential:
    """Base of all credentials. They are immutable; credentials with equal settings share their tokens."""

    _pgentra_source: CredentialSource

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        # `help` shows only a class's own text. The text is in the base of the synchronous and the awaitable class.
        if cls.__doc__ is None:
            cls.__doc__ = cls.__mro__[1].__doc__

    def _set_up(self, kind: str, arguments: Arguments, /, assertion: Any = None, **own: Any) -> None:
        """``assertion``: the callback that the document calls ``get_assertion``."""
        members = []
        if assertion is not None:
            # The credential keeps the callback alive.
            self._assertion = assertion
            members.append(resolve_assertion(assertion))
            own["get_assertion"] = {"type": "custom_credential", "index": 0}
        document, variables, ca_file = arguments.finish(kind, own)
        # Refuses a missing option or a wrong type now, not at the first request.
        self._pgentra_source = CredentialSource.of(document, members, variables, ca_file)

    def _info(
        self,
        token: AccessToken,
        scope: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
    ) -> AccessTokenInfo:
        refresh_on = self._pgentra_source.refresh_on(scope, tenant_id, claims, bool(enable_cae))
        return AccessTokenInfo(*token, refresh_on=refresh_on)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __deepcopy__(self, _memo: Any) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        # The assertion's callable and the members of a chain are pickled as themselves.
        return {**self.__dict__, "_pgentra_source": self._pgentra_source.settings()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        members = [resolve(member) for member in state.get("_members", ())]
        if "_assertion" in state:
            members.append(resolve_assertion(state["_assertion"]))
        self._pgentra_source = restore(state["_pgentra_source"], members)


class SyncCredential(Credential):
    """``get_token`` and ``get_token_info``, for any client of the Azure SDK."""

    def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> AccessToken:
        """Returns a token for exactly one scope. If no usable token is cached, it blocks for at most ``timeout``
        seconds, 30 by default. Further keywords have no effect.

        Raises ``CredentialUnavailableError`` if the credential is not configured, otherwise ``AuthenticationError``; if
        ``azure.core`` is loaded, they are its ``ClientAuthenticationError`` too.
        """
        try:
            scope = _only(scopes, self)
            source = self._pgentra_source
            return AccessToken(*source.token(scope, tenant_id, claims, bool(enable_cae), limit=timeout))
        except PgEntraError as error:
            raise _for_azure(error) from error.__cause__

    def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> AccessTokenInfo:
        """As :meth:`get_token`; ``options`` may hold ``claims``, ``tenant_id`` and ``enable_cae``."""
        request = _request_options(options)
        return self._info(self.get_token(*scopes, **request), scopes[0], **request)

    def close(self) -> None:
        """Does nothing: cached tokens are shared with other credentials."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class AsyncCredential(Credential):
    """The awaitable ``get_token`` and ``get_token_info``, for any asynchronous client of the Azure SDK, on any event
    loop."""

    async def get_token(
        self,
        *scopes: str,
        claims: str | None = None,
        tenant_id: str | None = None,
        enable_cae: bool = False,
        timeout: float | None = None,
        **kwargs: Any,
    ) -> AccessToken:
        """As the synchronous method; never blocks the event loop."""
        try:
            scope = _only(scopes, self)
            source = self._pgentra_source
            return AccessToken(*await source.token_async(scope, tenant_id, claims, bool(enable_cae), limit=timeout))
        except PgEntraError as error:
            raise _for_azure(error) from error.__cause__

    async def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> AccessTokenInfo:
        """As :meth:`get_token`; ``options`` may hold ``claims``, ``tenant_id`` and ``enable_cae``."""
        request = _request_options(options)
        return self._info(await self.get_token(*scopes, **request), scopes[0], **request)

    async def close(self) -> None:
        """Does nothing: cached tokens are shared with other credentials."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


_MEMBERS = {
    "exclude_broker_credential": "BrokerCredential",
    "exclude_cli_credential": "AzureCliCredential",
    "exclude_developer_cli_credential": "AzureDeveloperCliCredential",
    "exclude_environment_credential": "EnvironmentCredential",
    "exclude_interactive_browser_credential": "InteractiveBrowserCredential",
    "exclude_managed_identity_credential": "ManagedIdentityCredential",
    "exclude_powershell_credential": "AzurePowerShellCredential",
    "exclude_shared_token_cache_credential": "SharedTokenCacheCredential",
    "exclude_visual_studio_code_credential": "VisualStudioCodeCredential",
    "exclude_workload_identity_credential": "WorkloadIdentityCredential",
}


class DefaultAzureCredential(Credential):
    """A chain of environment, workload identity, managed identity and developer tools.

    ``exclude_*_credential`` excludes a member; False includes a member that ``AZURE_TOKEN_CREDENTIALS`` excludes.
    ``managed_identity_client_id`` and ``workload_identity_client_id`` default to ``AZURE_CLIENT_ID``, also if they are
    None. ``process_timeout``: seconds for each developer tool, 10 by default. ``require_envvar``:
    ``AZURE_TOKEN_CREDENTIALS`` must be set. Further options: ``authority``, ``additionally_allowed_tenants``. Members
    that need a browser, a broker or an editor are unavailable.
    """

    def __init__(self, **kwargs: Any) -> None:
        arguments = Arguments("DefaultAzureCredential", kwargs)
        chosen = {member: arguments.take(name) for name, member in _MEMBERS.items()}
        arguments.ignore(
            "broker_client_id",
            "broker_tenant_id",
            "interactive_browser_client_id",
            "interactive_browser_tenant_id",
            "shared_cache_tenant_id",
            "shared_cache_username",
            "visual_studio_code_tenant_id",
        )
        tenant_id = arguments.take("workload_identity_tenant_id")
        self._set_up(
            "default",
            arguments,
            tenant_id=arguments.take("tenant_id", tenant_id),
            managed_identity_client_id=arguments.take("managed_identity_client_id"),
            managed_identity_resource_id=arguments.take("managed_identity_resource_id"),
            workload_identity_client_id=arguments.take("workload_identity_client_id"),
            process_timeout=arguments.take("process_timeout"),
            required_env_vars=["AZURE_TOKEN_CREDENTIALS"] if arguments.take("require_envvar") else None,
            exclude=[member for member, excluded in chosen.items() if excluded] or None,
            include=[member for member, excluded in chosen.items() if excluded is False] or None,
        )


class ChainedTokenCredential(Credential):
    """The given credentials in their order; it skips only members that are not configured.

    Members may be objects of the Azure SDK, or callables. Proxies and certificate authorities given to one member of
    this library apply to all of them.
    """

    def __init__(self, *credentials: CredentialLike) -> None:
        # The chain keeps its members alive.
        self._members = credentials
        references = [{"type": "custom_credential", "index": index} for index in range(len(credentials))]
        members = [resolve(member) for member in credentials]
        self._pgentra_source = CredentialSource.of({"type": "chained", "credentials": references}, members)


class EnvironmentCredential(Credential):
    """The application that the variables ``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID`` and ``AZURE_CLIENT_SECRET`` describe,
    or ``AZURE_CLIENT_CERTIFICATE_PATH`` instead of the secret.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._set_up("environment", Arguments("EnvironmentCredential", kwargs))


class WorkloadIdentityCredential(Credential):
    """A federated token in a file, as Kubernetes provides it.

    The arguments default to ``AZURE_TENANT_ID``, ``AZURE_CLIENT_ID`` and ``AZURE_FEDERATED_TOKEN_FILE``.
    ``enable_azure_proxy``: uses the cluster's own proxy if ``AZURE_KUBERNETES_TOKEN_PROXY`` names one.
    """

    def __init__(
        self,
        *,
        tenant_id: str | None = None,
        client_id: str | None = None,
        token_file_path: Any = None,
        **kwargs: Any,
    ) -> None:
        arguments = Arguments("WorkloadIdentityCredential", kwargs)
        self._set_up(
            "workload_identity",
            arguments,
            tenant_id=tenant_id,
            client_id=client_id,
            token_file_path=token_file_path,
            enable_azure_proxy=arguments.take("enable_azure_proxy"),
        )


class ManagedIdentityCredential(Credential):
    """The identity of the machine or service; without arguments the system-assigned one.

    ``client_id``, or ``identity_config`` with one of ``client_id``, ``object_id`` and ``resource_id``, names a
    user-assigned one.
    """

    def __init__(
        self, *, client_id: str | None = None, identity_config: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        arguments = Arguments("ManagedIdentityCredential", kwargs)
        if identity_config is not None and not hasattr(identity_config, "items"):
            raise arguments.refusal("identity_config", f"expected a mapping, got {type(identity_config).__name__}")
        given = dict(identity_config or {})
        if client_id is not None:
            if "client_id" in given:
                raise arguments.refusal(
                    "identity_config", "client_id is given twice, here and by the argument client_id"
                )
            given["client_id"] = client_id
        for name in given:
            if name not in ("client_id", "object_id", "resource_id"):
                raise arguments.refusal("identity_config", "expected client_id, object_id or resource_id")
        self._set_up("managed_identity", arguments, **given)


class AzureCliCredential(Credential):
    """The user that is signed in to the Azure CLI, by ``az login``."""

    def __init__(
        self,
        *,
        tenant_id: str | None = None,
        subscription: str | None = None,
        process_timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        arguments = Arguments("AzureCliCredential", kwargs)
        self._set_up(
            "azure_cli", arguments, tenant_id=tenant_id, subscription=subscription, process_timeout=process_timeout
        )


class AzureDeveloperCliCredential(Credential):
    """The user that is signed in to the Azure Developer CLI, by ``azd auth login``."""

    def __init__(self, *, tenant_id: str | None = None, process_timeout: float | None = None, **kwargs: Any) -> None:
        arguments = Arguments("AzureDeveloperCliCredential", kwargs)
        self._set_up("azure_developer_cli", arguments, tenant_id=tenant_id, process_timeout=process_timeout)


class AzurePowerShellCredential(Credential):
    """The user that is signed in to Azure PowerShell, by ``Connect-AzAccount``."""

    def __init__(self, *, tenant_id: str | None = None, process_timeout: float | None = None, **kwargs: Any) -> None:
        arguments = Arguments("AzurePowerShellCredential", kwargs)
        self._set_up("azure_powershell", arguments, tenant_id=tenant_id, process_timeout=process_timeout)


class AzurePipelinesCredential(Credential):
    """A task of Azure Pipelines, by its service connection.

    ``service_connection_id``: the ``resourceId`` in the connection's address. ``system_access_token``: the task's
    ``$(System.AccessToken)``, passed to it as a variable.
    """

    def __init__(
        self, *, tenant_id: str, client_id: str, service_connection_id: str, system_access_token: str, **kwargs: Any
    ) -> None:
        arguments = Arguments("AzurePipelinesCredential", kwargs)
        self._set_up(
            "azure_pipelines",
            arguments,
            organization_url=arguments.take("organization_url"),
            **arguments.required(
                tenant_id=tenant_id,
                client_id=client_id,
                service_connection_id=service_connection_id,
                system_access_token=system_access_token,
            ),
        )


class ClientSecretCredential(Credential):
    """An application and its secret."""

    def __init__(self, tenant_id: str, client_id: str, client_secret: str, **kwargs: Any) -> None:
        arguments = Arguments("ClientSecretCredential", kwargs)
        required = arguments.required(tenant_id=tenant_id, client_id=client_id, client_secret=client_secret)
        self._set_up("client_secret", arguments, **required)


class ClientCertificateCredential(Credential):
    """An application and its certificate, with the private key: PEM, encrypted or not, or PFX.

    ``certificate_path`` is read again when the file has changed; ``certificate_data``: the file's content instead.
    ``password``: of an encrypted key or a PFX. ``send_certificate_chain``: for registrations by subject name.
    """

    def __init__(
        self,
        tenant_id: str,
        client_id: str,
        certificate_path: Any = None,
        *,
        certificate_data: bytes | None = None,
        password: str | bytes | None = None,
        send_certificate_chain: bool = False,
        **kwargs: Any,
    ) -> None:
        arguments = Arguments("ClientCertificateCredential", kwargs)
        if not certificate_path and not certificate_data:
            raise arguments.refusal("certificate_path", "either `certificate_path` or `certificate_data` is required")
        self._set_up(
            "client_certificate",
            arguments,
            **arguments.required(tenant_id=tenant_id, client_id=client_id),
            certificate_path=fspath(certificate_path) if certificate_path else None,
            **arguments.certificate("certificate_data", certificate_data, password, send_certificate_chain),
        )


class ClientAssertionCredential(Credential):
    """An application and an assertion, issued by another identity provider.

    ``func`` returns the assertion; it is called for each fetch, on its own thread, and may be asynchronous. It may also
    be a credential whose tokens for ``api://AzureADTokenExchange`` are assertions.
    """

    def __init__(self, tenant_id: str, client_id: str, func: Any, **kwargs: Any) -> None:
        arguments = Arguments("ClientAssertionCredential", kwargs)
        own = arguments.required(tenant_id=tenant_id, client_id=client_id)
        if func is None:
            raise arguments.refusal("func", "expected a callable, got None")
        self._set_up("client_assertion", arguments, arguments.callback("func", func), **own)


class OnBehalfOfCredential(Credential):
    """An application that acts on behalf of its caller, a user.

    ``user_assertion``: the access token that the user sent. The application authenticates with one of
    ``client_secret``, ``client_certificate`` (the content of a PEM or PFX file; with ``password``,
    ``send_certificate_chain``) and ``client_assertion_func``. Tokens of different users are never mixed; make one
    credential for each call.
    """

    def __init__(
        self,
        tenant_id: str,
        client_id: str,
        *,
        user_assertion: str,
        client_secret: str | None = None,
        client_certificate: bytes | None = None,
        client_assertion_func: Any = None,
        password: str | bytes | None = None,
        send_certificate_chain: bool = False,
        **kwargs: Any,
    ) -> None:
        arguments = Arguments("OnBehalfOfCredential", kwargs)
        required = arguments.required(tenant_id=tenant_id, client_id=client_id, user_assertion=user_assertion)
        self._set_up(
            "on_behalf_of",
            arguments,
            arguments.callback("client_assertion_func", client_assertion_func),
            tenant_id=required["tenant_id"],
            client_id=required["client_id"],
            user_assertion_token=required["user_assertion"],
            client_secret=client_secret,
            **arguments.certificate("client_certificate", client_certificate, password, send_certificate_chain),
        )


class StaticTokenCredential(Credential):
    """A token from another source, for tests and for tokens that are passed in from outside.

    ``expires_on``: seconds since the epoch; default: the token's own ``exp`` claim, else an hour from its first use.
    """

    def __init__(self, token: str, expires_on: int | None = None, **kwargs: Any) -> None:
        arguments = Arguments("StaticTokenCredential", kwargs)
        if not token:
            raise arguments.refusal("token", "expected a text that is not empty")
        self._set_up("static_token", arguments, token=token, expires_on=expires_on)


def _only(scopes: tuple[str, ...], credential: Credential) -> str:
    if len(scopes) == 1 and isinstance(scopes[0], str) and scopes[0]:
        return scopes[0]
    message = f"get_token takes exactly one scope, a text that is not empty; got {len(scopes)}"
    raise _native.error("invalid_configuration", message, type(credential).__name__)


def _request_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: options[name] for name in ("claims", "tenant_id", "enable_cae") if name in options} if options else {}
