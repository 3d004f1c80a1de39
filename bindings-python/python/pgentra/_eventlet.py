"""Waits and log records under eventlet.

eventlet's hubs and locks do not work across threads: a green thread cannot be woken from another thread, and a thread
that waits for a lock of a handler fails and leaves the lock behind in a state that stops the application's own threads.
"""

from __future__ import annotations

import logging
import os
from _thread import get_native_id
from collections import deque

from eventlet import spawn
from eventlet.hubs import get_hub, trampoline
from greenlet import getcurrent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MAX_RECORDS = 1000


def may_wait() -> bool:
    """Whether the caller is a green thread. The hub itself runs timers and must not wait."""
    return get_hub().greenlet is not getcurrent()


class Signal:
    """A pipe that a green thread reads and that any thread closes."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        self._writers = [writer]

    def wait(self) -> None:
        """Waits until it is sent; other green threads run meanwhile."""
        trampoline(self._reader, read=True)

    def send(self) -> None:
        """Ends the wait. Later calls have no effect: another file may have got the closed number."""
        try:
            writer = self._writers.pop()
        except IndexError:
            return
        os.close(writer)

    def close(self) -> None:
        """Closes both ends. The other thread may still send."""
        self.send()
        os.close(self._reader)


class _Records(logging.Filter):
    """Passes the engine's log records, which arrive on its own thread, to a green thread of the application."""

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque(maxlen=_MAX_RECORDS)
        self._signal = Signal()
        self._thread = get_native_id()
        self.process = os.getpid()
        spawn(self._run)

    def filter(self, record: logging.LogRecord) -> bool:
        """Returns whether the record is handled on this thread."""
        if get_native_id() == self._thread:
            return True
        self._records.append(record)
        self._signal.send()
        return False

    def _run(self) -> None:
        while self.process == os.getpid():
            signal = self._signal
            signal.wait()
            # In this order: a record that arrives from now on sends the new signal.
            self._signal = Signal()
            signal.close()
            self._handle()

    def _handle(self) -> None:
        logger = logging.getLogger("pgentra")
        while self._records:
            try:
                logger.callHandlers(self._records.popleft())
            except Exception:  # A handler that raises must not end the green thread.
                continue


_records: _Records | None = None


def receive_records() -> None:
    """Starts to handle the engine's records in a green thread of the calling thread."""
    global _records
    if _records is None or _records.process != os.getpid():
        logger = logging.getLogger("pgentra")
        if _records is not None:
            logger.removeFilter(_records)
        _records = _Records()
        logger.addFilter(_records)


def wait_for(begin: Callable[[Callable[[], None]], Any]) -> None:
    """Calls ``begin`` with a function, and waits until any thread calls that function."""
    receive_records()
    signal = Signal()
    try:
        begin(signal.send)
        signal.wait()
    finally:
        signal.close()  # An exception may have ended the wait.
