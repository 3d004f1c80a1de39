"""How one connection of any driver is opened: what its own settings say, the TLS rule, the login, a refused login.

A driver's module stands on three names:

``take_options(keywords, leave=())`` takes ``credential`` and the options of every entry point out of a driver's
keywords, in place, and returns ``(credential, options)``. Names in ``leave`` stay (asyncpg has a ``timeout`` of its
own). A ``password`` that is a callable is refused.

``plan(parameters, credential, options, transient=..., ...)`` has the core decide how the connection logs in, from its
settings as libpq names them, with everything explicit merged in by the driver's own rules (arguments over connection
string). Service files and the environment are read by the core; further arguments say which of them the driver reads.
Raises ``EntraConnectionValueError`` (``insecure_transport``, ``require_entra``, settings that cannot be read) and
``CredentialValueError``; fetches nothing. ``transient`` is the driver's class for connections that may work later, such
as ``psycopg.OperationalError``: transient errors of ours derive from it too.

``connect(plan, attempt, refused)`` and ``await connect_async(plan, attempt, refused)`` do the rest.
``attempt(settings)`` opens the connection with ``settings`` (by libpq's names: ``user``, ``password``, ``sslmode``, and
what Azure Service Connector sets) laid over the driver's own arguments; ``refused`` are the driver's exception classes
that a refused login arrives as. If the server refuses the token, it is invalidated and a newer one is tried once; else
the driver's own exception is raised with an explanation added to its text.

Beneath them, for whom the calls above do not fit: ``Plan.login()`` and ``await Plan.login_async()`` give a ``Login``
(``user``, ``password``, ``source``) or raise as a driver's ``connect`` should; ``Plan.settings(login)`` are what to
connect with; ``Plan.renew(login, exception)`` and ``await Plan.renew_async(...)`` give the ``Login`` worth one more
try, or None; ``Plan.explain(login, exception)`` adds the explanation to the driver's exception.
A ``Plan`` is for one connection and is cheap to make.
"""

from __future__ import annotations

import os

from . import _native
from ._foreign import source_of
from ._provider import find_doors
from .errors import EntraConnectionValueError, PgEntraError, _also

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
    from typing import Any, TypeVar

    from ._provider import Doors

    T = TypeVar("T")

OPTIONS = frozenset(
    {
        "allow_insecure_transport",
        "ca_file",
        "cache",
        "fallback_username",
        "management_lookup",
        "mode",
        "require_entra",
        "scope",
        "service_connector",
        "timeout",
    }
)
"""What every entry point takes besides ``credential``."""

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
"""The settings that the decision depends on."""

_PASSWORD_USED = (
    "Entra was not used: the connection has a user and a password of its own. Remove the password to log in with a "
    "token, or set require_entra to make this an error."
)

_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
"""Files of the system's certificate authorities: Debian, Red Hat, SUSE, Alpine and macOS."""


def take_options(keywords: MutableMapping[str, Any], leave: Iterable[str] = ()) -> tuple[Any, dict[str, Any]]:
    """Takes ``credential`` and every option but those in ``leave`` out of ``keywords``."""
    if callable(password := keywords.get("password")):
        raise _native.error(
            "invalid_connection",
            f"password: expected a text, got {_kind(password)}; this connection fetches its own token",
            None,
            "Leave out password, and pass the credential as credential=...",
        )
    for name in _SETTINGS.intersection(keywords):
        _refuse_credential(name, keywords[name])  # psycopg2 makes texts of them.
    credential = keywords.pop("credential", None)
    names = OPTIONS.difference(leave).intersection(keywords)
    return credential, {name: keywords.pop(name) for name in names}


class Login:
    """A role name and its password. The password is shown by no ``repr``."""

    __slots__ = ("password", "source", "user")

    def __init__(self, user: str, password: str, source: str) -> None:
        self.user = user
        self.password = password
        self.source = source
        """Where the role name came from: a plan's ``user_source``, a claim's name, ``management token``, ..."""

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, source={self.source!r})"


class Plan:
    """What is decided of one connection before a token is fetched."""

    __slots__ = ("_doors", "_host", "_keep_alive", "_limit", "_transient", "_user", "_user_source", "overrides")

    def __init__(
        self,
        planned: _native.Plan,
        doors: Doors | None,
        credential: Any,
        overrides: dict[str, str],
        transient: type[BaseException] | None,
        *,
        uses_connector: bool,
    ) -> None:
        self._doors = doors
        # The cell of a foreign credential lives as long as the object.
        self._keep_alive = credential
        self._user = planned.user
        self._user_source = planned.user_source or "user"
        self._limit = planned.timeout
        # Where it is used, a login error has no unused variables to name.
        self._host = None if uses_connector else planned.host
        self.overrides = overrides
        """Settings to connect with in place of the given ones, such as ``{"sslmode": "require"}``."""
        self._transient = transient

    @property
    def needs_login(self) -> bool:
        """Whether the password is a token."""
        return self._doors is not None

    def settings(self, login: Login | None) -> dict[str, str]:
        """The settings to lay over the driver's own."""
        if login is None:
            return dict(self.overrides)
        return {**self.overrides, "user": login.user, "password": login.password}

    def login(self) -> Login | None:
        """A login; blocks while there is none. None where the connection's own password is used."""
        if self._doors is None:
            return None
        try:
            if self._user is not None:
                return Login(self._user, self._doors.token(self._limit), self._user_source)
            return _made(self._doors.login(self._limit))
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    async def login_async(self) -> Login | None:
        """A login; never blocks the event loop. None where the connection's own password is used."""
        if self._doors is None:
            return None
        try:
            if self._user is not None:
                return Login(self._user, await self._doors.token_async(self._limit), self._user_source)
            return _made(await self._doors.login_async(self._limit))
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    async def token_async(self) -> str:
        """The token alone, of a plan that needs a login; never blocks the event loop."""
        assert self._doors is not None
        try:
            return await self._doors.token_async(self._limit)
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    def renew(self, login: Login | None, refused: BaseException) -> Login | None:
        """The login worth one more try after the server refused ``login``; None where its own error stands."""
        if login is None or self._doors is None or not _may_retry(refused):
            return None
        try:
            return self.login() if self._doors.invalidate(login.password, self._limit) else None
        except PgEntraError:
            return None

    async def renew_async(self, login: Login | None, refused: BaseException) -> Login | None:
        """As :meth:`renew`; never blocks the event loop."""
        if login is None or self._doors is None or not _may_retry(refused):
            return None
        try:
            renewed = await self._doors.invalidate_async(login.password, self._limit)
            return await self.login_async() if renewed else None
        except PgEntraError:
            return None

    def explain(self, login: Login | None, refused: BaseException) -> None:
        """Adds to the driver's own exception who tried to log in as what, and what to do. ``login`` is None where the
        connection's own password was used."""
        message, state = str(refused), _sqlstate(refused)
        if login is not None:
            text = _native.explain_refusal(state, message, login.user, login.source, login.password, self._host)
        else:
            is_login = _native.explain_refusal(state, message, "", "user", "")
            text = _PASSWORD_USED if is_login else ""
        if text:
            # Part of the message, not a note: pools and SQLAlchemy pass on `str(exception)` alone.
            refused.args = (f"{refused.args[0] if refused.args else message}\n{text}", *refused.args[1:])

    def _as_raised(self, error: PgEntraError) -> PgEntraError:
        """As raised inside a driver's ``connect``, where code already catches these classes."""
        transient = self._transient if error.detail.get("transient") else None
        raised = _also(error, EntraConnectionValueError, transient)
        # Programs that come from azure-postgresql-auth match this beginning.
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
) -> Plan:
    """Decides how a connection logs in; see the module's own text.

    ``variables``: those that the driver reads, by setting; default: libpq's. ``service_files``: whether it reads them.
    ``verifies_certificates``: whether the driver can verify a certificate without a file of the user's own; default: as
    libpq, which is given the system's file.
    """
    wanted = dict(options) if options else {}
    connector = wanted.pop("service_connector", None)
    uses_connector = connector is not None and connector is not False
    # All of them where the core may have settings for the driver: what is given is not set again.
    names = parameters if uses_connector else _SETTINGS.intersection(parameters)
    request: dict[str, Any] = {
        "arguments": {name: _text(name, value) for name in names if (value := parameters[name]) is not None}
    }
    for name in ("require_entra", "allow_insecure_transport"):
        if (value := wanted.pop(name, None)) is not None:
            request[name] = value
    if variables is not None:
        request["variables"] = variables
        _refuse_abstract_sockets(request["arguments"].get("host"))
    if not service_files:
        request["service_files"] = False
    roots = None
    if uses_connector:
        request["service_connector"] = connector
        request["has_credential"] = credential is not None
        if verifies_certificates is None:
            roots = _roots(parameters)
            verifies_certificates = roots is not None
        request["verifies_certificates"] = verifies_certificates
    planned = _native.connection_plan(request, _native.environment())
    for warning in planned.warnings:
        from logging import getLogger

        getLogger("pgentra").warning("%s", warning)
    # Without Service Connector the core has no settings that the driver has not.
    overrides = planned.settings if uses_connector else {}
    if not planned.uses_entra:
        source_of(credential)  # What is no credential is refused here too.
        if planned.user_source == "PGUSER":
            overrides["user"] = str(planned.user)  # Not every driver reads it.
        return Plan(planned, None, None, overrides, transient, uses_connector=uses_connector)
    if (sslmode := planned.sslmode) is not None:
        overrides["sslmode"] = sslmode
        if roots and sslmode == "verify-full":
            overrides.setdefault("sslrootcert", roots)
    if uses_connector and (document := planned.credential) is not None:
        credential = _credential(document)
    doors = find_doors(credential, wanted, planned.host)
    return Plan(planned, doors, credential, overrides, transient, uses_connector=uses_connector)


def connect(
    plan: Plan, attempt: Callable[[dict[str, str]], T], refused: type[BaseException] | tuple[type[BaseException], ...]
) -> T:
    """Opens a connection; see the module's own text."""
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
    plan: Plan,
    attempt: Callable[[dict[str, str]], Awaitable[T]],
    refused: type[BaseException] | tuple[type[BaseException], ...],
) -> T:
    """Opens a connection without blocking the event loop; see the module's own text."""
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


def _made(login: tuple[str, str, str]) -> Login:
    user, token, source = login
    return Login(user, token, source)


def check_connection_string(name: str, value: Any) -> None:
    """Refuses what is not a connection string, such as a credential in its place."""
    if value is None or isinstance(value, (str, bytes)):
        return
    raise _native.error(
        "invalid_connection",
        f"{name}: expected a connection string, got {_kind(value)}",
        None,
        "Pass a credential by its name: credential=...",
    )


def is_credential(value: Any) -> bool:
    """Whether an argument that is not a credential's looks like one."""
    return callable(value) or callable(getattr(value, "get_token", None))


def _kind(value: Any) -> str:
    """What a value is, for messages, which never show it."""
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _text(name: str, value: Any) -> Any:
    """A setting as the driver reads it."""
    if type(value) is str:
        return value
    if isinstance(value, (list, tuple)):
        return [None if item is None else _text(name, item) for item in value]
    _refuse_credential(name, value)
    return str(value)


def _refuse_credential(name: str, value: Any) -> None:
    """Refuses a credential in the place of a setting."""
    if is_credential(value):
        raise _native.error(
            "invalid_connection",
            f"{name}: expected a text or a number, got {_kind(value)}",
            None,
            "Pass a credential by its name: credential=...",
        )


def _refuse_abstract_sockets(host: Any) -> None:
    """Only libpq connects to a socket in the abstract namespace, which is on this machine. Others resolve the name."""
    hosts = host.split(",") if isinstance(host, str) else host or ()
    if any(item and item.strip().startswith("@") for item in hosts):
        raise _native.error(
            "invalid_connection", 'host: expected a name, an address or a folder, got one with "@"', None
        )


def _roots(parameters: Mapping[str, Any]) -> str | None:
    """The file of certificate authorities for libpq; empty where it has one without us, None if there is none."""
    users = os.path.join(os.path.expanduser("~"), ".postgresql", "root.crt")
    if parameters.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or os.path.exists(users):
        return ""
    named = os.environ.get("SSL_CERT_FILE")
    return next((file for file in (named, *_BUNDLES) if file and os.path.isfile(file)), None)


_MOST_CREDENTIALS = 32
_credentials: dict[tuple[str, ...], Any] = {}


def _credential(document: Mapping[str, str]) -> Any:
    """The credential that Service Connector's variables describe; the same object as long as they stay."""
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
        if len(_credentials) >= _MOST_CREDENTIALS:
            _credentials.clear()
        found = _credentials.setdefault(key, made(**settings))
    return found
