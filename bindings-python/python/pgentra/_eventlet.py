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

_MOST_RECORDS = 1000


def may_wait() -> bool:
    """Whether the caller is a green thread. The hub itself runs timers and must not wait."""
    return get_hub().greenlet is not getcurrent()


class Signal:
    """A pipe that a green thread reads and any thread closes."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        self._writers = [writer]

    def wait(self) -> None:
        """Waits until it is sent; other green threads go on."""
        trampoline(self._reader, read=True)

    def send(self) -> None:
        """Ends the wait. Has no effect the second time: the number may be another file's once it is closed."""
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
    """Hands the engine's log records, which come on a thread of its own, to a green thread of the application."""

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque(maxlen=_MOST_RECORDS)
        self._signal = Signal()
        self._thread = get_native_id()
        self.process = os.getpid()
        spawn(self._run)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is handled here and now."""
        if get_native_id() == self._thread:
            return True
        self._records.append(record)
        self._signal.send()
        return False

    def _run(self) -> None:
        while self.process == os.getpid():
            signal = self._signal
            signal.wait()
            # In this order: a record that comes from now on sends the new signal.
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
    """Begins to handle the engine's records in a green thread of the calling thread."""
    global _records
    if _records is None or _records.process != os.getpid():
        logger = logging.getLogger("pgentra")
        if _records is not None:
            logger.removeFilter(_records)
        _records = _Records()
        logger.addFilter(_records)


def wait_for(begin: Callable[[Callable[[], None]], Any]) -> None:
    """Waits until what ``begin`` is given is called, on any thread."""
    receive_records()
    signal = Signal()
    try:
        begin(signal.send)
        signal.wait()
    finally:
        signal.close()  # The wait may have been cut off.
