"""Waits for results of the engine: blocking, on an event loop, and in greenlets of gevent and eventlet."""

from __future__ import annotations

import sys

from ._event_loops import running_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterable
    from typing import Any

    from ._credentials.custom import CustomCredential


def block(
    customs: Iterable[CustomCredential], function: Callable[..., Any], start: Callable[..., None], *arguments: Any
) -> Any:
    """Waits in ``function``, which is native code: other threads run, and signals are handled. In a greenlet it waits
    for ``start`` instead. ``customs``: the custom credentials that may be called meanwhile."""
    for custom in customs:
        custom.before_blocking()
    try:
        greenlet = _green_wait()
        return function(*arguments) if greenlet is None else greenlet.wait(start, *arguments)
    finally:
        for custom in customs:
            custom.after_waiting()


async def await_(
    customs: Iterable[CustomCredential], loop: AbstractEventLoop, start: Callable[..., None], *arguments: Any
) -> Any:
    """Waits for the future that ``start`` completes from another thread. Cancelling it ends this wait only."""
    for custom in customs:
        custom.before_awaiting()
    future: Any = loop.create_future()
    try:
        start(loop, future, *arguments)
        return await future
    finally:
        for custom in customs:
            custom.after_waiting()


def current_loop(customs: Iterable[CustomCredential]) -> AbstractEventLoop:
    """Returns the caller's event loop, to which the first call binds awaitable custom credentials."""
    loop = running_loop()
    if loop is None:
        raise RuntimeError("no running event loop")
    for custom in customs:
        custom.bind_loop(loop)
    return loop


def _green_wait() -> _GreenWait | None:
    """Returns how this thread waits if gevent or eventlet has patched threads: a wait in native code would stop all
    greenlets."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None and monkey.is_module_patched("threading"):
        from gevent import get_hub

        return _GeventWait(get_hub())
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        from . import _eventlet

        return _EventletWait() if _eventlet.may_wait() else None
    return None


class _GreenWait:
    """The wait of one greenlet. It takes the place of the event loop and of the future that native code completes."""

    _result: tuple[Any, ...]

    def wait(self, start: Callable[..., None], *arguments: Any) -> Any:
        """Returns or raises the result; other greenlets run meanwhile."""
        self._wait(start, arguments)
        value, error = self._result
        if error is not None:
            raise error
        return value

    def call_soon_threadsafe(self, _settle: Any, _future: Any, *result: Any) -> None:
        """Receives the result, on another thread."""
        self._result = result
        self._wake()

    def _wait(self, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        raise NotImplementedError

    def _wake(self) -> None:
        raise NotImplementedError


class _GeventWait(_GreenWait):
    def __init__(self, hub: Any) -> None:
        from gevent.hub import Waiter

        self._waiter = Waiter(hub)
        self._alarm = hub.loop.async_()

    def _wait(self, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self._alarm.start(self._waiter.switch, None)
        try:
            start(self, self, *arguments)
            self._waiter.get()
        finally:
            self._alarm.stop()
            self._alarm.close()

    def _wake(self) -> None:
        self._alarm.send()


class _EventletWait(_GreenWait):
    def _wait(self, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        from ._eventlet import wait_for

        def begin(wake: Callable[[], None]) -> None:
            self._wake_up = wake
            start(self, self, *arguments)

        wait_for(begin)

    def _wake(self) -> None:
        self._wake_up()
