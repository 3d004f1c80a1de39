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
    """What every helper takes besides credential and scope."""

    ca_file: Any
    """A PEM file of certificate authorities to trust besides the system's."""
    cache: bool
    """Default: True. False asks the credential each time."""
    fallback_username: str | None
    """The role to log in as where the token names none."""
    host: str | None
    """The server's name, which may tell the cloud."""
    management_lookup: bool
    """Default: True. Whether a management token may be asked for the role name."""
    mode: Literal["background", "lazy", "ahead"] | None
    """When tokens are refreshed: past their refresh point while somebody asks (the default), never off the caller's
    path, or also while nobody asks."""
    timeout: float | None
    """The longest wait in seconds. Default: 30."""
    user: str | None
    """The role to log in as. Default: ``PGUSER``, then the token's claims."""


class LoginOptions(Options, total=False):
    """The same with the scope."""

    scope: str | None
    """Default: that of the cloud, which the host or the credential's authority tells."""
