"""asyncpg connections and pools that log in with Microsoft Entra.

>>> import pgentra.asyncpg
>>> pool = pgentra.asyncpg.create_pool(host="...", database="...")  # doctest: +SKIP

Libraries that call asyncpg themselves and take a callable as password are given :func:`password`.
"""

from __future__ import annotations

import os
from functools import partial
from urllib.parse import urlencode

import asyncpg

from . import _native
from ._login import check_connection_string, connect_async, plan, take_options
from ._provider import NotText

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._login import Plan
    from ._typing import CredentialLike

__all__ = ["EntraPassword", "connect", "create_pool", "password"]

# asyncpg has a time limit of its own.
_LEAVE = ("timeout",)

_VARIABLES = {
    "dbname": "PGDATABASE",
    "host": "PGHOST",
    "port": "PGPORT",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
"""The variables that asyncpg reads, besides ``PGUSER``, for the settings that decide how a connection logs in."""

_SETTINGS = ("dbname", "host", "password", "port", "sslmode", "sslrootcert", "user")
"""The settings among these that a URL and a service have; asyncpg sends others to the server."""

_KEYWORDS = {"dbname": "database", "host": "host", "password": "password", "port": "port", "user": "user"}
"""Settings that are keywords too. The others can be given in a URL only."""

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
"""Further settings of libpq that asyncpg reads in a URL, or hands on to the server. The server refuses the others."""

_HAS_SERVICES = "service" in (asyncpg.connect.__kwdefaults__ or {})
"""Since 0.31."""


async def connect(dsn: str | None = None, *, credential: CredentialLike | None = None, **keywords: Any) -> Any:
    """Opens an ``asyncpg.Connection``.

    Takes every argument of ``asyncpg.connect``, and ``credential``, the options of :class:`pgentra.TokenProvider`,
    ``service_connector``, ``require_entra`` and ``allow_insecure_transport``. ``timeout`` is asyncpg's; the wait for a
    token is bounded by it too. ``password`` is a text, or what :func:`password` returns.
    Raises what asyncpg raises, and the classes of ``pgentra.errors``.
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

    async def attempt(settings: dict[str, str]) -> Any:
        return await asyncpg.connect(**_arguments(dsn, keywords, settings, given))

    return await connect_async(planned, attempt, asyncpg.InvalidAuthorizationSpecificationError)


def create_pool(dsn: str | None = None, *, credential: CredentialLike | None = None, **keywords: Any) -> Any:
    """Makes an ``asyncpg.Pool``: the arguments of ``asyncpg.create_pool`` (0.30 or newer) and of :func:`connect`."""
    check_connection_string("dsn", dsn)
    credential = _take_password(keywords, credential)
    _, options = take_options(keywords, _LEAVE)
    return asyncpg.create_pool(dsn, connect=partial(connect, credential=credential, **options), **keywords)


class EntraPassword(NotText):
    """What :func:`password` returns: awaited by asyncpg at each new connection, it gives a token."""

    __slots__ = ("_credential", "_dsn", "_keywords", "_options")
    _pgentra_not_credential = "pass the credential that it was made from"

    def __init__(self, dsn: str | None, credential: Any, keywords: dict[str, Any]) -> None:
        check_connection_string("dsn", dsn)
        _, self._options = take_options(keywords, _LEAVE)
        self._dsn = dsn
        self._credential = credential
        self._keywords = keywords
        self._plan()

    def _plan(self) -> Plan:
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
                "asyncpg would send the token without TLS where the server does not offer it",
                None,
                "Pass ssl='verify-full' or ssl='require' both to asyncpg and to pgentra.asyncpg.password.",
            )
        return planned

    async def __call__(self) -> str:
        return await self._plan().token_async()

    def __repr__(self) -> str:
        return "EntraPassword()"

    def __deepcopy__(self, _memo: Any) -> EntraPassword:
        return self  # It never changes. Libraries copy their settings.


def password(dsn: str | None = None, *, credential: CredentialLike | None = None, **settings: Any) -> EntraPassword:
    """Makes the ``password=`` of libraries that call asyncpg themselves.

    ``dsn`` and ``settings`` are the same ``host``, ``ssl``, ``user`` and so on that asyncpg is given, since it calls a
    password without telling its settings; besides, the options of :class:`pgentra.TokenProvider` and
    ``allow_insecure_transport`` are taken. asyncpg needs a ``user``; the role of a token is not known in time.

    Raises ``EntraConnectionValueError`` (``insecure_transport``), now and at each connection, where these settings do
    not make asyncpg use TLS with a server that is not on this machine.
    """
    if "service_connector" in settings:
        raise _native.error(
            "invalid_connection",
            "service_connector: only the functions that open connections can hand its settings to asyncpg",
            None,
            "Use pgentra.asyncpg.connect or pgentra.asyncpg.create_pool.",
        )
    return EntraPassword(dsn, credential, settings)


def _take_password(keywords: dict[str, Any], credential: Any) -> Any:
    """Replaces what :func:`password` made by its credential and options: here they are applied anyway."""
    given = keywords.get("password")
    if not isinstance(given, EntraPassword):
        return credential
    del keywords["password"]
    for name, value in given._options.items():
        keywords.setdefault(name, value)
    return given._credential if credential is None else credential


def _plan(
    given: dict[str, Any], credential: Any, options: Mapping[str, Any], transient: type[BaseException] | None
) -> Plan:
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
    """The connection's settings as libpq names them, in asyncpg's order: keywords, URL, service."""
    given: dict[str, Any] = {}
    if dsn:
        read = _native.connection_read(str(dsn), "url_authority_first")
        # Without a URL asyncpg looks into no service file.
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
    """The settings of a service, read as asyncpg reads them, whose files differ from libpq's."""
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
    """The argument ``ssl`` as libpq's ``sslmode``."""
    if ssl is None or isinstance(ssl, str):
        return ssl
    if hasattr(ssl, "check_hostname"):  # A context.
        return "verify-full"
    if isinstance(ssl, bool):
        return "verify-full" if ssl else "disable"
    # A member of asyncpg's enumeration; anything else switches TLS off.
    return str(getattr(ssl, "name", "disable")).replace("_", "-")


def _arguments(
    dsn: str | None, keywords: Mapping[str, Any], settings: dict[str, str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What asyncpg is called with."""
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
    if sslmode == "verify-full" and file in (None, "", "system"):
        # The system's authorities: asyncpg would take that word for the name of a file.
        arguments["ssl"] = True
    elif sslmode is not None:
        arguments["ssl"] = sslmode
    return arguments


def with_settings(dsn: str | None, settings: Mapping[str, Any]) -> str:
    """A URL with these settings besides its own. asyncpg takes them in a URL only."""
    more = urlencode({name: str(value) for name, value in settings.items()})
    dsn = dsn or "postgresql://"
    return f"{dsn}{'&' if '?' in dsn else '?'}{more}"
