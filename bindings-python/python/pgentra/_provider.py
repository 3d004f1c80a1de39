"""The doors: a token or a login of one credential with one set of options, blocking or awaited."""

from __future__ import annotations

import sys
from weakref import ReferenceType

from . import _native
from ._foreign import anchor_of, reference, running_loop, source_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Mapping
    from typing import Any

    from typing_extensions import Unpack

    from ._foreign import Reference, Source
    from ._typing import CredentialLike, LoginOptions

_MOST_DOORS = 512
"""Doors kept for callers who bring the same credential and options again. Without them only little work is repeated."""


class Doors:
    """What every helper and driver asks. Does not keep a foreign credential alive."""

    __slots__ = ("_environment", "_options", "_provider", "_source")

    def __init__(self, source: Source, options: Mapping[str, Any], environment: _native.Environment) -> None:
        self._source = source
        self._options = {"credential": source.document, "ca_file": source.ca_file, **options}
        if not source.takes_scope:
            # It would answer the question for a management token with the same one.
            self._options["management_lookup"] = False
        self._environment = source.environment(environment)
        # An unknown option or a wrong type is told now, not at the first connection.
        provider = self._make()
        # Without a cache each asking of a foreign one has its own, for its caller's context.
        shared = not source.foreign or options.get("cache", True) is not False
        self._provider = provider if shared else None

    def token(self, limit: float | None = None) -> str:
        """A token; blocks while there is none, at most ``limit`` seconds."""
        provider = self._provider or self._make()
        if (token := provider.try_token()) is not None:
            return token
        return _block(self._source, provider.token, provider.token_into, limit)  # type: ignore[no-any-return]

    async def token_async(self, limit: float | None = None) -> str:
        """A token; never blocks the event loop."""
        loop = _loop_here(self._source)
        provider = self._provider or self._make()
        if (token := provider.try_token()) is not None:
            return token
        return await _await(self._source, loop, provider.token_into, limit)  # type: ignore[no-any-return]

    def login(self, limit: float | None = None) -> tuple[str, str, str]:
        """Role name, token, and where the name came from; blocks while there is no token."""
        provider = self._provider or self._make()
        if (login := provider.try_login()) is not None:
            return login
        return _block(self._source, provider.login, provider.login_into, limit)  # type: ignore[no-any-return]

    async def login_async(self, limit: float | None = None) -> tuple[str, str, str]:
        """As :meth:`login`; never blocks the event loop."""
        loop = _loop_here(self._source)
        provider = self._provider or self._make()
        if (login := provider.try_login()) is not None:
            return login
        return await _await(self._source, loop, provider.login_into, limit)  # type: ignore[no-any-return]

    def conninfo(self) -> dict[str, str]:
        """``{"user": ..., "password": ...}``; blocks while there is no token."""
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
        """Tells that a server refused ``token`` (None: the current one); whether a newer one is there now. Blocks while
        it is fetched."""
        provider = self._provider or self._make()
        return _block(  # type: ignore[no-any-return]
            self._source, provider.invalidate, provider.invalidate_into, token, limit
        )

    async def invalidate_async(self, token: str | None, limit: float | None = None) -> bool:
        """As :meth:`invalidate`; never blocks the event loop."""
        loop = _loop_here(self._source)
        provider = self._provider or self._make()
        return await _await(  # type: ignore[no-any-return]
            self._source, loop, provider.invalidate_into, token, limit
        )

    def stats(self) -> dict[str, Any]:
        """What the provider knows of itself. Fetches nothing."""
        return (self._provider or self._make()).stats()

    def _make(self) -> _native.Provider:
        credential = None
        if self._source.foreign:
            named = (self._options.get(name) for name in ("ca_file", "host", "scope"))
            shared = self._options.get("cache", True) is not False
            credential = self._source.credential((self._environment, *named), shared=shared)
        return _native.Provider(self._options, self._environment, credential)


class NotText:
    """An object that drivers must not send in the place of a password. psycopg and psycopg2 write a password that is
    not a text as its ``str``."""

    __slots__ = ()

    def __str__(self) -> str:
        caller = sys._getframe(1).f_globals.get("__name__")
        if isinstance(caller, str) and caller.partition(".")[0] in ("psycopg", "psycopg2"):
            raise TypeError(
                f"a {type(self).__name__} is not a password: pass the credential to pgentra's module for this driver, "
                "or call get() for a token at each new connection"
            )
        return repr(self)


class TokenProvider(NotText):
    """A token and a login for PostgreSQL, kept fresh, for whoever builds connections themselves.

    All arguments are optional. ``credential``: one of :mod:`pgentra.identity`, an object of ``azure.identity`` or
    ``azure.identity.aio``, or a callable that returns a token and its expiry; default: the default chain. ``scope``:
    default is that of the cloud. ``host``: the server's name, which may tell the cloud. ``user``: the role to log in
    as; default: ``PGUSER``, then the token's claims, then ``fallback_username``. ``management_lookup=False``: no
    management token is asked for the role name. ``mode``: ``background``, ``lazy`` (no refresh off the caller's path),
    ``ahead`` (also while nobody asks). ``cache=False`` asks the credential each time. ``ca_file``: certificate
    authorities to trust besides the system's. ``timeout``: the longest wait in seconds, 30 by default.

    Providers of equal settings share one cached token, so they need not be kept. A provider does not know a
    connection's settings, so it cannot tell whether TLS is used. Hence it is not a ``password=`` of a driver: where
    only that can be passed, use ``pgentra.asyncpg.password``.

    Raises ``CredentialValueError`` for what is no credential and for an option that is unknown or of the wrong type.
    """

    __slots__ = ("__weakref__", "_credential", "_doors", "_options")
    _pgentra_not_credential = "pass the credential that it was made from"

    def __init__(self, credential: CredentialLike | None = None, **options: Unpack[LoginOptions]) -> None:
        self._credential = credential
        self._options = _given(options)
        self._doors = Doors(source_of(credential), self._options, _native.environment())

    def get(self) -> str:
        """An access token; blocks while there is none."""
        return self._doors.token()

    async def get_async(self) -> str:
        """An access token; never blocks the event loop."""
        return await self._doors.token_async()

    def conninfo(self) -> dict[str, str]:
        """``{"user": role name, "password": token}``; blocks while there is no token."""
        return self._doors.conninfo()

    async def conninfo_async(self) -> dict[str, str]:
        """As :meth:`conninfo`; never blocks the event loop."""
        return await self._doors.conninfo_async()

    login = conninfo
    login_async = conninfo_async

    def invalidate(self, token: str | None = None) -> bool:
        """Tells that a server refused a login with ``token``, by default the current one. Whether there is a newer one
        now, worth one more try; blocks while it is fetched."""
        return self._doors.invalidate(token)

    async def invalidate_async(self, token: str | None = None) -> bool:
        """As :meth:`invalidate`; never blocks the event loop."""
        return await self._doors.invalidate_async(token)

    def stats(self) -> dict[str, Any]:
        """Credential, principal, role, times and counters (seconds). Fetches nothing."""
        return self._doors.stats()

    if not TYPE_CHECKING:

        def __call__(self, *_: Any, **__: Any) -> Any:
            """Called by a driver that was given the provider as its password."""
            raise _native.error(
                "insecure_transport",
                "password: a TokenProvider does not know whether the connection uses TLS",
                None,
                "Connect by pgentra's module for the driver, pass password=pgentra.asyncpg.password(...), or call "
                "get() for the token.",
            )

    def __repr__(self) -> str:
        return f"TokenProvider({self._doors._source.name})"

    def __deepcopy__(self, _memo: Any) -> TokenProvider:
        return self  # It never changes.

    def __copy__(self) -> TokenProvider:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return _make_provider, (type(self), self._credential, self._options)


def _make_provider(kind: type[TokenProvider], credential: Any, options: dict[str, Any]) -> TokenProvider:
    """A pickled provider in the process that reads it."""
    return kind(credential, **options)


DOORS: dict[Any, tuple[_native.Provider | None, _native.Environment, Doors, Reference]] = {}
"""By ``id`` for a credential that came alone, else by that and what came with it. What is gone takes its own along."""


def find_doors(credential: Any, options: Mapping[str, Any], host: str | None = None) -> Doors:
    """The doors of a credential argument with these options, the same ones as long as nothing changed.

    ``host``: the connection's own, where ``options`` name none.
    """
    environment = _native.environment()
    anchor, function = anchor_of(credential)
    alone = function is None and host is None and not options
    # With the types: `True` and `1` are equal, and only one of them is a switch.
    key: Any = id(anchor) if alone else (id(anchor), function, host, *options.items(), *map(type, options.values()))
    try:
        found = DOORS.get(key)
    except TypeError:  # An option that cannot be hashed is of the wrong type; the engine says which.
        return Doors(source_of(credential), {"host": host, **_given(options)}, environment)
    if found is not None and found[1] is environment:
        return found[2]
    made = Doors(source_of(credential), {"host": host, **_given(options)}, environment)
    refers = reference(anchor, lambda: DOORS.pop(key, None))
    if anchor is not None and not isinstance(refers, ReferenceType):
        return made  # What cannot be referenced weakly would be kept with its thread.
    if len(DOORS) >= _MOST_DOORS:
        DOORS.clear()
    DOORS[key] = made._provider, environment, made, refers
    return made


def ask(source: Source, scope: str, *request: Any, limit: float | None = None) -> tuple[str, int]:
    """A token of a credential, with its expiry; blocks while there is none. ``request``: tenant, claims, CAE."""
    credential = _credential(source)
    if (token := credential.try_token(scope, *request)) is not None:
        return token
    return _block(  # type: ignore[no-any-return]
        source, credential.token, credential.token_into, scope, *request, limit
    )


async def ask_async(source: Source, scope: str, *request: Any, limit: float | None = None) -> tuple[str, int]:
    """As :func:`ask`; never blocks the event loop."""
    loop = _loop_here(source)
    credential = _credential(source)
    if (token := credential.try_token(scope, *request)) is not None:
        return token
    return await _await(source, loop, credential.token_into, scope, *request, limit)  # type: ignore[no-any-return]


def refresh_on(source: Source, scope: str, *request: Any) -> int | None:
    """When the token that was just asked for will be refreshed, in seconds since the epoch."""
    return _credential(source).refresh_on(scope, *request)


def _credential(source: Source) -> _native.Credential:
    environment = source.environment(_native.environment())
    return source.credential((environment, source.ca_file, None, None))


def _block(source: Source, door: Callable[..., Any], door_into: Callable[..., None], *arguments: Any) -> Any:
    """Waits in native code, which lets other threads run and sees signals."""
    for foreign in source.foreign:
        foreign.before_blocking()
    try:
        green = _green_wait()
        return door(*arguments) if green is None else green.wait(door_into, *arguments)
    finally:
        for foreign in source.foreign:
            foreign.after_waiting()


async def _await(source: Source, loop: AbstractEventLoop, door_into: Callable[..., None], *arguments: Any) -> Any:
    """Waits for the future that ``door_into`` completes from another thread. Cancelling it ends this wait only."""
    for foreign in source.foreign:
        foreign.before_awaiting()
    future: Any = loop.create_future()
    try:
        door_into(loop, future, *arguments)
        return await future
    finally:
        for foreign in source.foreign:
            foreign.after_waiting()


def _given(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _loop_here(source: Source) -> AbstractEventLoop:
    """The caller's event loop, which a credential of ``source`` may be at home on."""
    loop = running_loop()
    if loop is None:
        raise RuntimeError("no running event loop")
    for foreign in source.foreign:
        foreign.arrive(loop)
    return loop


def _green_wait() -> _GreenWait | None:
    """How this thread waits where gevent or eventlet has patched threads: a wait in native code would stop every
    greenlet."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        from gevent import get_hub

        return _GeventWait(get_hub())
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        from . import _eventlet

        return _EventletWait() if _eventlet.may_wait() else None
    return None


class _GreenWait:
    """A greenlet that waits, as the event loop and the future that a door completes from another thread."""

    _outcome: tuple[Any, ...]

    def wait(self, door_into: Callable[..., None], *arguments: Any) -> Any:
        """What the door brings; other greenlets go on."""
        self._wait(door_into, arguments)
        value, error = self._outcome
        if error is not None:
            raise error
        return value

    def call_soon_threadsafe(self, _settle: Any, _future: Any, *outcome: Any) -> None:
        """On another thread."""
        self._outcome = outcome
        self._wake()

    def _wait(self, door_into: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        raise NotImplementedError

    def _wake(self) -> None:
        raise NotImplementedError


class _GeventWait(_GreenWait):
    def __init__(self, hub: Any) -> None:
        from gevent.hub import Waiter

        self._waiter = Waiter(hub)
        self._alarm = hub.loop.async_()

    def _wait(self, door_into: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._alarm.start(self._waiter.switch, None)
        try:
            door_into(self, self, *arguments)
            self._waiter.get()
        finally:
            self._alarm.stop()
            self._alarm.close()

    def _wake(self) -> None:
        self._alarm.send()


class _EventletWait(_GreenWait):
    def _wait(self, door_into: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        from ._eventlet import wait_for

        def begin(wake: Callable[[], None]) -> None:
            self._wake_up = wake
            door_into(self, self, *arguments)

        wait_for(begin)

    def _wake(self) -> None:
        self._wake_up()
