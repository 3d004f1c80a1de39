"""psycopg2 connections that log in with Microsoft Entra.

>>> import psycopg2
>>> from pgentra.psycopg2 import EntraConnection
>>> connection = psycopg2.connect("host=... dbname=...", connection_factory=EntraConnection)  # doctest: +SKIP

The same works in the pools of ``psycopg2.pool``. To pass a credential, the factory is
``functools.partial(EntraConnection, credential=...)``, because ``psycopg2.connect`` refuses keywords that are not
libpq's.
"""

from __future__ import annotations

from contextvars import ContextVar
from functools import partial

import psycopg2
from psycopg2.extensions import connection, make_dsn, parse_dsn

from ._login import check_connection_string, is_credential, plan, refuse_text_of_function, take_options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    from ._typing import CredentialLike

    C = TypeVar("C", bound="EntraConnection")

__all__ = ["EntraConnection"]


class _RetryWithNewerToken(psycopg2.OperationalError):
    """The server refused the login, and a newer token is available."""


_is_last_try: ContextVar[bool] = ContextVar("_is_last_try", default=False)


class _Opening(type):
    """Makes a second connection object for the second attempt: an object that failed to open cannot be opened again."""

    def __call__(cls: type[C], *args: Any, **keywords: Any) -> C:  # type: ignore[misc]
        try:
            return type.__call__(cls, *args, **keywords)  # type: ignore[no-any-return]
        except _RetryWithNewerToken:
            pass
        before = _is_last_try.set(True)
        try:
            return type.__call__(cls, *args, **keywords)  # type: ignore[no-any-return]
        finally:
            _is_last_try.reset(before)


class EntraConnection(connection, metaclass=_Opening):
    """A psycopg2 connection whose user and password come from an Entra token, unless they are given.

    ``credential``, the options of :class:`pgentra.TokenProvider`, ``service_connector``, ``require_entra``,
    ``ignore_password`` and ``allow_insecure_transport`` are pgentra's; every other keyword is libpq's and replaces the
    setting in ``dsn``. After a login error one more attempt is made with a newer token. An asynchronous connection
    (``async_=1``) makes no second attempt, because its login continues after this call; its token is fetched before
    that, and the call blocks if no usable token is cached.

    Raises psycopg2's exceptions, and the classes of ``pgentra.errors``.
    """

    def __init__(
        self, dsn: str = "", async_: int = 0, *, credential: CredentialLike | None = None, **keywords: Any
    ) -> None:
        check_connection_string("dsn", dsn)
        if is_credential(async_):
            check_connection_string("the second argument", async_)
        _, options = take_options(keywords)
        async_ = keywords.pop("async", async_)  # psycopg2's own class accepts both names.
        dsn = make_dsn(dsn, **keywords)
        settings = parse_dsn(dsn)
        refuse_text_of_function(settings.get("password"))
        planned = plan(settings, credential, options, transient=psycopg2.OperationalError)
        login = planned.login()
        # Replication connections, which may be a second base class, accept this name only.
        mode = {"async": async_} if async_ else {}
        try:
            super().__init__(make_dsn(dsn, **planned.settings(login).over()), **mode)
        except psycopg2.OperationalError as error:
            if not _is_last_try.get() and planned.renew(login, error) is not None:
                raise _RetryWithNewerToken(*error.args) from error
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
        """Opens a connection with the arguments of ``psycopg2.connect`` and of this class."""
        check_connection_string("dsn", dsn)
        _, options = take_options(keywords)
        factory = partial(cls, credential=credential, **options)
        opened: C = psycopg2.connect(dsn, connection_factory=factory, cursor_factory=cursor_factory, **keywords)
        return opened
