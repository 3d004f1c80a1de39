"""Requests tokens from custom credentials.

A synchronous credential is called on its own thread, one call at a time; an awaitable one runs as a task of an event
loop. Only the application keeps a custom credential alive: its cached tokens are dropped with it.
"""

from __future__ import annotations

import os
import weakref
from contextvars import copy_context

from .. import _native
from .._event_loops import background_loop, import_asyncio, running_loop, start_task
from .._threads import Worker, blocked_signals, thread_starter
from . import invocation
from .response import read_assertion, read_token

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any, TypeVar

    from .._threads import Signals

    T = TypeVar("T")
    Reference = Callable[[], Any]

MAX_KEPT = 32
"""Objects of each kind that are kept alive without a caller."""

_ENDED_LOOP_ADVICE = (
    "The credential was first used on an event loop that has ended. Use the class of pgentra.identity.aio, which "
    "belongs to no loop, a synchronous credential, or a new object for each loop."
)


class CustomCredential:
    """A credential object or function of the application. ``is_assertion``: a function that returns assertions."""

    __slots__ = (
        "__weakref__",
        "_call",
        "_context",
        "_loop",
        "_lost_loop",
        "_read",
        "_reference",
        "_signals",
        "_worker",
        "accepts_scope",
        "is_async",
        "name",
        "shared_handle",
    )

    def __init__(self, credential: Any, reference: Reference, *, is_assertion: bool = False) -> None:
        self._reference = reference
        self._read = read_assertion if is_assertion else read_token
        self._worker: Worker | None = None
        self._loop: _CredentialLoop | None = None
        self._lost_loop = False
        # The context and the signal mask of the last caller that waited.
        self._context: Context | None = None
        self._signals: Signals = None
        self.accepts_scope = True
        self._call: invocation.Invocation
        method = getattr(credential, "get_token", None)
        if callable(method):
            self.name = type(credential).__name__
            # Looked up in the class, because a mock object has every attribute.
            if callable(getattr(type(credential), "get_token_info", None)):
                self._call, method = invocation.get_token_info, credential.get_token_info
            else:
                self._call = invocation.get_token
        else:
            self.name = f"callable {getattr(credential, '__qualname__', type(credential).__name__)}"
            method = credential
            self._call = invocation.without_arguments if is_assertion else invocation.of_callable(credential)
            self.accepts_scope = self._call is not invocation.without_arguments
        self.is_async = invocation.is_async(method)
        thread_starter()  # eventlet imports the original module at the first call: here, on the application's thread.
        # Users of a middle tier share tokens if the assertions of its credentials come from the same handle.
        self.shared_handle = self.make_handle()

    def make_handle(self, context: Context | None = None) -> _native.CustomCredential:
        """Makes the engine's handle of the credential. It is called in ``context``, by default in that of the last
        caller that waited."""
        # Weak: the engine must not keep this object alive, which owns the handle.
        weak = weakref.ref(self)

        def begin(request: _native.CustomTokenRequest) -> None:
            custom = weak()
            if custom is None:
                request.abandon()
            elif custom.is_async:
                custom._begin_on_loop(request, context)
            else:
                custom._begin_on_worker(request, context)

        return _native.CustomCredential(self.name, begin)

    def bind_loop(self, loop: AbstractEventLoop) -> None:
        """Binds an awaitable credential to the first caller's loop, as long as that runs."""
        if self.is_async and self._living_loop() is None:
            import_asyncio()
            self._loop = _CredentialLoop(loop)

    def before_awaiting(self) -> None:
        """Stores the caller's context for the fetch."""
        _idle.pop(weakref.ref(self), None)
        self._context = copy_context()
        self._signals = blocked_signals()

    def before_blocking(self) -> None:
        """Stores the caller's context for the fetch. Refuses a wait that would keep the fetch from running."""
        if self.is_async:
            bound = self._living_loop()
            loop = bound.loop if bound else background_loop.peek()
            blocked = loop is not None and running_loop() is loop
        else:
            blocked = self._worker is not None and self._worker.runs_here()
        if blocked:
            where = "on the credential's own event loop" if self.is_async else "inside the credential's own call"
            raise _native.error("would_deadlock", f"a blocking call {where}", self.name)
        self.before_awaiting()
        if self.is_async and loop is None:
            background_loop.start(self._signals)  # Imports asyncio: here, on the application's thread.

    def after_waiting(self) -> None:
        """Keeps the context for refreshes, of the last few credentials only: it may reference the credential itself."""
        _idle[weakref.ref(self)] = None
        for oldest in pop_oldest(_idle):
            if (custom := oldest()) is not None:
                custom._context = None

    def _living_loop(self) -> _CredentialLoop | None:
        bound = self._loop
        if bound is not None and not bound.runs():
            bound.abandon()
            self._loop, self._lost_loop, bound = None, True, None
        return bound

    def _begin_on_loop(self, request: _native.CustomTokenRequest, context: Context | None) -> None:
        bound = self._living_loop()
        if bound is None:
            bound = self._loop = _CredentialLoop(background_loop.start(self._signals))
        bound.pending.add(request)
        context = context or self._context
        try:
            bound.loop.call_soon_threadsafe(
                lambda: start_task(self._fetch_async(self._invoke, request, bound)), context=context and context.copy()
            )
        except RuntimeError:  # The loop has just been closed.
            request.abandon()

    def _begin_on_worker(self, request: _native.CustomTokenRequest, context: Context | None) -> None:
        if self._worker is None or self._worker.is_lost():
            self._worker = Worker(self._signals)
        self._worker.put(lambda: self._fetch(request), context or self._context)

    def _fetch(self, request: _native.CustomTokenRequest) -> None:
        """Runs on the worker's thread."""
        try:
            result = self._invoke(request)
            if hasattr(result, "__await__"):  # A synchronous function that calls an awaitable one.
                # It was not recognised before; if the credential has not imported asyncio, this thread does.
                background_loop.start(self._signals).call_soon_threadsafe(
                    start_task, self._fetch_async(lambda _: result, request)
                )
            else:
                self._read(result, request)
        except BaseException as error:  # A credential's SystemExit must end neither the thread nor the fetch silently.
            request.fail(error)

    def _invoke(self, request: _native.CustomTokenRequest) -> Any:
        credential = self._reference()
        # The first response counts, so the result of `abandon` is ignored.
        return request.abandon() if credential is None else self._call(credential, request)

    async def _fetch_async(
        self,
        invoke: Callable[[_native.CustomTokenRequest], Any],
        request: _native.CustomTokenRequest,
        bound: _CredentialLoop | None = None,
    ) -> None:
        from asyncio import CancelledError

        try:
            result = invoke(request)
            self._read(await result if hasattr(result, "__await__") else result, request)
        except (CancelledError, GeneratorExit):  # The loop ends; the waiting callers start another fetch.
            request.abandon()
            raise
        except BaseException as error:
            # An SDK's object whose session belongs to another loop raises RuntimeError.
            request.fail(error, _ENDED_LOOP_ADVICE if self._lost_loop and isinstance(error, RuntimeError) else None)
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            if bound is not None:
                bound.pending.discard(request)


class _CredentialLoop:
    """The event loop on which an awaitable credential runs for all callers: an SDK's object holds a session of the loop
    on which it ran first. After that loop has ended, the next caller's loop replaces it."""

    __slots__ = ("_process", "loop", "pending")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._process = os.getpid()
        self.pending: set[_native.CustomTokenRequest] = set()

    def runs(self) -> bool:
        """Returns whether the loop runs. A loop that ``run_until_complete`` has left does not."""
        return self._process == os.getpid() and (self.loop is background_loop.peek() or self.loop.is_running())

    def abandon(self) -> None:
        """Ends the pending requests, so that they are started again on another loop."""
        if self._process != os.getpid():
            _leaked_after_fork.append(self)  # Dropping a request would wake the parent's engine.
            return
        for request in list(self.pending):
            request.abandon()


_leaked_after_fork: list[_CredentialLoop] = []
_idle: dict[weakref.ref[CustomCredential], None] = {}
"""Credentials without a waiting caller whose contexts are kept."""


def pop_oldest(kept: dict[T, Any]) -> list[T]:
    """Removes and returns all keys but the newest. Other threads may do the same."""
    oldest = list(kept)[:-MAX_KEPT]
    for key in oldest:
        kept.pop(key, None)
    return oldest
