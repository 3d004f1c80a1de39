"""Opens one connection of any driver: its connection plan, the login, and the response to a login error.

A driver's module uses three functions:

``take_options(keywords, leave=())`` removes ``credential`` and the options of every entry point from a driver's
keywords and returns ``(credential, options)``. Names in ``leave`` stay (asyncpg has its own ``timeout``). A
``password`` that is a callable is refused.

``plan(parameters, credential, options, transient=..., ...)`` returns a :class:`ConnectionPlan`. ``parameters`` are the
connection's settings by libpq's names, merged by the driver's own rules (arguments over connection string). The core
reads service files and the environment; further arguments say which of them the driver reads. Raises
``EntraConnectionValueError`` (``insecure_transport``, ``require_entra``, settings that cannot be read) and
``CredentialValueError``; fetches no token. ``transient`` is the driver's class for connections that may succeed later,
such as ``psycopg.OperationalError``: this library's transient errors derive from it too.

``connect(plan, attempt, refused)`` and ``await connect_async(plan, attempt, refused)`` open the connection.
``attempt(settings)`` calls the driver with ``settings.over(arguments)``: the driver's arguments, replaced by settings
by libpq's names (``user``, ``password``, ``sslmode``, and those of Azure Service Connector). ``refused`` are the
driver's exception classes for a login error. If the server refuses the token, it is invalidated and a newer one is
tried once; otherwise the driver's exception is raised with an explanation added to its text.

A driver that cannot use these calls ``ConnectionPlan.login()`` or ``login_async()`` for a :class:`Login`,
``settings(login)`` for the settings to connect with, ``renew(login, exception)`` or ``renew_async(...)`` for the login
that is worth one more try, and ``explain(login, exception)`` to add the explanation.
"""

from __future__ import annotations

import os

from . import _native
from ._credentials.source import resolve
from ._roots import find_roots
from ._token_client import client_for
from .errors import EntraConnectionValueError, PgEntraError, _also

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
    from typing import Any, TypeVar

    from ._token_client import TokenClient

    T = TypeVar("T")

OPTIONS = frozenset(
    {
        "allow_insecure_transport",
        "ca_file",
        "cache",
        "fallback_username",
        "ignore_password",
        "management_lookup",
        "mode",
        "require_entra",
        "scope",
        "service_connector",
        "timeout",
    }
)
"""The options of every entry point besides ``credential``."""

_SETTINGS = frozenset(
    {
        "connect_timeout",
        "dbname",
        "host",
        "hostaddr",
        "password",
        "port",
        "service",
        "servicefile",
        "sslmode",
        "sslrootcert",
        "timeout",
        "user",
    }
)
"""The settings on which the plan depends."""

_PASSWORD_USED = (
    "Entra was not used: the connection has a user and a password of its own. Remove the password to log in with a "
    "token, or set require_entra to make this an error."
)


def take_options(keywords: MutableMapping[str, Any], leave: Iterable[str] = ()) -> tuple[Any, dict[str, Any]]:
    """Removes ``credential`` and all options but those in ``leave`` from ``keywords``, and returns them."""
    if callable(password := keywords.get("password")):
        raise _not_a_password(_kind(password))
    if (required := keywords.pop("requiressl", None)) is not None:
        # An old name of libpq's for two modes. Left in place it would replace the mode of the plan.
        keywords["sslmode"] = "require" if str(required).startswith("1") else "prefer"
    for name in _SETTINGS.intersection(keywords):
        _refuse_credential(name, keywords[name])  # psycopg2 converts them to text.
    credential = keywords.pop("credential", None)
    names = OPTIONS.difference(leave).intersection(keywords)
    return credential, {name: keywords.pop(name) for name in names}


def refuse_text_of_function(password: str | None) -> None:
    """Refuses the text that a driver makes of a password that is a callable, before pgentra sees it."""
    if password and password.startswith(
        ("<function ", "<bound method ", "<built-in ", "<class ", "functools.partial(")
    ):
        raise _not_a_password("the text of a function or class")


def _not_a_password(kind: str) -> PgEntraError:
    return _native.error(
        "invalid_connection",
        f"password: expected a text, got {kind}; this connection fetches its own token",
        None,
        "Leave out password, and pass the credential as credential=...",
    )


class Login:
    """A role name and its password. Its ``repr`` does not show the password."""

    __slots__ = ("password", "source", "user")

    def __init__(self, user: str, password: str, source: str) -> None:
        self.user = user
        self.password = password
        self.source = source
        """The source of the role name: a plan's ``user_source``, a claim's name, ``management token``, ..."""

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, source={self.source!r})"


class LoginSettings:
    """Settings that replace a driver's own. They are not a mapping, and their ``repr`` shows no value, so that reports
    of the local variables in a traceback do not contain the token."""

    __slots__ = ("_login", "_overrides")

    def __init__(self, overrides: Mapping[str, str], login: Login | None) -> None:
        self._overrides = overrides
        self._login = login

    def over(self, arguments: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns ``arguments`` with these settings in place of their own."""
        merged = {**(arguments or {}), **self._overrides}
        if self._login is not None:
            merged["user"] = self._login.user
            merged["password"] = self._login.password
        return merged

    def __repr__(self) -> str:
        return "LoginSettings()"


class ConnectionPlan:
    """The core's decision for one connection, and the client of its credential."""

    __slots__ = ("_client", "_host", "_keep_alive", "_limit", "_transient", "_user", "_user_source", "overrides")

    def __init__(
        self,
        planned: _native.ConnectionPlan,
        client: TokenClient | None,
        credential: Any,
        overrides: dict[str, str],
        transient: type[BaseException] | None,
        *,
        uses_connector: bool,
    ) -> None:
        self._client = client
        # The cache entry of a custom credential lives as long as the object.
        self._keep_alive = credential
        self._user = planned.user
        self._user_source = planned.user_source or "user"
        self._limit = planned.timeout
        # With Azure Service Connector, a login error does not list unused variables.
        self._host = None if uses_connector else planned.host
        self.overrides = overrides
        """Settings that replace the given ones, such as ``{"sslmode": "require"}``."""
        self._transient = transient

    @property
    def needs_login(self) -> bool:
        """Whether the password is a token."""
        return self._client is not None

    def settings(self, login: Login | None) -> LoginSettings:
        """Returns the settings that replace the driver's own."""
        return LoginSettings(self.overrides, login)

    def login(self) -> Login | None:
        """Returns a login, or None if the connection's own password is used. Blocks if no usable token is cached."""
        if self._client is None:
            return None
        try:
            if self._user is not None:
                return Login(self._user, self._client.token(self._limit), self._user_source)
            return Login(*self._client.login(self._limit))
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    async def login_async(self) -> Login | None:
        """As :meth:`login`; never blocks the event loop."""
        if self._client is None:
            return None
        try:
            if self._user is not None:
                return Login(self._user, await self._client.token_async(self._limit), self._user_source)
            return Login(*await self._client.login_async(self._limit))
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    async def token_async(self) -> str:
        """Returns the token of a plan that needs a login; never blocks the event loop."""
        assert self._client is not None
        try:
            return await self._client.token_async(self._limit)
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    def renew(self, login: Login | None, refused: BaseException) -> Login | None:
        """Returns the login that is worth one more try after the server refused ``login``, or None."""
        if login is None or self._client is None or not _may_retry(refused):
            return None
        try:
            return self.login() if self._client.invalidate(login.password, self._limit) else None
        except PgEntraError:
            return None

    async def renew_async(self, login: Login | None, refused: BaseException) -> Login | None:
        """As :meth:`renew`; never blocks the event loop."""
        if login is None or self._client is None or not _may_retry(refused):
            return None
        try:
            renewed = await self._client.invalidate_async(login.password, self._limit)
            return await self.login_async() if renewed else None
        except PgEntraError:
            return None

    def explain(self, login: Login | None, refused: BaseException) -> None:
        """Adds the role, the principal and the next step to the driver's exception. ``login`` is None if the
        connection's own password was used."""
        message, state = str(refused), _sqlstate(refused)
        if login is not None:
            text = _native.explain_login_error(state, message, login.user, login.source, login.password, self._host)
        else:
            explanation = _native.explain_login_error(state, message, "", "user", "")
            text = _PASSWORD_USED if explanation else ""
        if text:
            # Part of the message, not a note: pools and SQLAlchemy only keep `str(exception)`.
            refused.args = (f"{refused.args[0] if refused.args else message}\n{text}", *refused.args[1:])

    def _as_raised(self, error: PgEntraError) -> PgEntraError:
        """Returns the error with the classes that code around a driver's ``connect`` catches."""
        transient = self._transient if error.detail.get("transient") else None
        raised = _also(error, EntraConnectionValueError, transient)
        # Programs that used azure-postgresql-auth match this beginning.
        raised.args = (f"Could not retrieve Entra credentials: {raised}",)
        return raised


def plan(
    parameters: Mapping[str, Any],
    credential: Any = None,
    options: Mapping[str, Any] | None = None,
    *,
    transient: type[BaseException] | None = None,
    variables: Mapping[str, str] | None = None,
    service_files: bool = True,
    verifies_certificates: bool | None = None,
) -> ConnectionPlan:
    """Returns the plan of a connection; see the module's documentation.

    ``variables``: the variables that the driver reads, by setting; default: libpq's. ``service_files``: whether the
    driver reads them. ``verifies_certificates``: whether the driver can verify a certificate without a file of the
    user's own; default: as libpq, which receives the system's file.
    """
    wanted = dict(options) if options else {}
    connector = wanted.pop("service_connector", None)
    uses_connector = connector is not None and connector is not False
    # With Azure Service Connector all of them: the core adds only the settings that are not given.
    names = parameters if uses_connector else _SETTINGS.intersection(parameters)
    request: dict[str, Any] = {
        "arguments": {name: _text(name, value) for name in names if (value := parameters[name]) is not None}
    }
    for name in ("require_entra", "ignore_password", "allow_insecure_transport"):
        if (value := wanted.pop(name, None)) is not None:
            request[name] = value
    if variables is not None:
        request["variables"] = variables
        _refuse_abstract_sockets(request["arguments"].get("host"))
    if not service_files:
        request["service_files"] = False
    uses_libpq = verifies_certificates is None
    if uses_connector:
        request["service_connector"] = connector
        request["has_credential"] = credential is not None
        if verifies_certificates is None:
            verifies_certificates = find_roots(parameters) is not None
        request["verifies_certificates"] = verifies_certificates
    planned = _native.connection_plan(request, _native.environment())
    for warning in planned.warnings:
        from logging import getLogger

        getLogger("pgentra").warning("%s", warning)
    # Without Azure Service Connector the plan has no settings that the driver does not have.
    overrides = planned.settings if uses_connector else {}
    if not planned.uses_entra:
        resolve(credential)  # Refuses an object that is not a credential.
        if planned.user_source == "PGUSER":
            overrides["user"] = str(planned.user)  # Not every driver reads PGUSER.
        return ConnectionPlan(planned, None, None, overrides, transient, uses_connector=uses_connector)
    if (sslmode := planned.sslmode) is not None:
        overrides["sslmode"] = sslmode
    if uses_libpq and _is_verify_full(parameters, overrides) and (roots := find_roots(parameters)):
        overrides.setdefault("sslrootcert", roots)
    if uses_connector and (document := planned.credential) is not None:
        credential = _credential(document)
    client = client_for(credential, wanted, planned.host)
    return ConnectionPlan(planned, client, credential, overrides, transient, uses_connector=uses_connector)


def connect(
    plan: ConnectionPlan,
    attempt: Callable[[LoginSettings], T],
    refused: type[BaseException] | tuple[type[BaseException], ...],
) -> T:
    """Opens a connection; see the module's documentation."""
    login = plan.login()
    try:
        return attempt(plan.settings(login))
    except refused as error:
        newer = plan.renew(login, error)
        if newer is None:
            plan.explain(login, error)
            raise
    try:
        return attempt(plan.settings(newer))
    except refused as error:
        plan.explain(newer, error)
        raise


async def connect_async(
    plan: ConnectionPlan,
    attempt: Callable[[LoginSettings], Awaitable[T]],
    refused: type[BaseException] | tuple[type[BaseException], ...],
) -> T:
    """Opens a connection without blocking the event loop; see the module's documentation."""
    login = await plan.login_async()
    try:
        return await attempt(plan.settings(login))
    except refused as error:
        newer = await plan.renew_async(login, error)
        if newer is None:
            plan.explain(login, error)
            raise
    try:
        return await attempt(plan.settings(newer))
    except refused as error:
        plan.explain(newer, error)
        raise


def _sqlstate(error: BaseException) -> str | None:
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    return state if isinstance(state, str) else None


def _may_retry(refused: BaseException) -> bool:
    return _native.is_retriable(_sqlstate(refused), str(refused))


def check_connection_string(name: str, value: Any) -> None:
    """Refuses an argument that is not a connection string, such as a credential in its place."""
    if value is None or isinstance(value, (str, bytes)):
        return
    raise _native.error(
        "invalid_connection",
        f"{name}: expected a connection string, got {_kind(value)}",
        None,
        "Pass a credential by its name: credential=...",
    )


def is_credential(value: Any) -> bool:
    """Returns whether an argument looks like a credential."""
    return callable(value) or callable(getattr(value, "get_token", None))


def _kind(value: Any) -> str:
    """Returns the type of a value, for messages, which never show the value."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _text(name: str, value: Any) -> Any:
    """Returns a setting as the driver reads it."""
    if type(value) is str:
        return value
    if isinstance(value, (list, tuple)):
        return [None if item is None else _text(name, item) for item in value]
    _refuse_credential(name, value)
    return str(value)


def _refuse_credential(name: str, value: Any) -> None:
    """Refuses a credential as the value of a setting."""
    if is_credential(value):
        raise _native.error(
            "invalid_connection",
            f"{name}: expected a text or a number, got {_kind(value)}",
            None,
            "Pass a credential by its name: credential=...",
        )


def _refuse_abstract_sockets(host: Any) -> None:
    """Refuses a socket in the abstract namespace. Only libpq connects to it; other drivers resolve the name."""
    hosts = host.split(",") if isinstance(host, str) else host or ()
    if any(item and item.strip().startswith("@") for item in hosts):
        raise _native.error(
            "invalid_connection", 'host: expected a name, an address or a folder, got one with "@"', None
        )


def _is_verify_full(parameters: Mapping[str, Any], overrides: Mapping[str, str]) -> bool:
    """Returns whether libpq verifies the certificate, by the settings outside service files. A service file may name
    its own certificate authorities."""
    if parameters.get("service") or os.environ.get("PGSERVICE"):
        return overrides.get("sslmode") == "verify-full"
    mode = overrides.get("sslmode") or parameters.get("sslmode") or os.environ.get("PGSSLMODE")
    return mode == "verify-full"


_MAX_CREDENTIALS = 32
_credentials: dict[tuple[str, ...], Any] = {}


def _credential(document: Mapping[str, str]) -> Any:
    """Returns the credential that Azure Service Connector's variables describe; the same object for the same
    variables."""
    key = tuple(document.values())
    found = _credentials.get(key)
    if found is None:
        from . import identity

        settings = {name: value for name, value in document.items() if name != "type"}
        classes = {
            "client_secret": identity.ClientSecretCredential,
            "managed_identity": identity.ManagedIdentityCredential,
        }
        made: Any = classes[document["type"]]
        if len(_credentials) >= _MAX_CREDENTIALS:
            _credentials.clear()
        found = _credentials.setdefault(key, made(**settings))
    return found
