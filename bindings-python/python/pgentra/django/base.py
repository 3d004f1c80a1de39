"""The backend ``pgentra.django``."""

from __future__ import annotations

from contextlib import suppress

from django.db.backends.postgresql import base
from django.utils.asyncio import async_unsafe

from .. import _native
from .._login import connect
from ..errors import PgEntraError
from ._login import as_django_error, fill_from_service_connector, plan_of
from .client import DatabaseClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["DatabaseWrapper", "EntraMixin"]


class EntraMixin:
    """Makes a ``DatabaseWrapper`` of Django's PostgreSQL backend, or of one that extends it, log in with a token."""

    client_class = DatabaseClient

    if TYPE_CHECKING:
        Database: Any
        settings_dict: dict[str, Any]

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        # Commands that do not connect run without the variables. Connecting raises the error.
        with suppress(PgEntraError):
            fill_from_service_connector(self.settings_dict)

    def get_connection_params(self) -> dict[str, Any]:
        """Returns the driver's arguments, together with pgentra's options."""
        fill_from_service_connector(self.settings_dict)
        parameters: dict[str, Any] = super().get_connection_params()  # type: ignore[misc]
        return parameters

    @async_unsafe  # type: ignore[untyped-decorator]
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Connects; blocks while there is no token.

        Raises ``django.db.OperationalError`` for a refused login, with an explanation, and if no token can be fetched;
        the latter is an ``EntraConnectionValueError`` too.
        """
        new_connection = super().get_new_connection  # type: ignore[misc]
        if (pool := self.pool) is not None:
            return _from_pool(pool, lambda: new_connection(conn_params))
        conn_params = dict(conn_params)
        planned = plan_of(conn_params, self.Database.OperationalError)
        try:
            return connect(
                planned,
                lambda settings: new_connection(settings.over(conn_params)),
                self.Database.OperationalError,
            )
        except PgEntraError as error:
            raise as_django_error(error) from error.__cause__

    @property
    def pool(self) -> Any:
        """The pool of this database, whose connections log in with a token; ``None`` without a pool."""
        pool = getattr(super(), "pool", None)  # Since Django 5.1.
        if pool is not None and not hasattr(pool.connection_class, "last_failure"):
            # Django has not opened the pool yet.
            pool.connection_class = _pooled(pool.connection_class)
        return pool


class DatabaseWrapper(EntraMixin, base.DatabaseWrapper):  # type: ignore[misc]
    """Django's ``DatabaseWrapper`` for PostgreSQL, which logs in with a token."""


def _pooled(given: type) -> type:
    """Returns the class of a pool's connections; ``given`` is the one that the pool was made with.

    A pool opens connections in the background. Therefore its options contain the credential, and each connection
    fetches its own token.
    """
    from psycopg import Connection

    from ..psycopg3 import EntraConnection

    if given is Connection:
        given = EntraConnection
    elif not issubclass(given, EntraConnection):
        raise _native.error(
            "invalid_connection",
            "pool: `connection_class` would open the connection instead of pgentra",
            None,
            "Derive it from pgentra.psycopg3.EntraConnection.",
        )

    class PooledConnection(given):  # type: ignore[misc]
        last_failure: str | None = None
        """The message of the last attempt's error; ``None`` after a success."""

        @classmethod
        def connect(cls, *arguments: Any, **keywords: Any) -> Any:
            try:
                connection = super().connect(*arguments, **keywords)
            except Exception as error:
                PooledConnection.last_failure = str(error)
                raise
            PooledConnection.last_failure = None
            return connection

    return PooledConnection


def _from_pool(pool: Any, new_connection: Any) -> Any:
    from psycopg_pool import PoolTimeout

    try:
        return new_connection()
    except PoolTimeout as error:
        if (failure := pool.connection_class.last_failure) is not None:
            # Django's error has the same arguments.
            error.args = (f"{error}\nThe last attempt to connect failed: {failure}", *error.args[1:])
        raise
