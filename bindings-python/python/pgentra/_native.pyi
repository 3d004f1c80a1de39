"""The engine. Not public: what may be used is what the modules of this package export."""

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, final

from .errors import PgEntraError

__all__ = [
    "DATABASE_SCOPE",
    "MANAGEMENT_SCOPE",
    "Credential",
    "Environment",
    "CustomCredential",
    "Plan",
    "Provider",
    "Request",
    "__version__",
    "check_credential",
    "connection_plan",
    "connection_read",
    "decode_jwt",
    "environment",
    "error",
    "explain_refusal",
    "is_retriable",
    "parse_principal_name",
    "run_vector",
    "shutdown",
    "stats",
    "try_conninfo",
]

__version__: str
DATABASE_SCOPE: str
MANAGEMENT_SCOPE: str

@final
class Environment:
    """The environment variables the engine knows, as they were at one moment."""

    def names(self) -> list[str]: ...
    def overlaid(self, variables: Mapping[str, str]) -> Environment:
        """The same with some variables in place of its own."""

def environment() -> Environment:
    """The environment now; the same object as long as nothing changed."""

@final
class Request:
    """What is asked of a foreign credential. Answered once; dropped unanswered, whoever waits asks again."""

    @property
    def scope(self) -> str: ...
    def options(self) -> dict[str, Any]:
        """Keyword arguments for ``get_token``: ``claims``, ``tenant_id``, ``enable_cae``, where asked for."""

    def succeed(self, token: str, expires_on: int | None, refresh_on: int | None) -> None: ...
    def fail(self, error: BaseException, advice: str | None = None) -> None: ...
    def refuse(self, message: str) -> None: ...
    def lose(self) -> None: ...

@final
class CustomCredential:
    """A foreign credential. ``begin`` is called on the dispatcher's thread and must not block."""

    def __new__(cls, name: str, begin: Callable[[Request], None]) -> CustomCredential: ...

@final
class Credential:
    """A credential with its cached tokens."""

    def __new__(
        cls,
        document: Mapping[str, Any],
        environment: Environment,
        *,
        hosts: Sequence[CustomCredential] = ...,
        ca_file: str | None = None,
        host: str | None = None,
        scope: str | None = None,
    ) -> Credential: ...
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
        """When the cached token will be refreshed, in seconds since the epoch."""

@final
class Provider:
    """The engine's doors. ``limit`` is in seconds."""

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
    """All claims of a token, unverified. Raises ``TokenDecodeError``."""

def parse_principal_name(xms_mirid: str) -> str | None:
    """The name of the user-assigned identity that an ``xms_mirid`` claim stands for, else None."""

def connection_read(text: str, form: str) -> dict[str, str]:
    """The settings of a connection string by libpq's keywords. Raises ``EntraConnectionValueError``."""

@final
class Plan:
    """How a connection logs in."""

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
        """The whole plan. It may hold secrets: it is never for a log."""

def connection_plan(request: Mapping[str, Any], environment: Environment | None) -> Plan:
    """Decides how a connection logs in. ``environment`` is what the request's own would be; with a
    ``service_connector`` all variables of the process are read. Raises ``EntraConnectionValueError`` and
    ``CredentialValueError``."""

def is_retriable(sqlstate: str | None, message: str) -> bool:
    """Whether a newer token may succeed where a server refused a login so."""

def explain_refusal(
    sqlstate: str | None, message: str, role: str, role_source: str, token: str, host: str | None = None
) -> str:
    """Lines to add to the server's message; empty where it does not refuse a login. ``host``: the names of the servers
    of a connection that does not use the variables of Azure Service Connector."""

def check_credential(document: Mapping[str, Any]) -> None:
    """Raises ``CredentialValueError`` for a credential's document that is not in order."""

def error(code: str, message: str, credential: str | None, advice: str | None = None) -> PgEntraError:
    """The exception of an error kind, to be raised; ``advice`` where there is better than the kind's own."""

def stats() -> list[dict[str, Any]]: ...
def try_conninfo(doors: dict[Any, Any], credential: object) -> dict[str, str] | None:
    """As ``Provider.try_conninfo``, of the provider that ``doors`` has for a credential that comes alone: by its ``id``
    a tuple that begins with the provider and its environment."""

def run_vector(group: str, case: str, directory: str | PathLike[str]) -> str:
    """What comes of a case of the vectors. In builds for tests alone."""

def shutdown() -> bool:
    """Ends the engine's threads, waiting at most 1 s."""
