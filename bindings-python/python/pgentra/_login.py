"""How one connection of any driver is opened: what its own settings say, the TLS rule, the login, a refused login.

A driver's module stands on three names:

``take_options(keywords, leave=())`` takes ``credential`` and the options of every door out of a driver's keywords, in
place, and returns ``(credential, options)``. Names in ``leave`` stay (asyncpg has a ``timeout`` of its own).

``plan(parameters, credential, options, transient=..., settings=LIBPQ)`` judges the connection's settings, given as
libpq names them, with everything explicit merged in by the driver's own rules (arguments over connection string). What
the driver takes from a service file or from the environment is looked up here; ``settings`` are those that it has, each
with the variable that it reads. Raises ``EntraConnectionValueError`` (``insecure_transport``, ``require_entra``) and
``CredentialValueError``; fetches nothing. ``transient`` is the driver's class for connections that may work later, such
as ``psycopg.OperationalError``: transient errors of ours derive from it too.

``connect(plan, attempt, refused)`` and ``await connect_async(plan, attempt, refused)`` do the rest.
``attempt(settings)`` opens the connection with ``settings`` (some of ``user``, ``password``, ``sslmode``) laid over the
driver's own arguments; ``refused`` are the driver's exception classes that a refused login arrives as. If the server
refuses the token, it is invalidated and a newer one is tried once; else the driver's own exception is raised with an
explanation added to its text.

Beneath them, for whom the calls above do not fit: ``Plan.login()`` and ``await Plan.login_async()`` give a ``Login``
(``user``, ``password``, ``source``) or raise as a driver's ``connect`` should; ``Plan.settings(login)`` are what to
connect with; ``Plan.renew(login, exception)`` and ``await Plan.renew_async(...)`` give the ``Login`` worth one more
try, or None; ``Plan.explain(login, exception)`` adds the explanation to the driver's exception.
A ``Plan`` is for one connection and is cheap to make.
"""

from __future__ import annotations

import os

from . import _native
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
        "timeout",
    }
)
"""What every door takes besides ``credential``."""

LIBPQ = {
    "connect_timeout": "PGCONNECT_TIMEOUT",
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "password": None,  # PGPASSWORD and password files are not explicit,
    "user": None,  # and PGUSER is the engine's.
    "service": "PGSERVICE",
    "servicefile": "PGSERVICEFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sysconfdir": "PGSYSCONFDIR",
}
"""The settings of libpq that matter here, with the variables that it reads them from."""


def take_options(keywords: MutableMapping[str, Any], leave: Iterable[str] = ()) -> tuple[Any, dict[str, Any]]:
    """Takes ``credential`` and every option but those in ``leave`` out of ``keywords``."""
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
        """Where the role name came from: ``user``, ``PGUSER``, a claim's name, ``management token``, ..."""

    def __repr__(self) -> str:
        return f"Login(user={self.user!r}, source={self.source!r})"


class Plan:
    """What is decided of one connection before a token is fetched."""

    __slots__ = ("_doors", "_keep_alive", "_limit", "_password", "_transient", "_user", "overrides")

    def __init__(
        self,
        doors: Doors | None,
        credential: Any,
        user: str | None,
        password: Any,
        limit: float | None,
        overrides: dict[str, str],
        transient: type[BaseException] | None,
    ) -> None:
        self._doors = doors
        # The cell of a foreign credential lives as long as the object.
        self._keep_alive = credential
        self._user = user
        self._password = password
        self._limit = limit
        self.overrides = overrides
        """Settings to connect with in place of the given ones, such as ``{"sslmode": "require"}``."""
        self._transient = transient

    @property
    def needs_login(self) -> bool:
        """Whether user or password have to come from a token."""
        return self._doors is not None

    def settings(self, login: Login | None) -> dict[str, str]:
        """The settings to lay over the driver's own."""
        if login is None:
            return dict(self.overrides)
        return {**self.overrides, "user": login.user, "password": login.password}

    def login(self) -> Login | None:
        """A login; blocks while there is none. None where user and password are both explicit."""
        if self._doors is None:
            return None
        try:
            if self._user is not None:
                return Login(self._user, self._doors.token(self._limit), "user")
            return self._made(self._doors.login(self._limit))
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    async def login_async(self) -> Login | None:
        """A login; never blocks the event loop. None where user and password are both explicit."""
        if self._doors is None:
            return None
        try:
            if self._user is not None:
                return Login(self._user, await self._doors.token_async(self._limit), "user")
            return self._made(await self._doors.login_async(self._limit))
        except PgEntraError as error:
            raise self._as_raised(error) from error.__cause__

    def renew(self, login: Login | None, refused: BaseException) -> Login | None:
        """The login worth one more try after the server refused ``login``; None where its own error stands."""
        if login is None or self._doors is None or not self._may_retry(refused):
            return None
        try:
            return self.login() if self._doors.invalidate(login.password, self._limit) else None
        except PgEntraError:
            return None

    async def renew_async(self, login: Login | None, refused: BaseException) -> Login | None:
        """As :meth:`renew`; never blocks the event loop."""
        if login is None or self._doors is None or not self._may_retry(refused):
            return None
        try:
            renewed = await self._doors.invalidate_async(login.password, self._limit)
            return await self.login_async() if renewed else None
        except PgEntraError:
            return None

    def explain(self, login: Login | None, refused: BaseException) -> None:
        """Adds to the driver's own exception who tried to log in as what, and what to do."""
        if login is None or self._password is not None:
            return
        message = str(refused)
        text = _native.explain_refusal(_sqlstate(refused), message, login.user, login.source, login.password)
        if text:
            # Part of the message, not a note: pools and SQLAlchemy pass on `str(exception)` alone.
            refused.args = (f"{refused.args[0] if refused.args else message}\n{text}", *refused.args[1:])

    def _made(self, login: tuple[str, str, str]) -> Login:
        user, token, source = login
        return Login(user, token if self._password is None else self._password, source)

    def _may_retry(self, refused: BaseException) -> bool:
        return self._password is None and _native.is_retriable(_sqlstate(refused), str(refused))

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
    settings: Mapping[str, str | None] = LIBPQ,
) -> Plan:
    """Judges a connection's settings; see the module's own text."""
    wanted = dict(options) if options else {}
    require_entra, allow_insecure = _flag(wanted, "require_entra"), _flag(wanted, "allow_insecure_transport")
    given = _given(parameters, settings)
    user, password = given.get("user"), given.get("password")
    hosts = _list(given.get("host"))
    if password is not None:
        if require_entra:
            role = "" if user is None else f" as {user!r}"
            raise _native.error(
                "invalid_connection",
                f"require_entra: the connection to {_place(hosts)}{role} has a password of its own, so Entra would "
                "not be used",
                None,
                "Remove the password from the connection's settings.",
            )
        if user is not None:
            _warn_of_password(_place(hosts))
            return Plan(None, None, user, password, None, {}, transient)
    overrides = {}
    if password is None:
        mode = given.get("sslmode")
        places = [address or name for address, name in _paired(_list(given.get("hostaddr")), hosts)]
        secure = _native.secure_sslmode(None if mode is None else str(mode), places, allow_insecure)
        if secure is not None:
            # With the system's authorities libpq refuses anything less; before its version 16 it knew no such thing.
            overrides["sslmode"] = "verify-full" if given.get("sslrootcert") == "system" else secure
    host = next((host for host in hosts if host and not host.startswith(("/", "@"))), None)
    doors = find_doors(credential, wanted, host)
    limit = _limit(given)
    return Plan(doors, credential, None if user is None else str(user), password, limit, overrides, transient)


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


def _flag(options: dict[str, Any], name: str) -> bool:
    """Takes out a switch. A text from a URL is none: ``"false"`` would count as true."""
    value = options.pop(name, None)
    if value is not None and not isinstance(value, bool):
        message = f"option `{name}`: expected a boolean, got {type(value).__name__}"
        raise _native.error("invalid_configuration", message, None)
    return bool(value)


def _given(parameters: Mapping[str, Any], settings: Mapping[str, str | None]) -> dict[str, Any]:
    """What the driver will connect with: explicit, else of the service file, else of the environment."""

    def known(found: Mapping[str, Any]) -> dict[str, Any]:
        return {name: found[name] for name in settings if found.get(name) not in (None, "")}

    environment = known({name: os.environ.get(variable) for name, variable in settings.items() if variable})
    explicit = known(parameters)
    return {**environment, **known(_of_service({**environment, **explicit})), **explicit}


def _place(hosts: list[str]) -> str:
    return ",".join(hosts) or "the local server"


_warned: set[str] = set()


def _warn_of_password(place: str) -> None:
    """Once for each server: a password left over from before the move."""
    if place not in _warned:
        _warned.add(place)
        from logging import getLogger

        getLogger("pgentra").warning(
            "Entra is not used: the connection to %s has a user and a password of its own. Remove the password, or "
            "pass require_entra=True to make this an error.",
            place,
        )


def _list(value: Any) -> list[str]:
    return [] if value is None else str(value).split(",")


def _paired(addresses: list[str], hosts: list[str]) -> list[tuple[str, str]]:
    length = max(len(addresses), len(hosts), 1)

    def filled(items: list[str]) -> list[str]:
        return [item.strip() for item in items] + [""] * (length - len(items))

    return list(zip(filled(addresses), filled(hosts), strict=True))


def _limit(given: Mapping[str, Any]) -> float | None:
    """The connection's time limit: the driver's own ``timeout``, or ``connect_timeout`` as libpq reads it, to which one
    second is two. Nothing, zero and less are no limit; what is no number, the driver refuses."""
    value, least = (given["timeout"], 0.0) if "timeout" in given else (given.get("connect_timeout"), 2.0)
    try:
        seconds = float(value) if value is not None else 0.0
    except (TypeError, ValueError):
        return None
    return max(seconds, least) if 0 < seconds < 1e9 else None


def _of_service(given: Mapping[str, Any]) -> dict[str, str]:
    """The settings of the service file, where the connection names a service."""
    service = given.get("service")
    if not service:
        return {}
    files = [given.get("servicefile") or os.path.expanduser("~/.pg_service.conf")]
    if "sysconfdir" in given:
        files.append(os.path.join(given["sysconfdir"], "pg_service.conf"))
    for file in files:
        # What cannot be read or is not there, libpq reports itself.
        try:
            with open(str(file), encoding="utf-8", errors="surrogateescape") as lines:
                settings = _section(lines, str(service))
        except OSError:
            continue
        if settings is not None:
            return settings
    return {}


def _section(lines: Iterable[str], service: str) -> dict[str, str] | None:
    settings: dict[str, str] | None = None
    for line in map(str.strip, lines):
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            if settings is not None:
                break
            if line.startswith(f"[{service}]"):
                settings = {}
        elif settings is not None and "=" in line:
            key, _, value = line.partition("=")
            settings.setdefault(key.rstrip(), value.lstrip())
    return settings
