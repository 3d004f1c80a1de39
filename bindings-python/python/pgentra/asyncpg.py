"""asyncpg connections and pools that log in with Microsoft Entra.

>>> import pgentra.asyncpg
>>> pool = pgentra.asyncpg.create_pool(host="...", database="...")  # doctest: +SKIP

Where only a password can be handed over, ``asyncpg.connect(user=..., password=provider)`` takes a
``pgentra.TokenProvider``; then TLS and refused logins are the caller's own care.
"""

from __future__ import annotations

from functools import partial

import asyncpg

from ._login import connect_async, plan, take_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["connect", "create_pool"]

# asyncpg has a time limit of its own.
_LEAVE = ("timeout",)

_SETTINGS = {
    "host": "PGHOST",
    "password": None,
    "user": None,
    "service": None,
    "servicefile": "PGSERVICEFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "timeout": None,
}
"""The settings of libpq that asyncpg has too, with the variables that it reads."""


async def connect(dsn: str | None = None, *, credential: Any = None, **keywords: Any) -> Any:
    """Opens an ``asyncpg.Connection``.

    Takes every argument of ``asyncpg.connect``, and ``credential``, the options of :class:`pgentra.TokenProvider`,
    ``require_entra`` and ``allow_insecure_transport``. ``timeout`` is asyncpg's; the wait for a token is bounded by it
    too.
    Raises what asyncpg raises, and the classes of ``pgentra.errors``.
    """
    return await _connect(dsn, credential=credential, transient=asyncpg.PostgresConnectionError, **keywords)


async def _connect(
    dsn: str | None = None,
    *,
    credential: Any = None,
    options: Mapping[str, Any] | None = None,
    transient: type[BaseException] | None = None,
    **keywords: Any,
) -> Any:
    """As :func:`connect`. ``options`` may hold pgentra's own ``timeout``; what may pass derives from ``transient``."""
    _, taken = take_options(keywords, _LEAVE)
    options = {**(options or {}), **taken}
    planned = plan(_settings(dsn, keywords), credential, options, transient=transient, settings=_SETTINGS)

    async def attempt(settings: dict[str, str]) -> Any:
        sslmode = settings.pop("sslmode", None)
        given: dict[str, Any] = {**keywords, **settings}
        if sslmode is not None:
            # With the system's authorities: as a word, asyncpg would take them for a file's name.
            given["ssl"] = True if sslmode == "verify-full" else sslmode
        return await asyncpg.connect(dsn, **given)

    return await connect_async(planned, attempt, asyncpg.InvalidAuthorizationSpecificationError)


def create_pool(dsn: str | None = None, *, credential: Any = None, **keywords: Any) -> Any:
    """Makes an ``asyncpg.Pool``: the arguments of ``asyncpg.create_pool`` (0.30 or newer) and of :func:`connect`."""
    _, options = take_options(keywords, _LEAVE)
    return asyncpg.create_pool(dsn, connect=partial(connect, credential=credential, **options), **keywords)


def _settings(dsn: str | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """The connection's settings as libpq names them: the keywords, then the URL, as asyncpg reads it."""
    settings = _of_url(dsn) if dsn else {}
    # Without a URL it looks into no service file.
    names = ("user", "password", "service", "servicefile") if dsn else ("user", "password")
    given = {name: keywords.get(name) for name in names}
    host = keywords.get("host")
    given["host"] = ",".join(host) if isinstance(host, (list, tuple)) else host
    given["timeout"] = keywords.get("timeout", 60)
    given["sslmode"] = _sslmode(keywords.get("ssl"))
    settings.update((name, value) for name, value in given.items() if value is not None)
    return settings


def _sslmode(ssl: Any) -> str | None:
    if ssl is None or isinstance(ssl, str):
        return ssl
    if isinstance(ssl, bool):
        return "verify-full" if ssl else "disable"
    # A context, or a member of asyncpg's enumeration of modes.
    name = getattr(ssl, "name", "verify_full")
    return str(name).replace("_", "-")


def _of_url(dsn: str) -> dict[str, Any]:
    from urllib.parse import parse_qsl, unquote, urlsplit

    url = urlsplit(dsn)
    auth, _, places = url.netloc.rpartition("@")
    user, _, password = auth.partition(":")
    hosts = [unquote(place if place.endswith("]") else _without_port(place)) for place in places.split(",")]
    # What the URL has before the question mark wins.
    return {
        **dict(parse_qsl(url.query)),
        **({"host": ",".join(hosts)} if places else {}),
        **({"user": unquote(user)} if user else {}),
        **({"password": unquote(password)} if password else {}),
    }


def _without_port(place: str) -> str:
    return place.rpartition(":")[0] or place
