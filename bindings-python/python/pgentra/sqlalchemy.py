"""SQLAlchemy engines whose connections log in with Microsoft Entra.

>>> from sqlalchemy import create_engine
>>> from pgentra.sqlalchemy import enable_entra_authentication
>>> engine = create_engine("postgresql+psycopg://...")  # doctest: +SKIP
>>> enable_entra_authentication(engine)  # doctest: +SKIP

The drivers are psycopg, psycopg2, pg8000, and, for asynchronous engines, psycopg and asyncpg.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import __version__ as sqlalchemy_version
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Engine, make_url

from . import _native
from ._credentials.source import resolve
from ._login import connect, is_credential, plan, take_options
from ._roots import file_for_context
from .errors import PgEntraError, _also, _rebuild

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from sqlalchemy.engine.interfaces import Dialect
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._login import LoginSettings
    from ._typing import CredentialLike

    Arguments = dict[str, Any]
    Opener = Callable[[Dialect, list[Any], Arguments, Arguments], Any]

__all__ = ["create_asyncpg_engine", "enable_entra_authentication", "enable_entra_authentication_async"]


def enable_entra_authentication(
    engine: Engine, credential: CredentialLike | None = None, *, fallback_username: str | None = None, **options: Any
) -> None:
    """Makes every new connection of ``engine`` log in with Entra, unless user and password are given.

    The credential, and any option of pgentra's entry points such as ``service_connector``, may also be in
    ``connect_args``, which take precedence; ``timeout`` is asyncpg's or pg8000's own there. A ``connection_factory``
    that is not a subclass of ``EntraConnection``, and any ``async_creator_fn``, is refused at the first connection. A
    second call for the same engine changes the settings. The application's listeners for ``do_connect`` are called,
    whether they were added before this call or after it; a listener that opens a connection replaces pgentra.
    Connections of an engine made with ``creator=`` are not changed: SQLAlchemy sends no event for them.

    Raises ``EntraConnectionValueError`` if the engine's driver is not psycopg, psycopg2, pg8000 or asyncpg, and
    ``CredentialValueError`` for an object that is not a credential.
    """
    _enable(engine, {"credential": credential, "fallback_username": fallback_username, **options})


def enable_entra_authentication_async(
    engine: AsyncEngine,
    credential: CredentialLike | None = None,
    *,
    fallback_username: str | None = None,
    **options: Any,
) -> None:
    """As :func:`enable_entra_authentication`, for an asynchronous engine. No kind of credential blocks the event
    loop."""
    given: Any = engine  # `_enable` refuses an object that is not an engine.
    sync_engine = getattr(given, "sync_engine", given)
    _enable(sync_engine, {"credential": credential, "fallback_username": fallback_username, **options})


def create_asyncpg_engine(url: str | URL, credential: CredentialLike | None = None, **kwargs: Any) -> AsyncEngine:
    """Makes an asynchronous engine on asyncpg that logs in with Entra.

    ``sslmode`` in the URL or in ``connect_args`` becomes asyncpg's ``ssl``; libpq's other settings for TLS, such as
    ``sslrootcert``, ``options`` and ``application_name`` are accepted too. A user and a password in either take
    precedence over the token's. The options of pgentra's entry points are accepted; all others are
    ``create_async_engine``'s.
    """
    if not isinstance(url, (str, URL)):
        raise _misplaced("url", "a text or sqlalchemy.URL", url, "Pass the URL of the database first.")
    from sqlalchemy.ext.asyncio import create_async_engine  # Needs greenlet, which synchronous engines do not need.

    _, options = take_options(kwargs)
    engine = create_async_engine(make_url(url).set(drivername="postgresql+asyncpg"), **kwargs)
    enable_entra_authentication_async(engine, credential, **options)
    return engine


class _Listener:
    """Opens the connections of one dialect object; each engine has its own."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self.settings: Arguments = {}

    def __call__(self, dialect: Dialect, record: Any, arguments: list[Any], parameters: Arguments) -> Any:
        # Copies: until SQLAlchemy 2.0.48 all connections of an engine share the dict.
        arguments, parameters = list(arguments), dict(parameters)
        # SQLAlchemy calls no listener after one that opens a connection, and the application may have added one since.
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
    """The class that applications catch around a connect that may succeed the next time."""

    def __init__(self, message: str) -> None:
        super().__init__(None, None, Exception(message))
        self.args = (message,)  # SQLAlchemy's text begins with the inner class.


def _as_raised(error: PgEntraError) -> PgEntraError:
    """Returns the error with SQLAlchemy's class instead of the driver's: SQLAlchemy wraps errors of the driver's class,
    which would hide this library's class."""
    _, (bases, arguments, state) = error.__reduce__()
    bases = tuple(base for base in bases if issubclass(base, PgEntraError))
    rebuilt = _rebuild(bases, arguments, state)
    return _also(rebuilt, _Transient) if error.detail.get("transient") else rebuilt


# Drivers that have their own `timeout`.
_LEAVE = {"asyncpg": ("timeout",), "pg8000": ("timeout",)}


# Settings of libpq that asyncpg accepts in a URL only.
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


def _misplaced(name: str, expected: str, actual: Any, advice: str) -> PgEntraError:
    if is_credential(actual):
        advice = "Pass a credential by its name: credential=..."
    kind = f"the class {actual.__name__}" if isinstance(actual, type) else type(actual).__name__
    return _native.error("invalid_connection", f"{name}: expected {expected}, got {kind}", None, advice)


def _enable(engine: Engine, settings: Arguments) -> None:
    if not isinstance(engine, Engine):
        advice = "For an AsyncEngine use enable_entra_authentication_async; for a session pass its engine."
        raise _misplaced("engine", "a SQLAlchemy engine", engine, advice)
    resolve(settings["credential"])  # Refuses an object that is not a credential now, not at the first connection.
    dialect = engine.dialect
    # Only the dialect keeps it alive: a credential may reference its engine, and both must be freed together.
    # The plugin's listener is of a derived class: it keeps its restrictions, and calls this one first.
    listener = next((one for one in dialect.dispatch.do_connect if type(one) is _Listener), None)
    if listener is None:
        listener = _Listener(opener_of(dialect))
        event.listen(engine, "do_connect", listener)
    listener.settings = {name: value for name, value in settings.items() if value is not None}


def opener_of(dialect: Dialect) -> Opener:
    """Returns the function that opens the connections of a dialect."""
    opener = _OPENERS.get((dialect.name, dialect.driver, dialect.is_async))
    if opener is None:
        raise _native.error(
            "invalid_connection",
            f"{dialect.name}+{dialect.driver}: pgentra does not support this driver",
            None,
            "Use postgresql+psycopg, +psycopg2, +pg8000 or +asyncpg.",
        )
    if dialect.is_async and sqlalchemy_version.startswith("1."):
        message = f"SQLAlchemy {sqlalchemy_version}: asynchronous engines are not supported with this version"
        raise _native.error("invalid_connection", message, None, "Update SQLAlchemy to 2.0.40 or newer.")
    return opener


def _psycopg2(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    from .psycopg2 import EntraConnection

    factory = parameters.pop("connection_factory", EntraConnection)
    made = factory.func if isinstance(factory, partial) else factory
    if not (isinstance(made, type) and issubclass(made, EntraConnection)):
        raise _in_place_of_entra("connection_factory", "Derive it from pgentra.psycopg2.EntraConnection.")
    if isinstance(factory, partial):
        entra = {**entra, **factory.keywords}  # As in all of `connect_args`, these take precedence.
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
    # Errors do not derive from asyncpg's class: SQLAlchemy would convert them and drop this library's class.
    opener = partial(asyncpg._connect, credential=credential, _options=options, **entra)
    return _connect_async(dialect, arguments, parameters, opener)


def _connect_async(dialect: Dialect, arguments: list[Any], parameters: Arguments, opener: Callable[..., Any]) -> Any:
    if "async_creator_fn" in parameters:
        raise _in_place_of_entra("async_creator_fn", "Leave it out.")
    return dialect.connect(*arguments, async_creator_fn=opener, **parameters)


def _in_place_of_entra(name: str, advice: str) -> PgEntraError:
    message = f"connect_args: `{name}` would open the connection instead of pgentra"
    return _native.error("invalid_connection", message, None, advice)


def _pg8000(dialect: Dialect, arguments: list[Any], parameters: Arguments, entra: Arguments) -> Any:
    """Opens a connection of pg8000, which reads no variable and no file; its TLS setting is a context."""
    import pg8000

    credential, options = take_options(entra)
    context = parameters.get("ssl_context")
    # Settings of libpq in the URL, which pg8000 does not have.
    tls = {name: value for name in ("sslmode", "sslrootcert") if (value := parameters.pop(name, None)) is not None}
    given = {
        **{name: parameters.get(name) for name in ("user", "password", "port", "timeout")},
        "dbname": parameters.get("database"),
        "host": parameters.get("unix_sock") or parameters.get("host"),
        "sslmode": tls.get("sslmode") if context is None else "disable" if context is False else "require",
    }
    planned = plan(given, credential, options, variables={}, service_files=False, verifies_certificates=True)
    parameters.update(entra)  # The options that are not pgentra's are pg8000's, or unknown to both.

    if context is not None:
        tls = {}

    def attempt(settings: LoginSettings) -> Any:
        try:
            return dialect.connect(*arguments, **{**parameters, **_pg8000_arguments(settings.over(tls))})
        except pg8000.Error as error:
            # The server's fields are a dict; other drivers have a message and a `sqlstate`.
            fields = error.args[0] if error.args else None
            if not isinstance(fields, dict):
                raise
            refused = type(error)(fields.get("M"))
            refused.sqlstate = fields.get("C")
            raise refused from error

    return connect(planned, attempt, pg8000.Error)


def _pg8000_arguments(settings: dict[str, Any]) -> Arguments:
    """Converts settings by libpq's names to pg8000's arguments."""
    arguments: Arguments = {name: settings[name] for name in ("host", "user", "password") if name in settings}
    if "dbname" in settings:
        arguments["database"] = settings["dbname"]
    if "port" in settings:
        arguments["port"] = int(settings["port"])
    sslmode = settings.get("sslmode")
    if sslmode in ("verify-ca", "verify-full"):
        import ssl

        file = settings.get("sslrootcert")
        cafile = file_for_context() if file in (None, "", "system") else file
        arguments["ssl_context"] = made = ssl.create_default_context(cafile=cafile)
        made.check_hostname = sslmode == "verify-full"
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
