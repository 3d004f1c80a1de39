"""Types of arguments, for type checkers only: no module imports this at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, TypedDict


class SupportsGetToken(Protocol):
    """A credential of ``pgentra.identity``, ``azure.identity``, ``azure.identity.aio``, or one like them."""

    @property
    def get_token(self) -> Callable[..., Any]: ...


CredentialLike: TypeAlias = SupportsGetToken | Callable[..., Any]
"""The types of a credential argument. A callable returns a token and its expiry, or an awaitable of these."""


class Options(TypedDict, total=False):
    """The options of every helper besides credential and scope: see ``pgentra.TokenProvider``."""

    ca_file: Any
    cache: bool
    fallback_username: str | None
    host: str | None
    management_lookup: bool
    mode: Literal["background", "lazy", "ahead"] | None
    timeout: float | None
    user: str | None


class LoginOptions(Options, total=False):
    """The same options with the scope."""

    scope: str | None
