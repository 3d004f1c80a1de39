"""The errors of pgentra.

Every error has the content of its text as data: ``kind`` (the stable number), ``code`` (its stable string), ``aadsts``
(the number behind ``AADSTS``, or None) and ``detail`` (a dict; the table is in
https://github.com/pgentra/pgentra/blob/main/docs/errors.md). No error contains a token, a secret or a raw response
body. The exception of a custom credential is its ``__cause__``.
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
    """Base of all errors of this library, and the class of the errors without a class of their own."""

    kind: int = 22
    """The stable number of the error's kind."""
    code: str = "internal"
    """The stable name of the error's kind."""
    aadsts: int | None = None
    """The number behind ``AADSTS``, if Entra sent one."""
    detail: Mapping[str, Any] = {}
    """The error's data: credential, HTTP status, trace id, the attempts of a chain."""

    def __str__(self) -> str:
        # Bases of other packages (azure.core's) have their own text, which would hide the advice.
        return str(self.args[0]) if self.args else self.code

    def __reduce__(self) -> tuple[Any, ...]:
        bases = self.__dict__.get("_combined", (type(self),))
        state = {name: value for name, value in self.__dict__.items() if name in ("kind", "code", "aadsts", "detail")}
        return _rebuild, (bases, self.args, state)


class AuthenticationError(PgEntraError):
    """The credential is configured, but no token was returned."""

    kind = 2
    code = "authentication_failed"


class CredentialUnavailableError(AuthenticationError):
    """The credential is not configured on this machine; a chain tries its next member."""

    kind = 1
    code = "credential_unavailable"


class TokenDecodeError(PgEntraError):
    """The token is not a readable JWT."""

    kind = 11
    code = "token_decode"


class UsernameExtractionError(PgEntraError):
    """The token contains no role name; pass ``user=``."""

    kind = 12
    code = "username_extraction"


class ScopePermissionError(PgEntraError):
    """The management scope was refused, so the role name could not be looked up; pass ``user=``."""

    kind = 13
    code = "scope_permission"


class CredentialValueError(PgEntraError, ValueError):
    """The argument is not a credential or not a valid option, or the credential returned no token."""

    kind = 14
    code = "credential_value"


class EntraConnectionValueError(PgEntraError):
    """The connection's settings do not allow a login with Entra. Errors inside a driver's ``connect`` have this class
    too."""

    kind = 16
    code = "invalid_connection"


AzurePgEntraError = PgEntraError
"""The base class's name in azure-postgresql-auth."""
ClientAuthenticationError = AuthenticationError
"""The name in the Azure SDK."""


_classes: dict[tuple[type, ...], type[PgEntraError]] = {}


def _combined(bases: tuple[type, ...]) -> type[PgEntraError]:
    """Returns a class that derives from all of ``bases`` and has the name of the first."""
    if len(bases) == 1:
        return bases[0]
    made = _classes.get(bases)
    if made is None:
        first = bases[0]
        names = {"__module__": first.__module__, "__qualname__": first.__qualname__, "__doc__": first.__doc__}
        made = _classes.setdefault(bases, type(first.__name__, bases, names))
    return made


def _also(error: PgEntraError, *classes: type[BaseException] | None) -> PgEntraError:
    """Returns the same error with ``classes`` as further base classes."""
    wanted = tuple(c for c in classes if c is not None and not isinstance(error, c))
    if not wanted:
        return error
    bases = (*error.__dict__.get("_combined", (type(error),)), *wanted)
    # Python refuses a class that lists a base before that base's subclass.
    bases = tuple(b for b in bases if not any(issubclass(other, b) for other in bases if other is not b))
    _, (_, args, state) = error.__reduce__()
    copy = _rebuild(bases, args, state)
    copy.__cause__ = error.__cause__
    copy.__suppress_context__ = True
    return copy.with_traceback(error.__traceback__)


def _for_azure(error: PgEntraError) -> PgEntraError:
    """Returns the same error with the Azure SDK's classes as base classes, if that SDK is loaded."""
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
