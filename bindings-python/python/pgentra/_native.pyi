"""The engine. Not public: applications use the names that this package's modules export."""

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, final

from typing_extensions import Self

from .errors import PgEntraError

__all__ = [
    "DATABASE_SCOPE",
    "MANAGEMENT_SCOPE",
    "UNTRUSTED_SETTINGS",
    "ConnectionPlan",
    "Credential",
    "CredentialHandle",
    "CustomCredential",
    "CustomTokenRequest",
    "Environment",
    "Provider",
    "UrlSettings",
    "__version__",
    "connection_plan",
    "decode_jwt",
    "environment",
    "error",
    "explain_login_error",
    "is_retriable",
    "parse_principal_name",
    "read_connection_string",
    "run_vector",
    "shutdown",
    "stats",
    "try_conninfo",
    "untrusted_error",
    "untrusted_login",
]

__version__: str
DATABASE_SCOPE: str
MANAGEMENT_SCOPE: str
UNTRUSTED_SETTINGS: list[tuple[str, str]]

@final
class Environment:
    """The environment variables that the engine reads, as they were at one moment."""

    def names(self) -> list[str]: ...
    def overlaid(self, variables: Mapping[str, str]) -> Environment:
        """Returns a copy in which ``variables`` replace its own."""

def environment() -> Environment:
    """Returns the current environment; the same object as long as nothing has changed."""

@final
class CustomTokenRequest:
    """A token request to a custom credential. The first response counts. If the request is dropped without a response,
    its waiting callers start another fetch."""

    @property
    def scope(self) -> str: ...
    def options(self) -> dict[str, Any]:
        """Returns the keyword arguments for ``get_token`` that the request sets: ``claims``, ``tenant_id``,
        ``enable_cae``."""

    def succeed(self, token: str, expires_on: int | None, refresh_on: int | None) -> None: ...
    def fail(self, error: BaseException, advice: str | None = None) -> None: ...
    def reject(self, what: str) -> None: ...
    def abandon(self) -> None: ...

@final
class CustomCredential:
    """A custom credential. ``begin`` is called on the dispatcher's thread and must not block."""

    def __new__(cls, name: str, begin: Callable[[CustomTokenRequest], None]) -> CustomCredential: ...

@final
class CredentialHandle:
    """The description of a credential: a document with the number of its custom credentials."""

    def __new__(
        cls,
        document: Mapping[str, Any],
        members: Sequence[CredentialHandle] = ...,
        variables: Mapping[str, str] | None = None,
        ca_file: Any = None,
    ) -> CredentialHandle:
        """In the document, ``{"type": "custom_credential", "index": n}`` refers to the n-th of ``members``. Raises
        ``CredentialValueError``."""

    @staticmethod
    def custom() -> CredentialHandle: ...
    @property
    def document(self) -> dict[str, Any]: ...
    @property
    def variables(self) -> dict[str, str]: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def is_custom(self) -> bool: ...
    def build(
        self,
        environment: Environment,
        custom_credentials: Sequence[CustomCredential],
        *,
        ca_file: str | None = None,
        host: str | None = None,
        scope: str | None = None,
    ) -> Credential:
        """Builds the credential. ``custom_credentials`` are in the order of ``index`` in the document."""

@final
class Credential:
    """A credential with its cache entries."""

    def try_token(
        self, scope: str, tenant_id: str | None, claims: str | None, enable_cae: bool
    ) -> tuple[str, int] | None: ...
    def token(
        self, scope: str, tenant_id: str | None, claims: str | None, enable_cae: bool, limit: float | None
    ) -> tuple[str, int]: ...
    def token_into(
        self,
        event_loop: AbstractEventLoop,
        future: Future[tuple[str, int]],
        scope: str,
        tenant_id: str | None,
        claims: str | None,
        enable_cae: bool,
        limit: float | None,
    ) -> None: ...
    def refresh_on(self, scope: str, tenant_id: str | None, claims: str | None, enable_cae: bool) -> int | None:
        """Returns the refresh point of the cached token, in seconds since the epoch."""

@final
class Provider:
    """The engine's token provider. ``limit`` is in seconds."""

    def __new__(
        cls, config: Mapping[str, Any], environment: Environment, credential: Credential | None
    ) -> Provider: ...
    def try_token(self) -> str | None: ...
    def token(self, limit: float | None) -> str: ...
    def token_into(self, event_loop: AbstractEventLoop, future: Future[str], limit: float | None) -> None: ...
    def try_login(self) -> tuple[str, str, str] | None: ...
    def login(self, limit: float | None) -> tuple[str, str, str]: ...
    def login_into(
        self, event_loop: AbstractEventLoop, future: Future[tuple[str, str, str]], limit: float | None
    ) -> None: ...
    def try_conninfo(self) -> dict[str, str] | None: ...
    def invalidate(self, token: str | None, limit: float | None) -> bool: ...
    def invalidate_into(
        self, event_loop: AbstractEventLoop, future: Future[bool], token: str | None, limit: float | None
    ) -> None: ...
    def stats(self) -> dict[str, Any]: ...

def decode_jwt(token: str) -> dict[str, Any]:
    """Returns all claims of a token, unverified. Raises ``TokenDecodeError``."""

def parse_principal_name(xms_mirid: str) -> str | None:
    """Returns the name of the user-assigned identity in an ``xms_mirid`` claim, or None."""

def read_connection_string(text: str, form: str) -> dict[str, str]:
    """Returns the settings of a connection string by libpq's keywords. Raises ``EntraConnectionValueError``."""

@final
class ConnectionPlan:
    """The core's decision how a connection logs in."""

    @property
    def uses_entra(self) -> bool: ...
    @property
    def user(self) -> str | None: ...
    @property
    def user_source(self) -> str | None: ...
    @property
    def sslmode(self) -> str | None: ...
    @property
    def host(self) -> str | None: ...
    @property
    def timeout(self) -> float | None: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def settings(self) -> dict[str, str]: ...
    @property
    def credential(self) -> dict[str, str] | None: ...
    def document(self) -> dict[str, Any]:
        """Returns the whole plan. It may contain secrets and must not be logged."""

def connection_plan(request: Mapping[str, Any], environment: Environment | None) -> ConnectionPlan:
    """Decides how a connection logs in. ``environment`` takes the place of the request's own. If the request has a
    ``service_connector``, all variables of the process are read. Raises ``EntraConnectionValueError`` and
    ``CredentialValueError``."""

def is_retriable(sqlstate: str | None, message: str) -> bool:
    """Returns whether a newer token may succeed after this login error."""

def explain_login_error(
    sqlstate: str | None, message: str, role: str, role_source: str, token: str, host: str | None = None
) -> str:
    """Returns lines to add to the server's message; empty if it is not a login error. ``host``: the names of the
    servers of a connection that does not use the variables of Azure Service Connector."""

def error(code: str, message: str, credential: str | None, advice: str | None = None) -> PgEntraError:
    """Returns the exception of an error kind, to be raised; ``advice`` replaces the kind's own advice."""

def stats() -> list[dict[str, Any]]: ...
def try_conninfo(clients: dict[Any, Any], credential: object) -> dict[str, str] | None:
    """As ``Provider.try_conninfo``, for a credential without options. ``clients`` maps the ``id`` of a credential to a
    tuple that begins with its provider and its environment."""

def run_vector(group: str, case: str, directory: str | PathLike[str]) -> str:
    """Returns the result of a case of the vectors. Only in builds for tests."""

def shutdown() -> bool:
    """Ends the engine's threads, within 1 s. Returns whether all log events were delivered."""

@final
class UrlSettings:
    """The settings of a connection URL with a token."""
    def __new__(cls, given: Mapping[str, str], environment: Environment) -> Self: ...
    def write(self, scheme: str, user: str, password: str) -> str:
        """Returns the URL, which is a secret."""

def untrusted_login(request: Mapping[str, Any], from_process: bool) -> tuple[str, str]:
    """Decides whether a connection whose settings do not come from the application may use a token: ``("token", "")``,
    ``("password", "")`` or ``("host_not_allowed", cause)``. With ``from_process``, the process's variables take the
    place of the request's ``environment``. Raises ``EntraConnectionValueError`` for a setting that is not permitted."""

def untrusted_error(cause: str) -> PgEntraError:
    """Returns the error of an untrusted connection that must not use a token."""
