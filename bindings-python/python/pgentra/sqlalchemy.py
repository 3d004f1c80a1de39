"""SQLAlchemy engines whose connections log in with Microsoft Entra.

>>> from sqlalchemy import create_engine
>>> from pgentra.sqlalchemy import enable_entra_authentication
>>> engine = create_engine("postgresql+psycopg://...")  # doctest: +SKIP
>>> enable_entra_authentication(engine)  # doctest: +SKIP

The drivers are psycopg, psycopg2, pg8000, and, for asynchronous engines, psycopg and asyncpg.
"""

from __future__ import annotations

from functools import partial
from weakref import WeakKeyDictionary

from sqlalchemy import event, exc
from sqlalchemy.engine import make_url

from . import _native
from ._foreign import source_of
from ._login import connect, plan, take_options
from .errors import PgEntraError, _also, _rebuild

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sqlalchemy import URL, Engine
    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine

    Arguments = dict[str, Any]
    Opener = Callable[[Dialect, list[Any], Arguments, Arguments], Any]

__all__ = ["create_asyncpg_engine", "enable_entra_authentication", "enable_entra_authentication_async"]


def enable_entra_authentication(
    engine: Engine, credential: Any = None, *, fallback_username: str | None = None, **options: Any
) -> None:
    """Makes every new connection of ``engine`` log in with Entra, as far as user and password are not given.

    The credential, and any option of pgentra's doors, may also stand in ``connect_args``, where it wins; ``timeout`` is
    asyncpg's or pg8000's own there. A ``connection_factory`` that is no subclass of ``EntraConnection``, and any
    ``async_creator_fn``, is refused at the first connection. A second call for the same engine changes the settings.
    Connections of an engine made with ``creator=`` are left alone: SQLAlchemy tells nobody of them.

    Raises ``EntraConnectionValueError`` where the engine's driver is none of psycopg, psycopg2, pg8000 and asyncpg, and
    ``CredentialValueError`` for what is no credential.
    """
    _enable(engine, {"credential": credential, "fallback_username": fallback_username, **options})


def enable_entra_authentication_async(
    engine: AsyncEngine, credential: Any = None, *, fallback_username: str | None = None, **options: Any
) -> None:
    """The same for an asynchronous engine. The event loop is never blocked, whatever the kind of credential."""
    _enable(engine.sync_engine, {"credential": credential, "fallback_username": fallback_username, **options})


def create_asyncpg_engine(url: str | URL, credential: Any = None, **kwargs: Any) -> AsyncEngine:
    """Makes an asynchronous engine on asyncpg that logs in with Entra.

    ``sslmode`` in the URL or in ``connect_args`` becomes asyncpg's ``ssl``. A user and a password in either win. The
    options of pgentra's doors are taken too; everything else is ``create_async_engine``'s.
    """
    from sqlalchemy.ext.asyncio import create_async_engine  # Needs greenlet, which synchronous engines do without.

    _, options = take_options(kwargs)
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), **kwargs)
    enable_entra_authentication_async(engine, credential, **options)
    return engine


class _Listener:
    """Opens the connections of one dialect object, which is an engine's own."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.settings: Arguments = {}

    def __call__(self, dialect: Dialect, _record: Any, arguments: list[Any], parameters: Arguments) -> Any:
        # A copy: until SQLAlchemy 2.0.48 all connections of an engine share the dict.
        parameters = dict(parameters)
        credential, options = take_options(parameters, _LEAVE.get(dialect.driver, ()))
        entra = {**self.settings, **options}
        if credential is not None:
            entra["credential"] = credential
        try:
            return self._opener(dialect, list(arguments), parameters, entra)
        except PgEntraError as error:
            raise _as_raised(error) from error.__cause__


class _Transient(exc.OperationalError):
    """What programs on SQLAlchemy catch around a connect that may work the next time."""

    def __init__(self, message: str) -> None:
        super().__init__(None, None, Exception(message))
        self.args = (message,)  # SQLAlchemy puts the name of the driver's class before it, and there is none.


def _as_raised(error: PgEntraError) -> PgEntraError:
    """An error of the driver's class is put into one of SQLAlchemy's, and ours would be hidden inside. So it is made
    one of SQLAlchemy's itself, in place of the driver's."""
    _, (bases, arguments, state) = error.__reduce__()
    bases = tuple(base for base in bases if issubclass(base, PgEntraError))
    ours = _rebuild(bases, arguments, state)
    return _also(ours, _Transient) if error.detail.get("transient") else ours


# Drivers with a `timeout` of their own.
_LEAVE = {"asyncpg": ("timeout",), "pg8000": ("timeout",)}

_listeners: WeakKeyDictionary[Dialect, _Listener] = WeakKeyDictionary()


def _enable(engine: Engine, settings: Arguments) -> None:
    source_of(settings["credential"])  # What is no credential is told now, not at the first connection.
    dialect = engine.dialect
    listener = _listeners.get(dialect)
    if listener is None:
        opener = _OPENERS.get((dialect.name, dialect.driver, dialect.is_async))
        if opener is None:
            raise _native.error(
                "invalid_connection",
                f"{dialect.name}+{dialect.driver}: not a driver that pgentra knows",
                None,
                "Use postgresql+psycopg, +psycopg2, +pg8000 or +asyncpg.",
            )
        listener = _Listener(opener)
        event.listen(engine, "do_connect", listener)
        _listeners[dialect] = listener
    listener.settings = {name: value for name, value in settings.items() if value is not None}


def _psycopg2(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    from .psycopg2 import EntraConnection

    factory = parameters.pop("connection_factory", EntraConnection)
    if not (isinstance(factory, type) and issubclass(factory, EntraConnection)):
        raise _in_place_of_entra("connection_factory", "Derive it from pgentra.psycopg2.EntraConnection.")
    return dialect.connect(*arguments, connection_factory=partial(factory, **entra), **parameters)


def _psycopg(_: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    from .psycopg3 import EntraConnection

    opener: Callable[..., Any] = EntraConnection.connect
    return opener(*arguments, **parameters, **entra)


def _psycopg_async(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    from .psycopg3 import AsyncEntraConnection

    connect: Callable[..., Any] = AsyncEntraConnection.connect
    return _connect_async(dialect, arguments, parameters, partial(connect, **entra))


def _asyncpg(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    from . import asyncpg

    sslmode = parameters.pop("sslmode", None)
    if sslmode is not None:
        parameters.setdefault("ssl", sslmode)
    credential, options = take_options(entra)
    # No error of ours derives from asyncpg's: SQLAlchemy would translate it into one of its own and drop our class.
    opener = partial(asyncpg._connect, credential=credential, options=options, **entra)
    return _connect_async(dialect, arguments, parameters, opener)


def _connect_async(dialect: Dialect, arguments: list[Any], parameters: Arguments, opener: Callable[..., Any]) -> Any:
    if "async_creator_fn" in parameters:
        raise _in_place_of_entra("async_creator_fn", "Leave it out.")
    return dialect.connect(*arguments, async_creator_fn=opener, **parameters)


def _in_place_of_entra(name: str, advice: str) -> PgEntraError:
    message = f"connect_args: `{name}` would open the connection in the place of pgentra"
    return _native.error("invalid_connection", message, None, advice)


def _pg8000(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    """pg8000 has no module of its own here. It reads no variable and no file, and TLS is a context."""
    import pg8000

    credential, options = take_options(entra)
    context = parameters.get("ssl_context")
    given = {
        **{name: parameters.get(name) for name in ("user", "password")},
        "host": parameters.get("unix_sock") or parameters.get("host"),
        "sslmode": None if context is None else "disable" if context is False else "require",
        "timeout": parameters.get("timeout"),
    }
    planned = plan(given, credential, options, settings=dict.fromkeys(given))
    parameters.update(entra)  # What is not ours is pg8000's, or unknown to both.

    def attempt(settings: dict[str, str]) -> Any:
        if settings.pop("sslmode", None) is not None:
            parameters["ssl_context"] = True
        try:
            return dialect.connect(*arguments, **{**parameters, **settings})
        except pg8000.Error as error:
            # The server's fields are a dict, where other drivers have a message and a `sqlstate`.
            fields = error.args[0] if error.args else None
            if not isinstance(fields, dict):
                raise
            told = type(error)(fields.get("M"))
            told.sqlstate = fields.get("C")
            raise told from error

    return connect(planned, attempt, pg8000.Error)


_OPENERS: dict[tuple[str, str, bool], Opener] = {
    ("postgresql", "psycopg2", False): _psycopg2,
    ("postgresql", "psycopg", False): _psycopg,
    ("postgresql", "psycopg", True): _psycopg_async,
    ("postgresql", "asyncpg", True): _asyncpg,
    ("postgresql", "pg8000", False): _pg8000,
}
