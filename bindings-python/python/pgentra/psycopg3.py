"""psycopg 3: connections that log in with an Entra identity, alone and in the pools of ``psycopg_pool``.

``EntraConnection.connect(...)`` takes the arguments of ``psycopg.Connection.connect``, ``credential`` and the options
of every entry point. In a pool: ``ConnectionPool(conninfo, connection_class=EntraConnection, kwargs={"credential":
...})``. A user or password in the connection string, the keywords or the service file is explicit and wins.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import AsyncRowFactory, RowFactory, TupleRow

from ._login import ConnectionPlan, check_connection_string, connect_async, plan, take_options
from ._login import connect as connect_sync

# Python 3.10 does not have these in `typing`.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import Self, TypeVar

    from ._typing import CredentialLike

    Row = TypeVar("Row", covariant=True, default=TupleRow)
else:
    from psycopg.rows import Row

__all__ = ["AsyncEntraConnection", "EntraConnection"]

_NOT_CONNINFO = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold"})


class EntraConnection(Connection[Row]):
    """A ``psycopg.Connection`` that logs in with a token."""

    @classmethod
    def connect(  # type: ignore[override]  # psycopg's method takes any keyword as text.
        cls,
        conninfo: str = "",
        *,
        credential: CredentialLike | None = None,
        row_factory: RowFactory[Row] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Connects. If no usable token is cached, it blocks for at most the connection's ``connect_timeout``.

        ``credential``, the options of :class:`pgentra.TokenProvider`, ``service_connector``, ``require_entra`` and
        ``ignore_password`` and ``allow_insecure_transport`` are pgentra's; all other arguments are psycopg's.

        Raises ``psycopg.OperationalError`` as psycopg does, with an explanation of a login error;
        ``EntraConnectionValueError`` if no token was obtained, which is also a ``psycopg.OperationalError`` if a later
        attempt may succeed; ``CredentialValueError`` for an object that is not a credential and for wrong options.
        """
        return connect_sync(
            _plan(conninfo, credential, kwargs),
            lambda settings: super(EntraConnection, cls).connect(
                conninfo, row_factory=row_factory, **settings.over(kwargs)
            ),
            OperationalError,
        )


class AsyncEntraConnection(AsyncConnection[Row]):
    """A ``psycopg.AsyncConnection`` that logs in with a token."""

    @classmethod
    async def connect(  # type: ignore[override]
        cls,
        conninfo: str = "",
        *,
        credential: CredentialLike | None = None,
        row_factory: AsyncRowFactory[Row] | None = None,
        **kwargs: Any,
    ) -> Self:
        """As :meth:`EntraConnection.connect`, with synchronous and asynchronous credentials; never blocks the event
        loop."""
        return await connect_async(
            _plan(conninfo, credential, kwargs),
            lambda settings: super(AsyncEntraConnection, cls).connect(
                conninfo, row_factory=row_factory, **settings.over(kwargs)
            ),
            OperationalError,
        )


def _plan(conninfo: str, credential: Any, keywords: dict[str, Any]) -> ConnectionPlan:
    """Returns the connection's plan. Removes pgentra's options from ``keywords``."""
    check_connection_string("conninfo", conninfo)
    _, options = take_options(keywords)
    own = {name: value for name, value in keywords.items() if name not in _NOT_CONNINFO}
    return plan(conninfo_to_dict(conninfo, **own), credential, options, transient=OperationalError)
