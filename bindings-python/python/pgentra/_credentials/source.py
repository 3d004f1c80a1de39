"""Resolves a credential argument, once, to what the engine builds the credential from."""

from __future__ import annotations

import weakref
from contextvars import copy_context
from types import MethodType

from .. import _native
from .._wait import await_, block, current_loop
from .custom import CustomCredential, pop_oldest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from .custom import Reference

_MAX_CREDENTIALS = 64
"""Engine credentials kept for one source."""

_DRIVER_PACKAGES = frozenset({"asyncpg", "pg8000", "psycopg", "psycopg2", "psycopg_pool", "sqlalchemy"})
"""Packages whose objects are engines, sessions, pools or connections. Some of these objects can be called."""

_TEXT_ADVICE = "Pass a token as StaticTokenCredential(token); leave the credential out for the default chain."


class CredentialSource:
    """A credential argument as the engine's handle, with the custom credentials that take part."""

    __slots__ = ("_credentials", "accepts_scope", "customs", "handle")

    def __init__(self, handle: _native.CredentialHandle, customs: tuple[CustomCredential, ...] = ()) -> None:
        self.handle = handle
        self.customs = customs
        self.accepts_scope = not handle.is_custom or customs[0].accepts_scope
        # By settings.
        self._credentials: dict[tuple[Any, ...], _native.Credential] = {}

    @classmethod
    def of(
        cls,
        document: dict[str, Any],
        members: Iterable[CredentialSource] = (),
        variables: dict[str, str] | None = None,
        ca_file: Any = None,
    ) -> CredentialSource:
        """Returns the source of a document, in which ``{"type": "custom_credential", "index": n}`` is the n-th of
        ``members``. ``variables``: the credential's own proxies.

        Raises ``CredentialValueError`` for a document that is not valid.
        """
        members = tuple(members)
        handle = _native.CredentialHandle(document, [member.handle for member in members], variables, ca_file)
        return cls(handle, tuple(custom for member in members for custom in member.customs))

    def settings(self) -> tuple[dict[str, Any], dict[str, str], str | None]:
        """Returns what a copy needs besides the custom credentials, without the objects of this process."""
        return self.handle.document, self.handle.variables, self.handle.ca_file

    @property
    def name(self) -> str:
        """The name for messages."""
        return self.customs[0].name if self.handle.is_custom else str(self.handle.document["type"])

    def environment(self, environment: _native.Environment) -> _native.Environment:
        """Returns the environment for the credential, which may have its own proxies."""
        return environment.overlaid(variables) if (variables := self.handle.variables) else environment

    def credential(self, settings: tuple[Any, ...], *, shared: bool = True) -> _native.Credential:
        """Returns the engine's credential for ``settings``: environment, ``ca_file``, host and scope. The cache entries
        of a custom credential live as long as the returned object. ``shared=False``: custom credentials run in the
        caller's context."""
        if not shared and self.customs:
            context = copy_context()
            return self._make(settings, [custom.make_handle(context) for custom in self.customs])
        # A custom credential on its own does not depend on settings.
        key = () if self.handle.is_custom else settings
        found = self._credentials.get(key)
        if found is None:
            if len(self._credentials) >= _MAX_CREDENTIALS:
                self._credentials.clear()
            made = self._make(settings, [custom.shared_handle for custom in self.customs])
            found = self._credentials.setdefault(key, made)
        return found

    def token(self, scope: str, *request: Any, limit: float | None = None) -> tuple[str, int]:
        """Returns a token and its expiry; blocks until one is fetched if no usable token is cached. ``request``:
        tenant, claims, CAE."""
        credential = self._current()
        if (token := credential.try_token(scope, *request)) is not None:
            return token
        return block(  # type: ignore[no-any-return]
            self.customs, credential.token, credential.token_into, scope, *request, limit
        )

    async def token_async(self, scope: str, *request: Any, limit: float | None = None) -> tuple[str, int]:
        """As :meth:`token`; never blocks the event loop."""
        loop = current_loop(self.customs)
        credential = self._current()
        if (token := credential.try_token(scope, *request)) is not None:
            return token
        return await await_(  # type: ignore[no-any-return]
            self.customs, loop, credential.token_into, scope, *request, limit
        )

    def refresh_on(self, scope: str, *request: Any) -> int | None:
        """Returns the refresh point of the token just returned, in seconds since the epoch."""
        return self._current().refresh_on(scope, *request)

    def _current(self) -> _native.Credential:
        return self.credential((_native.environment(), None, None, None))

    def _make(self, settings: tuple[Any, ...], customs: list[_native.CustomCredential]) -> _native.Credential:
        environment, ca_file, host, scope = settings
        return self.handle.build(environment, customs, ca_file=ca_file, host=host, scope=scope)


DEFAULT = CredentialSource.of({"type": "default"})
"""The default chain with default options."""

_registry: dict[tuple[int, Any, bool], tuple[Reference, CredentialSource]] = {}
"""The sources of custom credentials, by their anchor's ``id``, method and use."""
_kept: dict[tuple[int, Any, bool], Any] = {}
"""Anchors without weak references, kept alive so that their ``id`` stays unique."""


def resolve(credential: Any) -> CredentialSource:
    """Returns the source of a credential argument.

    Raises ``CredentialValueError`` for an object that is not a credential.
    """
    if credential is None:
        return DEFAULT
    own = getattr(credential, "_pgentra_source", None)
    return own if isinstance(own, CredentialSource) else _custom_source(credential)


def resolve_assertion(assertion: Any) -> CredentialSource:
    """Returns the source of an assertion: a callable that returns it, or a credential whose tokens are assertions."""
    if callable(getattr(assertion, "get_token", None)):
        return resolve(assertion)
    return _custom_source(assertion, is_assertion=True)


def restore(settings: tuple[dict[str, Any], dict[str, str], str | None], members: Iterable[CredentialSource]) -> Any:
    """Returns a source from :meth:`CredentialSource.settings` and the sources of its custom credentials."""
    document, variables, ca_file = settings
    customs = tuple(custom for member in members for custom in member.customs)
    singles = (CredentialSource(_native.CredentialHandle.custom(), (custom,)) for custom in customs)
    return CredentialSource.of(document, singles, variables, ca_file)


def anchor_of(credential: Any) -> tuple[Any, Any]:
    """Returns the object whose lifetime a credential argument has, and the function of a bound method.

    A bound method is a new object at each access; the object that it is bound to is not.
    """
    if type(credential) is MethodType:
        return credential.__self__, credential.__func__
    return credential, None


def reference(anchor: Any, when_gone: Callable[[], object] | None = None) -> Reference:
    """Returns a weak reference, or a strong one to an object that cannot be referenced weakly."""
    try:
        return weakref.ref(anchor, when_gone and (lambda _: when_gone()))
    except TypeError:
        return lambda: anchor


def _custom_source(credential: Any, *, is_assertion: bool = False) -> CredentialSource:
    anchor, function = anchor_of(credential)
    key = (id(anchor), function, is_assertion)
    found = _registry.get(key)
    if found is not None and found[0]() is anchor:
        return found[1]
    _check(credential)
    try:
        refers: Reference = weakref.ref(anchor, lambda gone: _forget(key, gone))
    except TypeError:
        # Only the last few are kept alive.
        refers = reference(anchor)
        _kept[key] = anchor
        for oldest in pop_oldest(_kept):
            _registry.pop(oldest, None)
    called = refers if function is None else _method_reference(refers, function)
    custom = CustomCredential(credential, called, is_assertion=is_assertion)
    if found is not None:
        _registry.pop(key, None)
    made = CredentialSource(_native.CredentialHandle.custom(), (custom,))
    return _registry.setdefault(key, (refers, made))[1]


def _method_reference(refers: Reference, function: Any) -> Reference:
    def method() -> Any:
        anchor = refers()
        return None if anchor is None else MethodType(function, anchor)

    return method


def _forget(key: tuple[int, Any, bool], gone: Any) -> None:
    found = _registry.get(key)
    if found is not None and found[0] is gone:
        del _registry[key]


def _check(credential: Any) -> None:
    kind = type(credential)
    advice = getattr(kind, "_pgentra_not_credential", None)
    is_possible = advice is None and kind.__module__.partition(".")[0] not in _DRIVER_PACKAGES
    is_class = isinstance(credential, type)
    if is_possible and not is_class and (callable(getattr(credential, "get_token", None)) or callable(credential)):
        return
    actual = f"the class {credential.__name__} itself" if is_class else kind.__name__
    raise _native.error(
        "credential_value",
        "credential is required and must be an object with get_token, or a callable that returns a token and its "
        f"expiry; got {actual}" + ("" if advice is None else f" ({advice})"),
        None,
        *([_TEXT_ADVICE] if isinstance(credential, str) else []),
    )
