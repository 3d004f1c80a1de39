"""psycopg 3: connections that log in with an Entra identity, alone and in the pools of ``psycopg_pool``.

``EntraConnection.connect(...)`` takes what ``psycopg.Connection.connect`` takes, besides ``credential`` and the options
of every entry point. In a pool:
``ConnectionPool(conninfo, connection_class=EntraConnection, kwargs={"credential": ...})``.
A user or password in the connection string, the keywords or the service file is explicit and wins.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection, Connection, OperationalError
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import AsyncRowFactory, RowFactory, TupleRow

from ._login import Plan, check_connection_string, connect_async, plan, take_options
from ._login import connect as connect_sync

# Python 3.10 has neither in `typing`.
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
    def connect(  # type: ignore[override]  # psycopg's takes any keyword as text.
        cls,
        conninfo: str = "",
        *,
        credential: CredentialLike | None = None,
        row_factory: RowFactory[Row] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Connects; blocks while there is no token, at most for the connection's ``connect_timeout``.

        ``credential``, the options of :class:`pgentra.TokenProvider`, ``service_connector``, ``require_entra`` and
        ``allow_insecure_transport`` are pgentra's; all else is psycopg's.

        Raises ``psycopg.OperationalError`` as psycopg does, with an explanation where a login was refused;
        ``EntraConnectionValueError`` where no token could be had, which is a ``psycopg.OperationalError`` too where it
        may be had later; ``CredentialValueError`` for what is no credential and for wrong options.
        """
        return connect_sync(
            _plan(conninfo, credential, kwargs),
            lambda settings: super(EntraConnection, cls).connect(
                conninfo, row_factory=row_factory, **{**kwargs, **settings}
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
                conninfo, row_factory=row_factory, **{**kwargs, **settings}
            ),
            OperationalError,
        )


def _plan(conninfo: str, credential: Any, keywords: dict[str, Any]) -> Plan:
    """The connection's plan. Takes what is ours out of ``keywords``."""
    check_connection_string("conninfo", conninfo)
    _, options = take_options(keywords)
    own = {name: value for name, value in keywords.items() if name not in _NOT_CONNINFO}
    return plan(conninfo_to_dict(conninfo, **own), credential, options, transient=OperationalError)
