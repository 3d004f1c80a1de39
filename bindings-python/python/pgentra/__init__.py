"""Logs an application in to PostgreSQL with a Microsoft Entra identity instead of a password.

The drivers' modules are :mod:`pgentra.psycopg3`, :mod:`pgentra.psycopg2`, :mod:`pgentra.asyncpg` and
:mod:`pgentra.sqlalchemy`; :mod:`pgentra.identity` has the credentials, :mod:`pgentra.errors` the errors. This module
has the helpers for all other drivers. ``credential`` is optional everywhere; the default is the default chain.
Importing this package imports no driver and no Azure SDK.
"""

from __future__ import annotations

import atexit

# The modules that the library's threads use are imported here, on the application's thread. Python 3.10 to 3.12 regard
# the thread that first imports `threading` as the main thread, and wait at exit for its end; and a child that is forked
# during an import on another thread inherits the lock of the module. `logging` is imported before `atexit.register`
# below, so that events are delivered before it closes its handlers.
import logging
import threading  # noqa: F401

try:
    from . import _native
except ImportError as error:
    from ._platform import explained

    raise explained(error) from error

from . import errors
from ._process_wide import enable_process_wide
from ._provider import TokenProvider
from ._token_client import CLIENTS, client_for
from .errors import AuthenticationError, _for_azure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Unpack

    from ._typing import CredentialLike, LoginOptions, Options

__all__ = [
    "AZURE_DB_FOR_POSTGRES_SCOPE",
    "AZURE_MANAGEMENT_SCOPE",
    "TokenProvider",
    "__version__",
    "decode_jwt",
    "enable_process_wide",
    "errors",
    "get_entra_conninfo",
    "get_entra_conninfo_async",
    "get_entra_token",
    "get_entra_token_async",
    "parse_principal_name",
    "stats",
]

__version__: str = _native.__version__

AZURE_DB_FOR_POSTGRES_SCOPE: str = _native.DATABASE_SCOPE
"""The scope of a token for PostgreSQL in the public cloud."""
AZURE_MANAGEMENT_SCOPE: str = _native.MANAGEMENT_SCOPE
"""The scope of a token for Azure Resource Manager in the public cloud."""

decode_jwt = _native.decode_jwt
parse_principal_name = _native.parse_principal_name


def _shutdown() -> None:
    if _native.shutdown():
        return
    # A handler still processes an event. `logging.shutdown` would wait for its lock, so that handler is removed.
    for handler in list(logging._handlerList):  # type: ignore[attr-defined]
        lock = getattr(handler(), "lock", None)
        if lock is None:
            continue
        if lock.acquire(blocking=False):
            lock.release()
        else:
            logging._handlerList.remove(handler)  # type: ignore[attr-defined]


# The library's threads must not need the interpreter after its finalization. For the same reason `errors` is imported
# here, and the environment is read for the first time here: native code runs as little Python code as possible.
atexit.register(_shutdown)
_native.environment()


def get_entra_token(
    credential: CredentialLike | None = None, scope: str | None = None, **options: Unpack[Options]
) -> str:
    """Returns an access token; blocks if no usable token is cached. ``options`` are those of :class:`TokenProvider`.

    Raises ``AuthenticationError`` or its subclass ``CredentialUnavailableError``, which are also the Azure SDK's
    classes if that is loaded; ``CredentialValueError`` for an object that is not a credential, and for an option that
    is unknown or has the wrong type.
    """
    try:
        return client_for(credential, {"scope": scope, **options}).token()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


async def get_entra_token_async(
    credential: CredentialLike | None = None, scope: str | None = None, **options: Unpack[Options]
) -> str:
    """As :func:`get_entra_token`; never blocks the event loop."""
    try:
        return await client_for(credential, {"scope": scope, **options}).token_async()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


def get_entra_conninfo(credential: CredentialLike | None = None, **options: Unpack[LoginOptions]) -> dict[str, str]:
    """Returns ``{"user": role name, "password": token}``; blocks if no usable token is cached.

    ``options`` are those of :class:`TokenProvider`. Raises the errors of :func:`get_entra_token`, and
    ``TokenDecodeError``, ``UsernameExtractionError`` or ``ScopePermissionError`` if no role name can be determined.
    """
    # The most frequent call. The result is the same as below.
    if not options and (conninfo := _native.try_conninfo(CLIENTS, credential)) is not None:
        return conninfo
    try:
        return client_for(credential, options).conninfo()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


async def get_entra_conninfo_async(
    credential: CredentialLike | None = None, **options: Unpack[LoginOptions]
) -> dict[str, str]:
    """As :func:`get_entra_conninfo`; never blocks the event loop."""
    try:
        return await client_for(credential, options).conninfo_async()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


def stats() -> list[dict[str, Any]]:
    """Returns credential, principal, times and counters (seconds) of every cache entry of this process."""
    return _native.stats()
