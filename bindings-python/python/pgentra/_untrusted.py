"""Connections whose settings do not come from the application, such as a database URL that a user typed.

The core decides whether such a connection may use a token of the process. This module describes a driver's arguments to
it by libpq's names, and returns the arguments with which the connection is safe: the server's certificate is verified
with the process's own certificate authorities, and GSSAPI encryption does not replace TLS.
"""

from __future__ import annotations

import os

from . import _native
from ._roots import file_for_context, find_roots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from .errors import PgEntraError

    Arguments = dict[str, Any]

OF_PSYCOPG = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"})
"""Arguments of psycopg that are not settings of libpq."""

OF_PSYCOPG2 = frozenset({"cursor_factory"})
"""Arguments of psycopg2 that are not settings of libpq."""

OF_ASYNCPG = frozenset(
    {
        "async_fallback",
        "command_timeout",
        "connection_class",
        "loop",
        "max_cacheable_statement_size",
        "max_cached_statement_lifetime",
        "prepared_statement_cache_size",
        "prepared_statement_name_func",
        "record_class",
        "server_settings",
        "statement_cache_size",
    }
)
"""Arguments of asyncpg that are not settings of libpq."""

OF_PG8000 = frozenset({"tcp_keepalive"})
"""Arguments of pg8000 that are not settings of libpq."""


class HostNotAllowed(Exception):
    """A host is not an allowed one; the text is the cause."""


def libpq(given: Mapping[str, Any], own: Iterable[str]) -> Arguments | None:
    """Returns the arguments of a driver that uses libpq, for a connection that logs in with a token.

    ``given`` are the arguments as libpq gets them, ``own`` those that it does not get. Returns None if the connection
    has a password of its own. Raises ``HostNotAllowed``, and ``EntraConnectionValueError`` for a setting that is not
    permitted.
    """
    if not _may_use_token(given, own):
        return None
    secured = {**given, **dict(_native.UNTRUSTED_SETTINGS)}
    if file := find_roots(given):
        secured["sslrootcert"] = file
    return secured


def psycopg2(given: Mapping[str, Any]) -> Arguments | None:
    """Returns psycopg2's arguments as :func:`libpq` does. SQLAlchemy 1.4 uses psycopg2's own name of ``dbname``."""
    renamed = {"dbname" if name == "database" else name: value for name, value in given.items()}
    return libpq(renamed if len(renamed) == len(given) else given, OF_PSYCOPG2)


def asyncpg(given: Mapping[str, Any]) -> Arguments | None:
    """Returns asyncpg's arguments as :func:`libpq` does."""
    from .asyncpg import _VARIABLES, verifying

    settings = {"dbname" if name == "database" else name: value for name, value in given.items() if name != "ssl"}
    if (ssl := given.get("ssl")) is not None:
        # A context has certificate authorities of its own. Its text is not a mode, so it is refused.
        settings["sslmode"] = {True: "verify-full", False: "disable"}[ssl] if isinstance(ssl, bool) else _text(ssl)
    if not _may_use_token(settings, OF_ASYNCPG, variables=_VARIABLES, service_files=False):
        return None
    secured = {name: value for name, value in given.items() if name not in ("sslmode", "gssencmode")}
    return {**secured, "ssl": "verify-full" if _file_of_process() else verifying()}


def pg8000(given: Mapping[str, Any]) -> Arguments | None:
    """Returns pg8000's arguments as :func:`libpq` does."""
    import ssl

    settings = {
        "dbname" if name == "database" else name: value for name, value in given.items() if name != "ssl_context"
    }
    context = given.get("ssl_context")
    if context is not None and context is not True:
        settings["sslmode"] = "disable" if context is False else "ssl_context"
    if not _may_use_token(settings, OF_PG8000, variables={}, service_files=False):
        return None
    return {**given, "ssl_context": ssl.create_default_context(cafile=_file_of_process() or file_for_context())}


def error(cause: str) -> PgEntraError:
    """Returns the error of a connection that must not use a token."""
    return _native.untrusted_error(cause)


def _may_use_token(
    given: Mapping[str, Any],
    own: Iterable[str],
    *,
    variables: Mapping[str, str] | None = None,
    service_files: bool = True,
) -> bool:
    names = set(given).difference(own)
    settings = {str(name): _value(given[name]) for name in names if given[name] is not None}
    request: Arguments = {"arguments": settings, "service_files": service_files}
    if variables is not None:
        request["variables"] = variables
    login, cause = _native.untrusted_login(request, True)
    if login == "host_not_allowed":
        raise HostNotAllowed(cause)
    return login == "token"


def _value(value: Any) -> Any:
    """Returns a setting as the driver reads it."""
    if isinstance(value, (list, tuple)):
        return [_text(item) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return str(value)


def _file_of_process() -> str | None:
    """Returns the file of certificate authorities that libpq would use in this process."""
    named = os.environ.get("PGSSLROOTCERT")
    if named == "system":
        return None
    if named:
        return named
    home = os.path.join(os.path.expanduser("~"), ".postgresql", "root.crt")
    return home if os.path.exists(home) else None
