"""Logs an application in to PostgreSQL with a Microsoft Entra identity instead of a password.

The drivers' modules are :mod:`pgentra.psycopg3` and its neighbours, the credentials :mod:`pgentra.identity`, the errors
:mod:`pgentra.errors`. Here are the helpers beneath them. ``credential`` may be left out everywhere: the default chain
then. Importing this package imports no driver and no Azure SDK.
"""

from __future__ import annotations

import atexit

# What the library's own threads use is imported here, on the application's thread. Python 3.10 to 3.12 take the thread
# that first imports `threading` for the main thread, and wait at exit for its end; and a child that is forked in the
# middle of an import on another thread inherits the lock of the module. `logging` comes before `atexit.register` below,
# so that events are passed on before it closes its handlers.
import logging
import threading  # noqa: F401

from . import _native, errors
from ._provider import DOORS, TokenProvider, find_doors
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
    # A handler is still at an event. `logging.shutdown` would wait for that handler's lock, so it is left out there.
    for handler in list(logging._handlerList):  # type: ignore[attr-defined]
        lock = getattr(handler(), "lock", None)
        if lock is None:
            continue
        if lock.acquire(blocking=False):
            lock.release()
        else:
            logging._handlerList.remove(handler)  # type: ignore[attr-defined]


# Threads of ours must not need the interpreter when it is gone. For the same reason the native code runs no Python code
# that it can do without: `errors` is imported here, and the environment is read for the first time.
atexit.register(_shutdown)
_native.environment()


def get_entra_token(
    credential: CredentialLike | None = None, scope: str | None = None, **options: Unpack[Options]
) -> str:
    """An access token; blocks while there is none. ``options`` are those of :class:`TokenProvider`.

    Raises ``AuthenticationError``, of which ``CredentialUnavailableError`` is one kind, and which are the Azure SDK's
    classes too where that is loaded; ``CredentialValueError`` for what is no credential and for an option that is
    unknown or of the wrong type.
    """
    try:
        return find_doors(credential, {"scope": scope, **options}).token()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


async def get_entra_token_async(
    credential: CredentialLike | None = None, scope: str | None = None, **options: Unpack[Options]
) -> str:
    """As :func:`get_entra_token`; never blocks the event loop."""
    try:
        return await find_doors(credential, {"scope": scope, **options}).token_async()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


def get_entra_conninfo(credential: CredentialLike | None = None, **options: Unpack[LoginOptions]) -> dict[str, str]:
    """``{"user": role name, "password": token}``; blocks while there is no token.

    ``options`` are those of :class:`TokenProvider`. Raises as :func:`get_entra_token`, and ``TokenDecodeError``,
    ``UsernameExtractionError`` or ``ScopePermissionError`` where no role name can be had.
    """
    # The commonest call; the same as below without a step of Python's.
    if not options and (conninfo := _native.try_conninfo(DOORS, credential)) is not None:
        return conninfo
    try:
        return find_doors(credential, options).conninfo()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


async def get_entra_conninfo_async(
    credential: CredentialLike | None = None, **options: Unpack[LoginOptions]
) -> dict[str, str]:
    """As :func:`get_entra_conninfo`; never blocks the event loop."""
    try:
        return await find_doors(credential, options).conninfo_async()
    except AuthenticationError as error:
        raise _for_azure(error) from error.__cause__


def stats() -> list[dict[str, Any]]:
    """What every cached token of this process is about: credential, principal, times and counters (seconds)."""
    return _native.stats()
