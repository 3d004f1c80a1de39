"""Threads of the library: real ones also under gevent and eventlet, with the signal mask of the application."""

from __future__ import annotations

import os
import sys
from _queue import SimpleQueue  # Not `queue`: gevent replaces its class.
from _thread import get_native_id  # Not `get_ident`: gevent replaces it by the id of the greenlet.
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextvars import Context
    from typing import Any

    Signals = Collection[int] | None
    """A signal mask; None on Windows."""
    _Queue = SimpleQueue[tuple[Callable[[], None], Context | None] | None]

_HUNG_AFTER = 60.0
"""Seconds after which a call that has not returned no longer delays the next one: twice the time limit of a fetch."""


def blocked_signals() -> Signals:
    """Returns the signals that this thread blocks."""
    if sys.platform == "win32":
        return None
    from signal import SIG_BLOCK, pthread_sigmask

    return pthread_sigmask(SIG_BLOCK, ())


def start_thread(signals: Signals, function: Callable[..., Any], *arguments: Any) -> None:
    """Starts a thread that blocks ``signals``. Otherwise it would inherit the mask of the engine's threads, which block
    all signals, and so would the processes that a credential starts."""

    def run() -> None:
        if signals is not None and sys.platform != "win32":
            from signal import SIG_SETMASK, pthread_sigmask

            pthread_sigmask(SIG_SETMASK, signals)
        function(*arguments)

    thread_starter()(run, ())


def thread_starter() -> Callable[..., int]:
    """Returns Python's own ``start_new_thread``, also if gevent or eventlet has replaced it."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original("_thread", "start_new_thread")  # type: ignore[no-any-return]
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None:
        return patcher.original("_thread").start_new_thread  # type: ignore[no-any-return]
    from _thread import start_new_thread

    return start_new_thread


class Worker:
    """A thread that calls one credential, one call at a time."""

    __slots__ = ("_pid", "_queue", "_state")

    def __init__(self, signals: Signals) -> None:
        self._pid = os.getpid()
        self._queue: _Queue = SimpleQueue()
        self._state = _WorkerState()
        # The thread references the queue only, so that it ends when its worker is deleted.
        start_thread(signals, _work, self._queue, self._state)

    def put(self, job: Callable[[], None], context: Context | None) -> None:
        """Queues a job, which runs in a copy of ``context``."""
        self._queue.put((job, context))

    def runs_here(self) -> bool:
        """Returns whether the caller is on this thread."""
        return self._state.thread == get_native_id() and self._pid == os.getpid()

    def is_lost(self) -> bool:
        """Returns whether the thread belongs to the parent of a fork, or hangs in a call."""
        since = self._state.busy_since
        return self._pid != os.getpid() or (since is not None and monotonic() - since > _HUNG_AFTER)

    def __del__(self) -> None:
        self._queue.put(None)


class _WorkerState:
    __slots__ = ("busy_since", "thread")

    def __init__(self) -> None:
        self.busy_since: float | None = None
        self.thread = 0


def _work(queue: _Queue, state: _WorkerState) -> None:
    state.thread = get_native_id()
    while (item := queue.get()) is not None:
        job, context = item
        state.busy_since = monotonic()
        if context is None:
            job()
        else:
            context.copy().run(job)
        state.busy_since = None
        # Otherwise these would keep the credential alive until the next call.
        del item, job, context
