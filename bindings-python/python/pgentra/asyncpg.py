"""asyncpg connections and pools that log in with Microsoft Entra.

>>> import pgentra.asyncpg
>>> pool = pgentra.asyncpg.create_pool(host="...", database="...")  # doctest: +SKIP

For libraries that call asyncpg themselves and accept a callable as password, use :func:`password`.
"""

from __future__ import annotations

import os
from functools import partial
from urllib.parse import urlencode

import asyncpg

from . import _native
from ._login import check_connection_string, connect_async, plan, take_options
from ._provider import NotPassword
from ._roots import file_for_context

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._login import ConnectionPlan, LoginSettings
    from ._typing import CredentialLike

__all__ = ["EntraPassword", "connect", "create_pool", "password"]

# asyncpg has its own time limit.
_LEAVE = ("timeout",)

_VARIABLES = {
    "dbname": "PGDATABASE",
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
"""The variables that asyncpg reads, besides ``PGUSER``, for the settings on which the plan depends."""

_SETTINGS = ("dbname", "host", "password", "port", "sslmode", "sslrootcert", "user")
"""The settings of a URL and of a service on which the plan depends; asyncpg sends others to the server."""

_KEYWORDS = {"dbname": "database", "host": "host", "password": "password", "port": "port", "user": "user"}
"""Settings that are also keywords. The others can be given in a URL only."""

_OF_URL = frozenset(
    {
        "application_name",
        "client_encoding",
        "gsslib",
        "krbsrvname",
        "options",
        "passfile",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "target_session_attrs",
    }
)
"""Further settings of libpq that asyncpg reads in a URL, or sends to the server. The server refuses the others."""

_HAS_SERVICES = "service" in (asyncpg.connect.__kwdefaults__ or {})
"""Since 0.31."""


async def connect(dsn: str | None = None, *, credential: CredentialLike | None = None, **keywords: Any) -> Any:
    """Opens an ``asyncpg.Connection``.

    Takes every argument of ``asyncpg.connect``, and ``credential``, the options of :class:`pgentra.TokenProvider`,
    ``service_connector``, ``require_entra``, ``ignore_password`` and ``allow_insecure_transport``. ``timeout`` is
    asyncpg's; it also limits the wait for a token. ``password`` is a text, or the result of :func:`password`.
    Raises asyncpg's exceptions, and the classes of ``pgentra.errors``.
    """
    return await _connect(dsn, credential=credential, _transient=asyncpg.PostgresConnectionError, **keywords)


async def _connect(
    dsn: str | None = None,
    *,
    credential: Any = None,
    _options: Mapping[str, Any] | None = None,
    _transient: type[BaseException] | None = None,
    **keywords: Any,
) -> Any:
    """As :func:`connect`. ``_options`` may hold pgentra's own ``timeout``; transient errors derive from
    ``_transient``."""
    check_connection_string("dsn", dsn)
    credential = _take_password(keywords, credential)
    _, taken = take_options(keywords, _LEAVE)
    given = _given(dsn, keywords)
    planned = _plan(given, credential, {**(_options or {}), **taken}, _transient)

    async def attempt(settings: LoginSettings) -> Any:
        return await asyncpg.connect(
            **_arguments(dsn, keywords, settings.over(), given, uses_token=planned.needs_login)
        )

    return await connect_async(planned, attempt, asyncpg.InvalidAuthorizationSpecificationError)


def create_pool(dsn: str | None = None, *, credential: CredentialLike | None = None, **keywords: Any) -> Any:
    """Makes an ``asyncpg.Pool``: the arguments of ``asyncpg.create_pool`` (0.30 or newer) and of :func:`connect`."""
    check_connection_string("dsn", dsn)
    credential = _take_password(keywords, credential)
    _, options = take_options(keywords, _LEAVE)
    return asyncpg.create_pool(dsn, connect=partial(connect, credential=credential, **options), **keywords)


class EntraPassword(NotPassword):
    """The result of :func:`password`. asyncpg calls it at each new connection and awaits the token."""

    __slots__ = ("_credential", "_dsn", "_keywords", "_options")
    _pgentra_not_credential = "pass the credential that it was made from"

    def __init__(self, dsn: str | None, credential: Any, keywords: dict[str, Any]) -> None:
        check_connection_string("dsn", dsn)
        _, self._options = take_options(keywords, _LEAVE)
        self._dsn = dsn
        self._credential = credential
        self._keywords = keywords
        self._plan()

    def _plan(self) -> ConnectionPlan:
        planned = _plan(
            _given(self._dsn, self._keywords), self._credential, self._options, asyncpg.PostgresConnectionError
        )
        if not planned.needs_login:
            raise _native.error(
                "invalid_connection", "the connection has a password of its own", None, "Leave out the password."
            )
        if "sslmode" in planned.overrides:
            raise _native.error(
                "insecure_transport",
                "asyncpg would send the token without TLS if the server does not offer TLS",
                None,
                "Pass ssl='verify-full' or ssl='require' both to asyncpg and to pgentra.asyncpg.password.",
            )
        return planned

    async def __call__(self) -> str:
        return await self._plan().token_async()

    def __repr__(self) -> str:
        return "EntraPassword()"

    def __deepcopy__(self, _memo: Any) -> EntraPassword:
        return self  # It is immutable. Libraries copy their settings.


def password(dsn: str | None = None, *, credential: CredentialLike | None = None, **settings: Any) -> EntraPassword:
    """Makes the ``password=`` of libraries that call asyncpg themselves.

    ``dsn`` and ``settings`` are the same ``host``, ``ssl``, ``user`` and so on that asyncpg receives, because asyncpg
    calls a password function without its settings. The options of :class:`pgentra.TokenProvider` and
    ``allow_insecure_transport`` are accepted too. asyncpg needs a ``user``: it reads the role before it calls the
    function.

    Raises ``EntraConnectionValueError`` (``insecure_transport``), now and at each connection, if asyncpg would not use
    TLS with a remote server by these settings.
    """
    if "service_connector" in settings:
        raise _native.error(
            "invalid_connection",
            "service_connector: only the functions that open connections can pass its settings to asyncpg",
            None,
            "Use pgentra.asyncpg.connect or pgentra.asyncpg.create_pool.",
        )
    return EntraPassword(dsn, credential, settings)


def _take_password(keywords: dict[str, Any], credential: Any) -> Any:
    """Removes the result of :func:`password` from the keywords; its credential and options are applied directly."""
    given = keywords.get("password")
    if not isinstance(given, EntraPassword):
        return credential
    del keywords["password"]
    for name, value in given._options.items():
        keywords.setdefault(name, value)
    return given._credential if credential is None else credential


def _plan(
    given: dict[str, Any], credential: Any, options: Mapping[str, Any], transient: type[BaseException] | None
) -> ConnectionPlan:
    return plan(
        given,
        credential,
        options,
        transient=transient,
        variables=_VARIABLES,
        service_files=False,
        verifies_certificates=True,
    )


def _given(dsn: str | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the connection's settings by libpq's names, in asyncpg's order: keywords, URL, service."""
    given: dict[str, Any] = {}
    if dsn:
        read = _native.read_connection_string(str(dsn), "url_authority_first")
        # Without a URL asyncpg reads no service file.
        service = (keywords.get("service") or read.get("service")) if _HAS_SERVICES else None
        if service:
            given.update(_service(str(service), keywords.get("servicefile")))
        given.update((name, read[name]) for name in _SETTINGS if name in read)
    for name, keyword in _KEYWORDS.items():
        if (value := keywords.get(keyword)) is not None:
            given[name] = value
    given["timeout"] = keywords.get("timeout", 60)
    if (sslmode := _sslmode(keywords.get("ssl"))) is not None:
        given["sslmode"] = sslmode
    return given


def _service(name: str, file: Any) -> dict[str, str]:
    """Returns the settings of a service as asyncpg reads it; its files differ from libpq's."""
    from configparser import ConfigParser, Error

    if file is None:
        file = os.getenv("PGSERVICEFILE")
    if file is None:
        from asyncpg.compat import get_pg_home_directory

        if (home := get_pg_home_directory()) is None:
            return {}
        file = home / ".pg_service.conf"
    services = ConfigParser()
    try:
        services.read(file)
        found = dict(services[name]) if name in services.sections() else {}
    except (Error, OSError, UnicodeError):  # asyncpg raises the same.
        return {}
    if "database" in found:
        found.setdefault("dbname", found["database"])
    return {name: found[name] for name in _SETTINGS if name in found}


def _sslmode(ssl: Any) -> str | None:
    """Returns the argument ``ssl`` as libpq's ``sslmode``."""
    if ssl is None or isinstance(ssl, str):
        return ssl
    if hasattr(ssl, "check_hostname"):  # A context.
        return "verify-full"
    if isinstance(ssl, bool):
        return "verify-full" if ssl else "disable"
    # A member of asyncpg's enumeration; any other value switches TLS off.
    return str(getattr(ssl, "name", "disable")).replace("_", "-")


def _arguments(
    dsn: str | None,
    keywords: Mapping[str, Any],
    settings: dict[str, Any],
    given: Mapping[str, Any],
    *,
    uses_token: bool = True,
) -> dict[str, Any]:
    """Returns the arguments for ``asyncpg.connect``."""
    arguments = {**keywords, "dsn": dsn}
    sslmode = settings.pop("sslmode", None)
    file = settings.get("sslrootcert") or given.get("sslrootcert") or os.environ.get("PGSSLROOTCERT")
    for name, keyword in _KEYWORDS.items():
        value: Any = settings.pop(name, None)
        if value is not None:
            if name in ("host", "port"):
                items = value.split(",")
                value = [int(item) for item in items] if name == "port" else items
                value = value[0] if len(items) == 1 else value
            arguments[keyword] = value
    if more := {name: value for name, value in settings.items() if name in _OF_URL}:
        arguments["dsn"] = with_settings(dsn, more)
    if sslmode is not None:
        arguments["ssl"] = sslmode
    mode = arguments.get("ssl") or given.get("sslmode") or os.environ.get("PGSSLMODE")
    if uses_token and mode == "verify-full" and file in (None, "", "system") and not _has_own_certificates(arguments):
        # The system's authorities. asyncpg would use the word "system" as the name of a file, and fail without a file.
        arguments["ssl"] = verifying()
    return arguments


def verifying() -> Any:
    """Returns the argument ``ssl`` that verifies the server by the system's authorities."""
    if (roots := file_for_context()) is None:
        return True
    from ssl import create_default_context

    return create_default_context(cafile=roots)


def _has_own_certificates(arguments: Mapping[str, Any]) -> bool:
    """Returns whether asyncpg finds certificates of the user: authorities in the user's folder, or a client's."""
    if "sslcert=" in str(arguments["dsn"] or "") or os.environ.get("PGSSLCERT"):
        return True
    return os.path.exists(os.path.join(os.path.expanduser("~"), ".postgresql", "root.crt"))


def with_settings(dsn: str | None, settings: Mapping[str, Any]) -> str:
    """Returns a URL with these settings added. asyncpg accepts them in a URL only."""
    more = urlencode({name: str(value) for name, value in settings.items()})
    dsn = dsn or "postgresql://"
    return f"{dsn}{'&' if '?' in dsn else '?'}{more}"
