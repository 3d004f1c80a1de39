"""What pgentra raises.

Every error carries, as data, what its text says: ``kind`` (the stable number), ``code`` (its stable string), ``aadsts``
(the number behind ``AADSTS``, or None) and ``detail`` (a dict; the table is in
https://github.com/pgentra/pgentra/blob/main/docs/errors.md). No error holds a token, a secret or a raw response body. A
credential's own exception is ``__cause__``.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = [
    "AuthenticationError",
    "AzurePgEntraError",
    "ClientAuthenticationError",
    "CredentialUnavailableError",
    "CredentialValueError",
    "EntraConnectionValueError",
    "PgEntraError",
    "ScopePermissionError",
    "TokenDecodeError",
    "UsernameExtractionError",
]


class PgEntraError(Exception):
    """Base of all errors of this library, and the class of those that have no other."""

    kind: int = 22
    """The stable number of the error's kind."""
    code: str = "internal"
    """The stable name of the error's kind."""
    aadsts: int | None = None
    """The number behind ``AADSTS``, where Entra gave one."""
    detail: Mapping[str, Any] = {}
    """Everything the error knows, as data: credential, HTTP status, trace id, the attempts of a chain."""

    def __str__(self) -> str:
        # Bases from elsewhere (azure.core's) have a text of their own; it would hide the advice.
        return str(self.args[0]) if self.args else self.code

    def __reduce__(self) -> tuple[Any, ...]:
        bases = self.__dict__.get("_combined", (type(self),))
        state = {name: value for name, value in self.__dict__.items() if name in ("kind", "code", "aadsts", "detail")}
        return _rebuild, (bases, self.args, state)


class AuthenticationError(PgEntraError):
    """The credential is set up and brought no token."""

    kind = 2
    code = "authentication_failed"


class CredentialUnavailableError(AuthenticationError):
    """The credential is not set up on this machine; a chain goes on past it."""

    kind = 1
    code = "credential_unavailable"


class TokenDecodeError(PgEntraError):
    """The token is not a readable JWT."""

    kind = 11
    code = "token_decode"


class UsernameExtractionError(PgEntraError):
    """No role name follows from the token; pass ``user=``."""

    kind = 12
    code = "username_extraction"


class ScopePermissionError(PgEntraError):
    """The management scope was refused, so the role name could not be looked up; pass ``user=``."""

    kind = 13
    code = "scope_permission"


class CredentialValueError(PgEntraError, ValueError):
    """What was given as a credential or as an option cannot be one, or the credential returned no token."""

    kind = 14
    code = "credential_value"


class EntraConnectionValueError(PgEntraError):
    """The connection's settings rule Entra out. What fails inside a driver's ``connect`` is one of these too."""

    kind = 16
    code = "invalid_connection"


AzurePgEntraError = PgEntraError
"""The base class's name in azure-postgresql-auth."""
ClientAuthenticationError = AuthenticationError
"""The name in the Azure SDK."""


_classes: dict[tuple[type, ...], type[PgEntraError]] = {}


def _combined(bases: tuple[type, ...]) -> type[PgEntraError]:
    """A class that derives from all of ``bases`` and goes by the name of the first."""
    if len(bases) == 1:
        return bases[0]
    made = _classes.get(bases)
    if made is None:
        first = bases[0]
        names = {"__module__": first.__module__, "__qualname__": first.__qualname__, "__doc__": first.__doc__}
        made = _classes.setdefault(bases, type(first.__name__, bases, names))
    return made


def _also(error: PgEntraError, *classes: type[BaseException] | None) -> PgEntraError:
    """The same error, to be caught as any of ``classes`` too."""
    wanted = tuple(c for c in classes if c is not None and not isinstance(error, c))
    if not wanted:
        return error
    bases = (*error.__dict__.get("_combined", (type(error),)), *wanted)
    # Python refuses a class that names a base before its own subclass.
    bases = tuple(b for b in bases if not any(issubclass(other, b) for other in bases if other is not b))
    _, (_, args, state) = error.__reduce__()
    twin = _rebuild(bases, args, state)
    twin.__cause__ = error.__cause__
    twin.__suppress_context__ = True
    return twin.with_traceback(error.__traceback__)


def _for_azure(error: PgEntraError) -> PgEntraError:
    """The same error as programs and chains on the Azure SDK catch it, where that SDK is loaded."""
    core, identity = sys.modules.get("azure.core.exceptions"), sys.modules.get("azure.identity")
    unavailable = isinstance(error, CredentialUnavailableError)
    if unavailable and (theirs := getattr(identity, "CredentialUnavailableError", None)) is not None:
        return _also(error, theirs)
    return _also(error, getattr(core, "ClientAuthenticationError", None))


def _rebuild(bases: tuple[type, ...], args: tuple[Any, ...], state: dict[str, Any]) -> PgEntraError:
    error = _combined(bases)(*args)
    error.__dict__.update(state)
    if len(bases) > 1:
        error.__dict__["_combined"] = bases
    return error
