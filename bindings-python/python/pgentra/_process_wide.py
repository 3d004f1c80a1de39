"""The opt-in for a whole process: the drivers' own connect functions log in with a token.

It serves programs whose connections cannot be changed otherwise, because they take only a URL. A connection is changed
if it is for an allowed host and has no password; see ``docs/url-only-applications.md``. Drivers that are not imported
yet are changed when they are imported.
"""

from __future__ import annotations

import os
import sys
import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader, MetaPathFinder
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any, Literal

    from ._typing import CredentialLike
else:
    Loader = MetaPathFinder = object  # Importing `importlib.abc` imports `typing`.

__all__ = ["VARIABLE", "enable_by_variable", "enable_process_wide"]

VARIABLE = "PGENTRA_PROCESS_WIDE"
"""The variable that enables it when Python starts."""

_lock = threading.Lock()
_settings: dict[str, Any] | None = None
"""The credential and the options; None as long as it is not enabled."""


def enable_process_wide(
    credential: CredentialLike | None = None,
    *,
    fallback_username: str | None = None,
    scope: str | None = None,
    management_lookup: bool | None = None,
    mode: Literal["background", "lazy", "ahead"] | None = None,
    cache: bool | None = None,
    ca_file: Any = None,
    timeout: float | None = None,
) -> None:
    """Makes ``psycopg``, ``psycopg2`` and ``asyncpg`` log in with a token, wherever this process calls them.

    Only connections without a password are changed, and only if every host is one of Azure Database for PostgreSQL, or
    of those in the variable ``PGENTRA_ALLOWED_HOSTS``. The server's certificate is always verified, with the
    certificate authorities of the process. A connection to such a host whose settings would change this raises
    ``EntraConnectionValueError``.

    Call it before the program copies the drivers' functions (``from psycopg import connect``). The arguments are those
    of :class:`pgentra.TokenProvider`; a second call replaces them.

    Raises ``CredentialValueError`` for an object that is not a credential and for an option of the wrong type.
    """
    from ._provider import TokenProvider

    global _settings
    options: Any = {
        "fallback_username": fallback_username,
        "scope": scope,
        "management_lookup": management_lookup,
        "mode": mode,
        "cache": cache,
        "ca_file": ca_file,
        "timeout": timeout,
    }
    options = {name: value for name, value in options.items() if value is not None}
    TokenProvider(credential, **options)
    with _lock:
        is_first = _settings is None
        _settings = {**options, "credential": credential}
        if is_first:
            sys.meta_path.insert(0, _Finder())
            for name, change in _DRIVERS.items():
                if (module := sys.modules.get(name)) is not None:
                    change(module)


def enable_by_variable() -> None:
    """Called when Python starts, by a file of this package in its folder of packages."""
    if os.environ.get(VARIABLE, "").strip().lower() in ("1", "true", "yes", "on"):
        enable_process_wide()


def _options() -> tuple[Any, dict[str, Any]]:
    settings = dict(_settings or {})
    return settings.pop("credential", None), settings


def _change_psycopg2(module: ModuleType) -> None:
    # The function of libpq beneath `psycopg2.connect`, so that copies of that are changed too.
    original = module._connect

    def connect(dsn: str, connection_factory: Any = None, **keywords: Any) -> Any:
        from psycopg2.extensions import make_dsn, parse_dsn

        from . import _untrusted
        from ._login import connect as open_connection
        from ._login import plan

        def without_token() -> Any:
            return original(dsn, connection_factory=connection_factory, **keywords)

        if _is_entra(connection_factory):
            return without_token()
        try:
            given = parse_dsn(dsn)
        except module.ProgrammingError:
            return without_token()  # Raises it again.
        try:
            secured = _untrusted.libpq(given, ())
        except _untrusted.HostNotAllowed:
            secured = None
        if secured is None:
            return without_token()
        credential, options = _options()
        return open_connection(
            plan(secured, credential, options, transient=module.OperationalError),
            lambda settings: original(
                make_dsn(**settings.over(secured)), connection_factory=connection_factory, **keywords
            ),
            module.OperationalError,
        )

    module._connect = connect  # type: ignore[attr-defined]


def _is_entra(factory: Any) -> bool:
    """Whether a factory of psycopg2's connections logs in by itself."""
    factory = getattr(factory, "func", factory)
    if not isinstance(factory, type):
        return False
    from .psycopg2 import EntraConnection

    return issubclass(factory, EntraConnection)


def _change_psycopg(module: ModuleType) -> None:
    original = module.Connection.__dict__["connect"].__func__
    original_async = module.AsyncConnection.__dict__["connect"].__func__

    def secure(kind: type, conninfo: str, keywords: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """Returns psycopg's own arguments and the settings of libpq; None for a connection without a token."""
        from psycopg.conninfo import conninfo_to_dict

        from . import _untrusted
        from .psycopg3 import AsyncEntraConnection, EntraConnection

        if issubclass(kind, (EntraConnection, AsyncEntraConnection)):
            return None
        own = {name: value for name, value in keywords.items() if name in _untrusted.OF_PSYCOPG}
        try:
            given = conninfo_to_dict(conninfo, **{name: keywords[name] for name in set(keywords) - set(own)})
        except module.ProgrammingError:
            return None  # psycopg raises it again.
        try:
            secured = _untrusted.libpq(given, ())
        except _untrusted.HostNotAllowed:
            return None
        return None if secured is None else (own, secured)

    def connect(cls: Any, conninfo: str = "", **keywords: Any) -> Any:
        from ._login import connect as open_connection
        from ._login import plan

        if (arguments := secure(cls, conninfo, keywords)) is None:
            return original(cls, conninfo, **keywords)
        own, secured = arguments
        credential, options = _options()
        return open_connection(
            plan(secured, credential, options, transient=module.OperationalError),
            lambda settings: original(cls, "", **own, **settings.over(secured)),
            module.OperationalError,
        )

    async def connect_async(cls: Any, conninfo: str = "", **keywords: Any) -> Any:
        from ._login import connect_async as open_connection
        from ._login import plan

        if (arguments := secure(cls, conninfo, keywords)) is None:
            return await original_async(cls, conninfo, **keywords)
        own, secured = arguments
        credential, options = _options()
        return await open_connection(
            plan(secured, credential, options, transient=module.OperationalError),
            lambda settings: original_async(cls, "", **own, **settings.over(secured)),
            module.OperationalError,
        )

    module.Connection.connect = classmethod(_as(original, connect))
    module.AsyncConnection.connect = classmethod(_as(original_async, connect_async))
    module.connect = module.Connection.connect  # type: ignore[attr-defined]


def _change_asyncpg(module: ModuleType) -> None:
    original = module.connect
    names = original.__kwdefaults__

    async def connect(dsn: str | None = None, **keywords: Any) -> Any:
        from . import _native, _untrusted
        from . import asyncpg as entra

        if keywords.get("password") is not None:
            return await original(dsn, **keywords)
        read = {} if dsn is None else dict(_native.read_connection_string(str(dsn), "url_authority_first"))
        own = {name: value for name, value in keywords.items() if value is not None}
        if own.get("host"):
            read.pop("port", None)  # asyncpg reads the port together with the host.
        try:
            secured = _untrusted.asyncpg({**read, **own})
        except _untrusted.HostNotAllowed:
            secured = None
        if secured is None:
            return await original(dsn, **keywords)
        # Keywords as far as they exist, so that asyncpg parses no text that was not checked.
        renamed = {"database" if name == "dbname" else name: value for name, value in secured.items()}
        of_url = {name: renamed.pop(name) for name in set(renamed) - _untrusted.OF_ASYNCPG - set(names)}
        if isinstance(host := renamed.get("host"), str) and "," in host:
            renamed["host"] = host.split(",")
        if isinstance(port := renamed.get("port"), str):
            ports = [int(one) for one in port.split(",")]
            renamed["port"] = ports[0] if len(ports) == 1 else ports
        credential, options = _options()
        return await entra._connect(
            entra.with_settings(None, of_url) if of_url else None,
            credential=credential,
            _options=options,
            _transient=module.PostgresConnectionError,
            **renamed,
        )

    module.connect = module.connection.connect = _as(original, connect)  # type: ignore[attr-defined]


def _as(original: Callable[..., Any], function: Any) -> Any:
    """Returns a function with the name, the documentation and the signature of the original."""
    from functools import update_wrapper

    return update_wrapper(function, original)


_DRIVERS: dict[str, Callable[[ModuleType], None]] = {
    "asyncpg": _change_asyncpg,
    "psycopg": _change_psycopg,
    "psycopg2": _change_psycopg2,
}


class _Finder(MetaPathFinder):
    """Finds a driver as Python does, and has it changed after its import."""

    def __init__(self) -> None:
        self._searching = threading.local()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        change = _DRIVERS.get(fullname)
        if change is None or getattr(self._searching, "is_active", False):
            return None
        from importlib.util import find_spec

        self._searching.is_active = True
        try:
            spec = find_spec(fullname)
        finally:
            self._searching.is_active = False
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, change)
        return spec


class _Loader(Loader):
    """Loads a module with its own loader, and then changes it."""

    def __init__(self, loader: Any, change: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._change = change

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self._loader.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        # The module keeps its own loader, which others ask for its files.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._change(module)
