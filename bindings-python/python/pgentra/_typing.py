"""Types of arguments. For type checkers only: nothing imports this at run time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, TypedDict


class SupportsGetToken(Protocol):
    """A credential of ``pgentra.identity``, ``azure.identity``, ``azure.identity.aio``, or one like them."""

    @property
    def get_token(self) -> Callable[..., Any]: ...


CredentialLike: TypeAlias = SupportsGetToken | Callable[..., Any]
"""What is taken for a credential. A callable returns a token and its expiry, or an awaitable of these."""


class Options(TypedDict, total=False):
    """What every helper takes besides credential and scope: see ``pgentra.TokenProvider``."""

    ca_file: Any
    cache: bool
    fallback_username: str | None
    host: str | None
    management_lookup: bool
    mode: Literal["background", "lazy", "ahead"] | None
    timeout: float | None
    user: str | None


class LoginOptions(Options, total=False):
    """The same with the scope."""

    scope: str | None
