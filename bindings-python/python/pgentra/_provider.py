"""The public ``TokenProvider``."""

from __future__ import annotations

import sys

from . import _native
from ._credentials.source import resolve
from ._token_client import TokenClient, without_none

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Unpack

    from ._typing import CredentialLike, LoginOptions


class NotPassword:
    """Base of objects that drivers must not send as a password. psycopg, psycopg2 and SQLAlchemy use the ``str`` of a
    password that is not text."""

    __slots__ = ()

    def __str__(self) -> str:
        caller = sys._getframe(1).f_globals.get("__name__")
        if isinstance(caller, str) and caller.partition(".")[0] in ("psycopg", "psycopg2", "sqlalchemy"):
            raise TypeError(
                f"a {type(self).__name__} is not a password: pass the credential to pgentra's module for this driver, "
                "or call get() for a token at each new connection"
            )
        return repr(self)


class TokenProvider(NotPassword):
    """Returns tokens and logins for PostgreSQL, for code that opens connections itself.

    All arguments are optional. ``credential``: one of :mod:`pgentra.identity`, an object of ``azure.identity`` or
    ``azure.identity.aio``, or a callable that returns a token and its expiry; default: the default chain. ``scope``:
    default is that of the cloud. ``host``: the server's name, from which the cloud is derived. ``user``: the role to
    log in as; default: ``PGUSER``, then the token's claims, then ``fallback_username``. ``management_lookup=False``:
    the role name is not looked up with a management token. ``mode``: ``background``, ``lazy`` (never refreshes without
    a caller), ``ahead`` (also refreshes on a timer). ``cache=False`` calls the credential each time. ``ca_file``:
    certificate authorities to trust besides the system's. ``timeout``: the longest wait in seconds, 30 by default.

    Providers with equal settings share one cached token, so an application may create them as needed. A provider does
    not know a connection's settings, so it cannot determine whether TLS is used. It is therefore not a ``password=`` of
    a driver: if only a password can be passed, use ``pgentra.asyncpg.password``.

    Raises ``CredentialValueError`` for an object that is not a credential, and for an option that is unknown or has the
    wrong type.
    """

    __slots__ = ("__weakref__", "_client", "_credential", "_options")
    _pgentra_not_credential = "pass the credential that it was made from"

    def __init__(self, credential: CredentialLike | None = None, **options: Unpack[LoginOptions]) -> None:
        self._credential = credential
        self._options = without_none(options)
        self._client = TokenClient(resolve(credential), self._options, _native.environment())

    def get(self) -> str:
        """Returns an access token; blocks if no usable token is cached."""
        return self._client.token()

    async def get_async(self) -> str:
        """Returns an access token; never blocks the event loop."""
        return await self._client.token_async()

    def conninfo(self) -> dict[str, str]:
        """Returns ``{"user": role name, "password": token}``; blocks if no usable token is cached."""
        return self._client.conninfo()

    async def conninfo_async(self) -> dict[str, str]:
        """As :meth:`conninfo`; never blocks the event loop."""
        return await self._client.conninfo_async()

    login = conninfo
    login_async = conninfo_async

    def invalidate(self, token: str | None = None) -> bool:
        """Reports that a server refused a login with ``token``, by default the current one. Returns whether a newer
        token is available, which is worth one more try; blocks until it is fetched."""
        return self._client.invalidate(token)

    async def invalidate_async(self, token: str | None = None) -> bool:
        """As :meth:`invalidate`; never blocks the event loop."""
        return await self._client.invalidate_async(token)

    def url(
        self,
        host: str | None = None,
        dbname: str | None = None,
        *,
        port: int | str | None = None,
        user: str | None = None,
        scheme: str = "postgresql",
        **settings: Any,
    ) -> str:
        """Returns a connection URL for tools that accept only a URL: with the role, a token as its password, and
        ``sslmode=verify-full``. Blocks if no usable token is cached.

        The URL is a secret, and it is valid until the token expires: do not log or store it. ``host`` defaults to the
        provider's option, then ``PGHOST``; ``port`` and ``dbname`` to ``PGPORT`` and ``PGDATABASE``; ``user`` to the
        provider's role. ``scheme``: for SQLAlchemy, for example ``postgresql+psycopg``. ``settings`` are libpq's, such
        as ``connect_timeout`` and ``sslrootcert`` (default: the system's file of certificate authorities, otherwise
        Mozilla's).

        Raises ``EntraConnectionValueError`` for ``password``, ``service`` and another ``sslmode``, without a host, and
        for another kind of scheme.
        """
        from ._url import url_settings

        host = host or self._options.get("host")
        settings_of_url = url_settings({**settings, "host": host, "dbname": dbname, "port": port})
        login = self.conninfo() if user is None else {"user": user, "password": self.get()}
        return settings_of_url.write(scheme, **login)

    async def url_async(
        self,
        host: str | None = None,
        dbname: str | None = None,
        *,
        port: int | str | None = None,
        user: str | None = None,
        scheme: str = "postgresql",
        **settings: Any,
    ) -> str:
        """As :meth:`url`; never blocks the event loop."""
        from ._url import url_settings

        host = host or self._options.get("host")
        settings_of_url = url_settings({**settings, "host": host, "dbname": dbname, "port": port})
        login = await self.conninfo_async() if user is None else {"user": user, "password": await self.get_async()}
        return settings_of_url.write(scheme, **login)

    def stats(self) -> dict[str, Any]:
        """Returns credential, principal, role, times and counters (seconds). Fetches no token."""
        return self._client.stats()

    if not TYPE_CHECKING:

        def __call__(self, *_: Any, **__: Any) -> Any:
            """Refuses a call by a driver that received the provider as its password."""
            raise _native.error(
                "insecure_transport",
                "password: a TokenProvider does not know whether the connection uses TLS",
                None,
                "Connect by pgentra's module for the driver, pass password=pgentra.asyncpg.password(...), or call "
                "get() for the token.",
            )

    def __repr__(self) -> str:
        return f"TokenProvider({self._client.name})"

    def __deepcopy__(self, _memo: Any) -> TokenProvider:
        return self  # It is immutable.

    def __copy__(self) -> TokenProvider:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickle, (type(self), self._credential, self._options)


def _unpickle(kind: type[TokenProvider], credential: Any, options: dict[str, Any]) -> TokenProvider:
    """Makes a pickled provider anew."""
    return kind(credential, **options)
