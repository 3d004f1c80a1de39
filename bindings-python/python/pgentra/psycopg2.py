"""psycopg2 connections that log in with Microsoft Entra.

>>> import psycopg2
>>> from pgentra.psycopg2 import EntraConnection
>>> connection = psycopg2.connect("host=... dbname=...", connection_factory=EntraConnection)  # doctest: +SKIP

The same for the pools of ``psycopg2.pool``. With a credential the factory is
``functools.partial(EntraConnection, credential=...)``, since ``psycopg2.connect`` refuses keywords that libpq does not
know.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial

import psycopg2
from psycopg2.extensions import connection, make_dsn, parse_dsn

from ._login import check_connection_string, is_credential, plan, take_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from ._typing import CredentialLike

    C = TypeVar("C", bound="EntraConnection")

__all__ = ["EntraConnection"]


class _RefusedOnce(psycopg2.OperationalError):
    """The server refused the login, and a newer token is there."""


_is_last_try: ContextVar[bool] = ContextVar("_is_last_try", default=False)


class _Opening(type):
    """A connection object that failed to open cannot be opened again, so the second try is another object."""

    def __call__(cls: type[C], *args: Any, **keywords: Any) -> C:  # type: ignore[misc]
        try:
            return type.__call__(cls, *args, **keywords)  # type: ignore[no-any-return]
        except _RefusedOnce:
            pass
        before = _is_last_try.set(True)
        try:
            return type.__call__(cls, *args, **keywords)  # type: ignore[no-any-return]
        finally:
            _is_last_try.reset(before)


class EntraConnection(connection, metaclass=_Opening):
    """A psycopg2 connection whose user and password come from an Entra token, as far as they are not given.

    ``credential``, the options of :class:`pgentra.TokenProvider`, ``service_connector``, ``require_entra`` and
    ``allow_insecure_transport`` are pgentra's; every other keyword is libpq's and wins over ``dsn``. A refused login is
    tried once more with a renewed token; an asynchronous connection (``async_=1``) is not, since its login goes on
    after this call. Its token is fetched before: the call blocks while there is none.

    Raises what psycopg2 raises, and the classes of ``pgentra.errors``.
    """

    def __init__(
        self, dsn: str = "", async_: int = 0, *, credential: CredentialLike | None = None, **keywords: Any
    ) -> None:
        check_connection_string("dsn", dsn)
        if is_credential(async_):
            check_connection_string("the second argument", async_)
        _, options = take_options(keywords)
        async_ = keywords.pop("async", async_)  # psycopg2's own class has both names for it.
        dsn = make_dsn(dsn, **keywords)
        planned = plan(parse_dsn(dsn), credential, options, transient=psycopg2.OperationalError)
        login = planned.login()
        # Replication connections, which may be a second base, know this name only.
        mode = {"async": async_} if async_ else {}
        try:
            super().__init__(make_dsn(dsn, **planned.settings(login)), **mode)
        except psycopg2.OperationalError as error:
            if not _is_last_try.get() and planned.renew(login, error) is not None:
                raise _RefusedOnce(*error.args) from error
            planned.explain(login, error)
            raise

    @classmethod
    def connect(
        cls: type[C],
        dsn: str = "",
        *,
        credential: CredentialLike | None = None,
        cursor_factory: Any = None,
        **keywords: Any,
    ) -> C:
        """Opens a connection; everything as in ``psycopg2.connect``, with this class's own keywords besides."""
        check_connection_string("dsn", dsn)
        _, options = take_options(keywords)
        factory = partial(cls, credential=credential, **options)
        opened: C = psycopg2.connect(dsn, connection_factory=factory, cursor_factory=cursor_factory, **keywords)
        return opened
