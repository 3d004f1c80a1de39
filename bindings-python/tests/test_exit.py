"""A process that uses the library exits in every situation: no thread of the library prevents it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from recording import TokenService

import pgentra
from support import exits

#: The common part of the programs below. Some import only pgentra and built-in modules. They start threads with
#: `_thread`, because they must not import `threading`.
PRELUDE = """
import _thread, sys, time
assert "threading" not in sys.modules and "logging" not in sys.modules
import pgentra
def lock():
    made = _thread.allocate_lock()
    made.acquire()
    return made
def wait(*arguments, **options):
    try:
        pgentra.get_entra_token(*arguments, **options)
    except pgentra.errors.PgEntraError as error:
        assert error.code == "shutting_down"
started = lock()
"""

WAIT_ON_A_THREAD = """
_thread.start_new_thread(wait, (credential,))
started.acquire()
"""

FETCH = """
_thread.start_new_thread(wait, ())
time.sleep(0.05)
"""

HANDLER = """
import logging
class Handler(logging.Handler):
    def emit(self, record):
        if record.levelno >= logging.WARNING:
            started.release()
            {work}
logging.getLogger("pgentra").addHandler(Handler())
pgentra.get_entra_token()
started.acquire()
"""

FILTER = """
import logging
def slow(record):
    if record.levelno >= logging.WARNING:
        started.release()
        {work}
    return True
logging.getLogger("pgentra").addFilter(slow)
pgentra.get_entra_token()
started.acquire()
"""


class Situation(NamedTuple):
    program: str
    status: int = 0
    #: The complete output.
    output: str | None = ""
    #: The behaviour of the token service.
    skew: float = 0.0
    delay: float = 0.0
    #: Processes at once: more if they wait for most of their time.
    at_once: int = 4


HUNG = 600.0

SITUATIONS = {
    # Python 3.10 to 3.12 regard the thread that first imports `threading` as the main one, and wait for its end.
    "a warning has been logged": Situation(
        PRELUDE
        + """
pgentra.get_entra_token()
time.sleep(0.1)
import threading
assert threading.main_thread().ident == threading.get_ident()
""",
        output=None,
        skew=900,
    ),
    "a failed login": Situation(
        PRELUDE
        + """
def credential():
    raise OSError("no network")
try:
    pgentra.get_entra_token(credential)
except pgentra.errors.PgEntraError:
    print("failed")
""",
        output=None,
    ),
    "a credential imports threading and logging": Situation(
        PRELUDE
        + """
def credential():
    import asyncio, logging, threading
    return "a.b.c", 4e9
pgentra.get_entra_token(credential)
time.sleep(0.05)
import threading
assert threading.main_thread().ident == threading.get_ident()
"""
    ),
    "a fetch under way": Situation(PRELUDE + FETCH, delay=HUNG),
    "fetches under way on daemon threads": Situation(
        PRELUDE
        + """
import threading
for number in range(5):
    threading.Thread(target=wait, kwargs={"scope": f"api://{number}/.default"}, daemon=True).start()
time.sleep(0.05)
""",
        delay=HUNG,
    ),
    "an uncaught exception during a fetch": Situation(
        PRELUDE + FETCH + "raise ValueError",
        status=1,
        output=None,
        delay=HUNG,
    ),
    "Ctrl-C during a wait": Situation(
        PRELUDE
        + """
import signal
# Ignored in processes that a shell has started in the background.
signal.signal(signal.SIGINT, signal.default_int_handler)
def press():
    time.sleep(0.05)
    _thread.interrupt_main()
_thread.start_new_thread(press, ())
try:
    pgentra.get_entra_token()
except KeyboardInterrupt:
    sys.exit(3)
""",
        status=3,
        delay=HUNG,
    ),
    "an event loop that was left during a fetch": Situation(
        PRELUDE
        + """
import asyncio
loop = asyncio.new_event_loop()
task = loop.create_task(pgentra.get_entra_token_async())
loop.run_until_complete(asyncio.sleep(0.05))
""",
        output=None,
        delay=HUNG,
    ),
    "atexit handlers that ask for tokens": Situation(
        """
import atexit
@atexit.register
def after_the_end():
    try:
        pgentra.get_entra_token()
    except pgentra.errors.PgEntraError as error:
        print(error.code)
"""
        + PRELUDE
        + """
@atexit.register
def before_the_end():
    print(pgentra.get_entra_token(lambda: ("a.b.c", 4e9)))
""",
        output="a.b.c\nshutting_down",
        delay=HUNG,
    ),
    "an atexit handler that imports it": Situation(
        """
import atexit
@atexit.register
def last():
    import pgentra
    print(len(pgentra.get_entra_token()) > 0)
""",
        output=None,
        skew=900,
    ),
    "a blocked credential": Situation(
        PRELUDE
        + """
def credential():
    started.release()
    lock().acquire()
"""
        + WAIT_ON_A_THREAD
    ),
    # Python waits for the threads of an ordinary executor.
    "a blocked thread of an awaitable credential": Situation(
        PRELUDE
        + """
class Credential:
    async def get_token(self, *scopes, **options):
        import asyncio
        def work():
            started.release()
            lock().acquire()
        await asyncio.to_thread(work)
credential = Credential()
"""
        + WAIT_ON_A_THREAD
    ),
    "an awaitable credential that blocks its loop": Situation(
        PRELUDE
        + """
class Credential:
    async def get_token(self, *scopes, **options):
        started.release()
        lock().acquire()
credential = Credential()
"""
        + WAIT_ON_A_THREAD
    ),
    # `logging.shutdown` waits for the handler's lock.
    "a blocked logging handler": Situation(
        PRELUDE + HANDLER.format(work="lock().acquire()"), output=None, skew=900, at_once=10
    ),
    # It returns during the finalization of the interpreter.
    "a slow logging filter": Situation(
        PRELUDE + "import random\n" + FILTER.format(work="time.sleep(1 + random.random() / 20)"),
        output=None,
        skew=900,
        at_once=10,
    ),
    # Python code of a thread that is not joined runs during the finalization of the interpreter.
    "a logging filter that never returns": Situation(
        PRELUDE + FILTER.format(work="while True: time.sleep(0.0005)"), output=None, skew=900, at_once=10
    ),
    "a refresh ahead of time": Situation(
        PRELUDE
        + """
def credential():
    started.release()
    return "a.b.c", time.time() + 2
provider = pgentra.TokenProvider(credential, mode="ahead")
provider.get()
started.acquire()
"""
    ),
}
if hasattr(os, "fork"):
    SITUATIONS["a forked child, and its parent, during a fetch"] = Situation(
        PRELUDE
        + FETCH
        + """
import os, warnings
warnings.simplefilter("ignore")
if child := os.fork():
    sys.exit(os.waitpid(child, 0)[1])
""",
        delay=HUNG,
    )


@pytest.mark.parametrize("name", SITUATIONS)
def test_exit(name: str, service: TokenService) -> None:
    situation = SITUATIONS[name]
    service.skew, service.delay = situation.skew, situation.delay
    # Without `site`, whose `.pth` files may import anything.
    command = [sys.executable, "-S", "-c", situation.program]
    environment = {**os.environ, "PYTHONPATH": str(Path(pgentra.__file__).parents[1])}
    exits.check(
        name, command, environment, status=situation.status, expected=situation.output, at_once=situation.at_once
    )
