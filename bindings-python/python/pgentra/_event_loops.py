"""Event loops: the caller's, and the library's own for blocking calls with an awaitable credential."""

from __future__ import annotations

import os
import sys

from ._threads import start_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from concurrent.futures import ThreadPoolExecutor
    from typing import Any

    from ._threads import Signals


def running_loop() -> AbstractEventLoop | None:
    """Returns the event loop that runs on this thread. Does not import asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio._get_running_loop() if asyncio is not None else None


_tasks: set[Task[None]] = set()


def start_task(coroutine: Any) -> None:
    """Starts a task of the running loop. The loop references its tasks weakly, so this module keeps them alive."""
    from asyncio import get_running_loop

    task = get_running_loop().create_task(coroutine)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def import_asyncio() -> None:
    """Imports, on the application's thread, the modules that :class:`BackgroundLoop` needs on another thread."""
    import asyncio  # noqa: F401
    import concurrent.futures.thread  # noqa: F401


class BackgroundLoop:
    """An event loop on a thread of the library, one in each process. It runs awaitable credentials for blocking
    calls."""

    def __init__(self) -> None:
        self._loops: dict[int, AbstractEventLoop] = {}

    def start(self, signals: Signals) -> AbstractEventLoop:
        """Returns the loop; the first call starts it. Its thread blocks ``signals``."""
        loop = self.peek()
        if loop is None:
            made = _new_event_loop()
            loop = self._loops.setdefault(os.getpid(), made)
            if loop is made:
                start_thread(signals, made.run_forever)
            else:
                made.close()
        return loop

    def peek(self) -> AbstractEventLoop | None:
        """Returns the loop if it runs in this process."""
        return self._loops.get(os.getpid())


background_loop = BackgroundLoop()


def _new_event_loop() -> AbstractEventLoop:
    from asyncio import SelectorEventLoop, new_event_loop

    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        loop = new_event_loop()
        loop.set_default_executor(_make_executor())
        return loop
    from gevent import get_hub

    selector = monkey.get_original("selectors", "DefaultSelector")

    class Loop(SelectorEventLoop):
        """A loop without gevent's replacements of selectors and threads: they need a hub, which the library's threads
        do not have."""

        def __init__(self) -> None:
            super().__init__(selector())

        def run_in_executor(self, _: Any, function: Any, *arguments: Any) -> Any:  # type: ignore[override]
            done = self.create_future()

            def run() -> None:
                try:
                    complete, result = done.set_result, function(*arguments)
                except BaseException as error:
                    complete, result = done.set_exception, error
                self.call_soon_threadsafe(lambda: done.done() or complete(result))
                get_hub().destroy(destroy_loop=True)  # gevent's functions may have made a hub for this thread.

            start_thread(None, run)
            return done

    return Loop()


def _make_executor() -> ThreadPoolExecutor:
    """Makes the executor for blocking calls of awaitable credentials, ``asyncio.to_thread`` and name resolution."""
    from concurrent.futures import Future, ThreadPoolExecutor

    class Executor(ThreadPoolExecutor):
        """Runs each call on its own thread. At exit Python waits for the threads of the base class, regardless of how
        long their calls take."""

        def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
            future: Future[Any] = Future()

            def run() -> None:
                if not future.set_running_or_notify_cancel():
                    return
                try:
                    result = function(*arguments, **options)
                except BaseException as error:
                    future.set_exception(error)
                else:
                    future.set_result(result)

            start_thread(None, run)
            return future

    return Executor()
