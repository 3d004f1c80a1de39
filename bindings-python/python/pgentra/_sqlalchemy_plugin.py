"""The SQLAlchemy plugin ``pgentra``, for applications that take only a URL.

``postgresql+psycopg://shop.postgres.database.azure.com/orders?plugin=pgentra`` makes an engine whose connections log in
with the default credential chain. SQLAlchemy finds the plugin by this package's entry point.

The URL may come from a person who must not receive a token of the process. Therefore a token is used only for allowed
hosts, with a verified certificate, and only if the URL has no password; see ``docs/url-only-applications.md``.
"""

from __future__ import annotations

from sqlalchemy import event
from sqlalchemy.engine import CreateEnginePlugin

from . import _untrusted
from .sqlalchemy import _Listener, opener_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sqlalchemy.engine import URL, Engine
    from sqlalchemy.engine.interfaces import Dialect

    from .sqlalchemy import Arguments, Opener

__all__ = ["EntraPlugin"]


class EntraPlugin(CreateEnginePlugin):
    """Makes the connections of an engine log in with a token, as far as its URL may use one."""

    def update_url(self, url: URL) -> URL:
        """Called by SQLAlchemy, which has removed the parameter ``plugin`` itself."""
        return url

    def engine_created(self, engine: Engine) -> None:
        """Called by SQLAlchemy. Raises ``EntraConnectionValueError`` for a driver that pgentra does not support."""
        dialect = engine.dialect
        opener = opener_of(dialect)
        event.listen(engine, "do_connect", _RestrictedListener(_restricted(dialect.driver, opener)))


class _RestrictedListener(_Listener):
    """The listener of an engine whose URL selects this plugin."""


def _restricted(driver: str, opener: Opener) -> Opener:
    """Returns an opener that uses a token only if the settings permit it. They are those of the URL and of
    ``connect_args``, which some applications also take from their users."""
    secure: Callable[[Arguments], Arguments | None] = {
        "psycopg": lambda given: _untrusted.libpq(given, _untrusted.OF_PSYCOPG),
        "psycopg2": _untrusted.psycopg2,
        "asyncpg": _untrusted.asyncpg,
        "pg8000": _untrusted.pg8000,
    }[driver]

    def open_connection(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
        for name in entra:
            raise _untrusted.error(f"the setting {name} is not permitted")
        if any(arguments):
            raise _untrusted.error("a connection string is not permitted")
        try:
            secured = secure(parameters)
        except _untrusted.HostNotAllowed as refused:
            raise _untrusted.error(str(refused)) from None
        if secured is None:
            return dialect.connect(*arguments, **parameters)  # With its own password.
        return opener(dialect, arguments, secured, {})

    return open_connection
