"""Tokens and logins of one credential with one set of options, for the helpers and the drivers."""

from __future__ import annotations

from weakref import ReferenceType

from . import _native
from ._credentials.source import anchor_of, reference, resolve
from ._wait import await_, block, current_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ._credentials.custom import Reference
    from ._credentials.source import CredentialSource

_MAX_CLIENTS = 512
"""Clients kept for callers that pass the same credential and options again. Making one anew takes little work."""


class TokenClient:
    """Returns tokens and logins, blocking or awaited. Does not keep a custom credential alive."""

    __slots__ = ("_environment", "_options", "_provider", "_source")

    def __init__(self, source: CredentialSource, options: Mapping[str, Any], environment: _native.Environment) -> None:
        self._source = source
        self._options = {"credential": source.handle.document, "ca_file": source.handle.ca_file, **options}
        if not source.accepts_scope:
            # The credential would return the same token for a management scope.
            self._options["management_lookup"] = False
        self._environment = source.environment(environment)
        # Refuses an unknown option or a wrong type now, not at the first connection.
        provider = self._make()
        # Without a cache, each call of a custom credential has its own provider, for the caller's context.
        shared = not source.customs or options.get("cache", True) is not False
        self._provider = provider if shared else None

    @property
    def name(self) -> str:
        """The credential's name, for messages."""
        return self._source.name

    def token(self, limit: float | None = None) -> str:
        """Returns a token; blocks for at most ``limit`` seconds if no usable token is cached."""
        provider = self._provider or self._make()
        if (token := provider.try_token()) is not None:
            return token
        return block(  # type: ignore[no-any-return]
            self._source.customs, provider.token, provider.token_into, limit
        )

    async def token_async(self, limit: float | None = None) -> str:
        """As :meth:`token`; never blocks the event loop."""
        loop = current_loop(self._source.customs)
        provider = self._provider or self._make()
        if (token := provider.try_token()) is not None:
            return token
        return await await_(  # type: ignore[no-any-return]
            self._source.customs, loop, provider.token_into, limit
        )

    def login(self, limit: float | None = None) -> tuple[str, str, str]:
        """Returns role name, token and the source of the name; blocks if no usable token is cached."""
        provider = self._provider or self._make()
        if (login := provider.try_login()) is not None:
            return login
        return block(  # type: ignore[no-any-return]
            self._source.customs, provider.login, provider.login_into, limit
        )

    async def login_async(self, limit: float | None = None) -> tuple[str, str, str]:
        """As :meth:`login`; never blocks the event loop."""
        loop = current_loop(self._source.customs)
        provider = self._provider or self._make()
        if (login := provider.try_login()) is not None:
            return login
        return await await_(  # type: ignore[no-any-return]
            self._source.customs, loop, provider.login_into, limit
        )

    def conninfo(self) -> dict[str, str]:
        """Returns ``{"user": ..., "password": ...}``; blocks if no usable token is cached."""
        provider = self._provider
        if provider is not None and (conninfo := provider.try_conninfo()) is not None:
            return conninfo
        user, token, _ = self.login()
        return {"user": user, "password": token}

    async def conninfo_async(self) -> dict[str, str]:
        """As :meth:`conninfo`; never blocks the event loop."""
        user, token, _ = await self.login_async()
        return {"user": user, "password": token}

    def invalidate(self, token: str | None, limit: float | None = None) -> bool:
        """Reports that a server refused ``token`` (None: the current one). Returns whether a newer token is available,
        after blocking until it is fetched."""
        provider = self._provider or self._make()
        return block(  # type: ignore[no-any-return]
            self._source.customs, provider.invalidate, provider.invalidate_into, token, limit
        )

    async def invalidate_async(self, token: str | None, limit: float | None = None) -> bool:
        """As :meth:`invalidate`; never blocks the event loop."""
        loop = current_loop(self._source.customs)
        provider = self._provider or self._make()
        return await await_(  # type: ignore[no-any-return]
            self._source.customs, loop, provider.invalidate_into, token, limit
        )

    def stats(self) -> dict[str, Any]:
        """Returns the provider's statistics. Fetches no token."""
        return (self._provider or self._make()).stats()

    def _make(self) -> _native.Provider:
        credential = None
        if self._source.customs:
            named = (self._options.get(name) for name in ("ca_file", "host", "scope"))
            shared = self._options.get("cache", True) is not False
            credential = self._source.credential((self._environment, *named), shared=shared)
        return _native.Provider(self._options, self._environment, credential)


CLIENTS: dict[Any, tuple[_native.Provider | None, _native.Environment, TokenClient, Reference]] = {}
"""By the ``id`` of a credential without options; with options, by a tuple of the ``id`` and these. The entry is removed
when the credential is deleted."""


def client_for(credential: Any, options: Mapping[str, Any], host: str | None = None) -> TokenClient:
    """Returns the client of a credential argument with these options; the same one as long as nothing has changed.

    ``host``: the connection's server, if ``options`` has no host.
    """
    environment = _native.environment()
    anchor, function = anchor_of(credential)
    alone = function is None and host is None and not options
    # With the types: `True` and `1` are equal, but only `True` is a valid switch.
    key: Any = id(anchor) if alone else (id(anchor), function, host, *options.items(), *map(type, options.values()))
    try:
        found = CLIENTS.get(key)
    except TypeError:  # An option that cannot be hashed has the wrong type; the engine names it.
        return TokenClient(resolve(credential), {"host": host, **without_none(options)}, environment)
    if found is not None and found[1] is environment:
        return found[2]
    made = TokenClient(resolve(credential), {"host": host, **without_none(options)}, environment)
    refers = reference(anchor, lambda: CLIENTS.pop(key, None))
    if anchor is not None and not isinstance(refers, ReferenceType):
        return made  # An object that cannot be referenced weakly would be kept alive, with its thread.
    if len(CLIENTS) >= _MAX_CLIENTS:
        CLIENTS.clear()
    CLIENTS[key] = made._provider, environment, made, refers
    return made


def without_none(options: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options that are not None."""
    return {name: value for name, value in options.items() if value is not None}
