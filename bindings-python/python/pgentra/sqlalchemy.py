"""SQLAlchemy engines whose connections log in with Microsoft Entra.

>>> from sqlalchemy import create_engine
>>> from pgentra.sqlalchemy import enable_entra_authentication
>>> engine = create_engine("postgresql+psycopg://...")  # doctest: +SKIP
>>> enable_entra_authentication(engine)  # doctest: +SKIP

The drivers are psycopg, psycopg2, pg8000, and, for asynchronous engines, psycopg and asyncpg.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import URL, Engine, event, exc
from sqlalchemy.engine import make_url

from . import _native
from ._foreign import source_of
from ._login import connect, is_credential, plan, take_options
from .errors import PgEntraError, _also, _rebuild

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._typing import CredentialLike

    Arguments = dict[str, Any]
    Opener = Callable[[Dialect, list[Any], Arguments, Arguments], Any]

__all__ = ["create_asyncpg_engine", "enable_entra_authentication", "enable_entra_authentication_async"]


def enable_entra_authentication(
    engine: Engine, credential: CredentialLike | None = None, *, fallback_username: str | None = None, **options: Any
) -> None:
    """Makes every new connection of ``engine`` log in with Entra, as far as user and password are not given.

    The credential, and any option of pgentra's entry points such as ``service_connector``, may also stand in
    ``connect_args``, where it wins; ``timeout`` is asyncpg's or pg8000's own there. A ``connection_factory`` that is no
    subclass of ``EntraConnection``, and any ``async_creator_fn``, is refused at the first connection. A second call for
    the same engine changes the settings. Listeners of the program for ``do_connect`` are asked whether they came before
    this call or after it; one that opens a connection takes pgentra's place. Connections of an engine made with
    ``creator=`` are left alone: SQLAlchemy tells nobody of them.

    Raises ``EntraConnectionValueError`` where the engine's driver is none of psycopg, psycopg2, pg8000 and asyncpg, and
    ``CredentialValueError`` for what is no credential.
    """
    _enable(engine, {"credential": credential, "fallback_username": fallback_username, **options})


def enable_entra_authentication_async(
    engine: AsyncEngine,
    credential: CredentialLike | None = None,
    *,
    fallback_username: str | None = None,
    **options: Any,
) -> None:
    """The same for an asynchronous engine. The event loop is never blocked, whatever the kind of credential."""
    given: Any = engine  # What is not an engine is refused there.
    sync_engine = getattr(given, "sync_engine", given)
    _enable(sync_engine, {"credential": credential, "fallback_username": fallback_username, **options})


def create_asyncpg_engine(url: str | URL, credential: CredentialLike | None = None, **kwargs: Any) -> AsyncEngine:
    """Makes an asynchronous engine on asyncpg that logs in with Entra.

    ``sslmode`` in the URL or in ``connect_args`` becomes asyncpg's ``ssl``; ``sslrootcert``, ``sslcert``, ``sslkey``
    and their like, ``options`` and ``application_name`` count too. A user and a password in either win. The options of
    pgentra's entry points are taken too; everything else is ``create_async_engine``'s.
    """
    if not isinstance(url, (str, URL)):
        raise _misplaced("url", "a text or sqlalchemy.URL", url, "Pass the URL of the database first.")
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

    def __call__(self, dialect: Dialect, record: Any, arguments: list[Any], parameters: Arguments) -> Any:
        # Copies: until SQLAlchemy 2.0.48 all connections of an engine share the dict.
        arguments, parameters = list(arguments), dict(parameters)
        # SQLAlchemy asks no listener after one that opens a connection, and the program may have added its own since.
        later = iter(dialect.dispatch.do_connect)
        if any(listener is self for listener in later):
            for listener in later:
                opened = listener(dialect, record, arguments, parameters)
                if opened is not None:
                    return opened
        credential, options = take_options(parameters, _LEAVE.get(dialect.driver, ()))
        entra = {**self.settings, **options}
        if credential is not None:
            entra["credential"] = credential
        try:
            return self._opener(dialect, arguments, parameters, entra)
        except PgEntraError as error:
            raise _as_raised(error) from error.__cause__


class _Transient(exc.OperationalError):
    """What programs on SQLAlchemy catch around a connect that may work the next time."""

    def __init__(self, message: str) -> None:
        super().__init__(None, None, Exception(message))
        self.args = (message,)  # SQLAlchemy's text begins with the class of what is inside.


def _as_raised(error: PgEntraError) -> PgEntraError:
    """An error of the driver's class is put into one of SQLAlchemy's, and ours would be hidden inside. So it is made
    one of SQLAlchemy's itself, in place of the driver's."""
    _, (bases, arguments, state) = error.__reduce__()
    bases = tuple(base for base in bases if issubclass(base, PgEntraError))
    ours = _rebuild(bases, arguments, state)
    return _also(ours, _Transient) if error.detail.get("transient") else ours


# Drivers with a `timeout` of their own.
_LEAVE = {"asyncpg": ("timeout",), "pg8000": ("timeout",)}


# Words of libpq that asyncpg takes in a URL only.
_OF_URL = (
    "application_name",
    "options",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
)


def _misplaced(name: str, expected: str, came: Any, advice: str) -> PgEntraError:
    if is_credential(came):
        advice = "Pass a credential by its name: credential=..."
    kind = f"the class {came.__name__}" if isinstance(came, type) else type(came).__name__
    return _native.error("invalid_connection", f"{name}: expected {expected}, got {kind}", None, advice)


def _enable(engine: Engine, settings: Arguments) -> None:
    if not isinstance(engine, Engine):
        advice = (
            "For an AsyncEngine use enable_entra_authentication_async; of a session pass the engine it is bound to."
        )
        raise _misplaced("engine", "a SQLAlchemy engine", engine, advice)
    source_of(settings["credential"])  # What is no credential is told now, not at the first connection.
    dialect = engine.dialect
    # Kept by the dialect alone: a credential may refer to its engine, and both have to go together.
    listener = next((one for one in dialect.dispatch.do_connect if isinstance(one, _Listener)), None)
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
    listener.settings = {name: value for name, value in settings.items() if value is not None}


def _psycopg2(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    from .psycopg2 import EntraConnection

    factory = parameters.pop("connection_factory", EntraConnection)
    made = factory.func if isinstance(factory, partial) else factory
    if not (isinstance(made, type) and issubclass(made, EntraConnection)):
        raise _in_place_of_entra("connection_factory", "Derive it from pgentra.psycopg2.EntraConnection.")
    if isinstance(factory, partial):
        entra = {**entra, **factory.keywords}  # As in all of `connect_args`, what stands there wins.
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

    of_url = {name: value for name in _OF_URL if (value := parameters.pop(name, None)) is not None}
    if parameters.get("ssl") is not None:
        of_url.pop("sslmode", None)
    if of_url:
        parameters["dsn"] = asyncpg.with_settings(parameters.get("dsn"), of_url)
    credential, options = take_options(entra)
    # No error of ours derives from asyncpg's: SQLAlchemy would translate it into one of its own and drop our class.
    opener = partial(asyncpg._connect, credential=credential, _options=options, **entra)
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
        **{name: parameters.get(name) for name in ("user", "password", "port", "timeout")},
        "dbname": parameters.get("database"),
        "host": parameters.get("unix_sock") or parameters.get("host"),
        "sslmode": None if context is None else "disable" if context is False else "require",
    }
    planned = plan(given, credential, options, variables={}, service_files=False, verifies_certificates=True)
    parameters.update(entra)  # What is not ours is pg8000's, or unknown to both.

    def attempt(settings: dict[str, str]) -> Any:
        settings = _pg8000_arguments(settings)
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


def _pg8000_arguments(settings: dict[str, str]) -> Arguments:
    """Settings by libpq's names as pg8000 takes them."""
    arguments: Arguments = {name: settings[name] for name in ("host", "user", "password") if name in settings}
    if "dbname" in settings:
        arguments["database"] = settings["dbname"]
    if "port" in settings:
        arguments["port"] = int(settings["port"])
    sslmode = settings.get("sslmode")
    if sslmode in ("verify-ca", "verify-full"):
        import ssl

        arguments["ssl_context"] = ssl.create_default_context(cafile=settings.get("sslrootcert"))
    elif sslmode in ("disable", "require"):
        arguments["ssl_context"] = sslmode == "require"
    return arguments


_OPENERS: dict[tuple[str, str, bool], Opener] = {
    ("postgresql", "psycopg2", False): _psycopg2,
    ("postgresql", "psycopg", False): _psycopg,
    ("postgresql", "psycopg", True): _psycopg_async,
    ("postgresql", "asyncpg", True): _asyncpg,
    ("postgresql", "pg8000", False): _pg8000,
}
