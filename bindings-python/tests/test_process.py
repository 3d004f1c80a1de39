"""Signals, forks, exit, gevent, eventlet, the environment, logging and imports."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import re
import signal
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from recording import AsyncRecording, Ended, Recording, TokenService

import pgentra
from pgentra.errors import PgEntraError
from pgentra.identity import ManagedIdentityCredential

Run = Callable[..., Ended]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
# Not imported, because pgentra would regard this process as one that uses it.
needs_eventlet = pytest.mark.skipif(find_spec("eventlet") is None, reason="eventlet is not installed")


@pytest.mark.parametrize("kind", ["built-in", "custom"])
def test_interrupt_during_a_fetch_is_raised_at_once(run: Run, service: TokenService, kind: str) -> None:
    service.delay = 20
    ended = run(
        f"""
import os, signal, threading, time
import pgentra
from pgentra.identity import ManagedIdentityCredential
credential = ManagedIdentityCredential() if {kind == "built-in"} else lambda: time.sleep(20)
threading.Timer(0.5, lambda: (sent.append(time.monotonic()), os.kill(os.getpid(), signal.SIGINT))).start()
sent = []
try:
    pgentra.get_entra_token(credential)
except KeyboardInterrupt:
    print(time.monotonic() - sent[0])
"""
    )
    assert ended.status == 0, ended.err
    assert float(ended.out) < 0.2
    assert ended.seconds < 10


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="this system has no signal masks")
@pytest.mark.parametrize("blocked", [set(), {signal.SIGUSR1}], ids=["none", "one"])
def test_signal_mask_of_a_credential_is_the_callers(blocked: set[signal.Signals]) -> None:
    seen = []

    def look() -> None:
        seen.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    async def look_awaitably() -> None:
        look()

    before = signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    try:
        pgentra.get_entra_token(Recording(look))
        pgentra.get_entra_token(AsyncRecording(look_awaitably))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    assert seen[0] == blocked
    assert signal.SIGTERM not in seen[1], "the helper's loop keeps out what its first caller did"


@pytest.mark.parametrize("where", ["main", "thread", "daemon", "loop", "refresh"])
@pytest.mark.parametrize("kind", ["built-in", "custom", "awaitable"])
def test_exit_during_a_fetch(run: Run, service: TokenService, kind: str, where: str) -> None:
    service.delay = 0.0 if where == "refresh" else 20.0
    service.lifetime = 20
    ended = run(
        f"""
import asyncio, sys, threading, time
import pgentra
from recording import AsyncRecording, Recording
from pgentra.identity import ManagedIdentityCredential
hang = {where != "refresh"}
credential = {{
    "built-in": ManagedIdentityCredential,
    "custom": lambda: Recording(lambda: hang and time.sleep(20), lifetime=20),
    "awaitable": lambda: AsyncRecording(lambda: asyncio.sleep(20 if hang else 0), lifetime=20),
}}["{kind}"]()
provider = pgentra.TokenProvider(credential)
def get():
    try:
        provider.get()
    except pgentra.errors.PgEntraError as error:
        print(error.code, flush=True)
where = "{where}"
if where == "main":
    threading.Timer(0.3, lambda: __import__("_thread").interrupt_main()).start()
    try:
        get()
    except KeyboardInterrupt:
        print("interrupted")
elif where == "thread":
    # Python joins it before it ends, so its own time limit has to end it.
    provider = pgentra.TokenProvider(credential, timeout=1)
    threading.Thread(target=get).start()
    time.sleep(0.3)
elif where == "daemon":
    for _ in range(5):
        threading.Thread(target=get, daemon=True).start()
    time.sleep(0.3)
elif where == "loop":
    async def main():
        task = asyncio.create_task(provider.get_async())
        await asyncio.sleep(0.3)
    asyncio.run(main())
else:
    get()
    hang = True
    # A forced refresh, which a daemon thread waits for.
    time.sleep(2.1)
    threading.Thread(target=provider.invalidate, args=(provider.get(),), daemon=True).start()
    time.sleep(0.2)
""",
        limit=30,
    )
    assert ended.status == 0, ended.err
    assert ended.seconds < 8
    assert not ended.err, ended.err


def test_exit_during_refreshes_of_custom_credentials(run: Run) -> None:
    """Each exit is at another moment of the credential's call."""
    program = """
import threading, time
import pgentra
from recording import Recording
credential = Recording(lambda: sum(range(20000)))
for number in range(50):
    scope = f"https://{{number}}.example/.default"
    threading.Thread(target=pgentra.get_entra_token, args=(credential, scope), daemon=True).start()
time.sleep({delay})
"""
    for step in range(20):
        ended = run(program.format(delay=step * 0.002), limit=30)
        assert ended.status == 0, ended.err
        assert "Fatal" not in ended.err
        assert "panicked" not in ended.err
        assert ended.seconds < 6


def test_exit_later_calls_fail_with_shutting_down(run: Run) -> None:
    ended = run(
        """
import atexit
# Registered before the engine's own, so it runs after it.
@atexit.register
def late():
    print(pgentra.get_entra_token(warm))
    try:
        pgentra.get_entra_token(cold)
    except pgentra.errors.PgEntraError as error:
        print(error.code)
import pgentra
warm, cold = (lambda: ("e30.e30.s", 4e9)), (lambda: ("e30.e30.s", 4e9))
pgentra.get_entra_token(warm)
"""
    )
    assert ended.out.split() == ["e30.e30.s", "shutting_down"], ended.err


@needs_fork
@pytest.mark.parametrize("kind", ["built-in", "custom", "awaitable"])
def test_fork_child_uses_the_parents_token_and_fetches_its_own(run: Run, service: TokenService, kind: str) -> None:
    ended = run(
        f"""
import asyncio, os, sys
import pgentra
from recording import AsyncRecording, Recording
from pgentra.identity import ManagedIdentityCredential
credential = {{"built-in": ManagedIdentityCredential, "custom": Recording, "awaitable": AsyncRecording}}["{kind}"]()
token = pgentra.get_entra_token(credential)
children = []
for _ in range(8):
    child = os.fork()
    if child == 0:
        status = 0 if pgentra.get_entra_token(credential) == token else 1
        other = pgentra.get_entra_token(credential, scope="https://management.azure.com/.default")
        awaited = asyncio.run(pgentra.get_entra_token_async(credential, scope="https://vault.azure.net/.default"))
        os._exit(status or (0 if other.count(".") == awaited.count(".") == 2 else 2))
    children.append(child)
print([os.waitpid(child, 0)[1] for child in children])
""",
        limit=60,
    )
    assert ended.out.strip() == str([0] * 8), ended.err


@needs_fork
def test_fork_child_exit_does_not_wait_for_the_parents_threads(run: Run, service: TokenService) -> None:
    service.delay = 20
    ended = run(
        """
import os, sys, threading, time, warnings
import pgentra
warnings.simplefilter("ignore")
threading.Thread(target=pgentra.get_entra_token, daemon=True).start()
time.sleep(0.3)
took = []
for _ in range(3):
    began = time.monotonic()
    child = os.fork()
    if child == 0:
        sys.exit(0)
    os.waitpid(child, 0)
    took.append(time.monotonic() - began)
print(min(took))
"""
    )
    assert float(ended.out) < 0.9, "it waits for 1 s"


@needs_fork
def test_fork_during_calls_from_the_engine_leaves_a_child_that_runs(run: Run) -> None:
    """A child of Python 3.10 waits for the lock under which another thread was creating its state."""
    ended = run(
        """
import os, signal, threading, time
import pgentra
from recording import Recording
stop = False
def keep_fetching():
    while not stop:
        pgentra.get_entra_token(Recording(), cache=False)
threads = [threading.Thread(target=keep_fetching) for _ in range(2)]
for thread in threads:
    thread.start()
hung = False
for _ in range(1000):
    child = os.fork()
    if child == 0:
        os._exit(0)
    end = time.monotonic() + 20
    while not (ended := os.waitpid(child, os.WNOHANG)[0]) and time.monotonic() < end:
        time.sleep(0.0005)
    if not ended:
        hung = True
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        break
stop = True
for thread in threads:
    thread.join()
print("hung", hung)
"""
    )
    assert ended.out.strip() == "hung False", ended.err


@needs_fork
def test_fork_during_fetches(run: Run, service: TokenService) -> None:
    service.delay = 0.02
    ended = run(
        """
import os, signal, sys, threading, time
import pgentra
from recording import Recording
from pgentra.identity import ManagedIdentityCredential
custom = Recording(lambda: time.sleep(0.01))
stop = False
def keep_fetching(credential):
    number = 0
    while not stop:
        number += 1
        pgentra.get_entra_token(credential, cache=False)
threads = [threading.Thread(target=keep_fetching, args=(c,)) for c in (custom, ManagedIdentityCredential())]
for thread in threads:
    thread.start()
failed = 0
for _ in range(100):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        ok = pgentra.get_entra_token(custom, cache=False) and pgentra.get_entra_token(cache=False)
        os._exit(0 if ok else 1)
    failed += os.waitpid(child, 0)[1] != 0
stop = True
for thread in threads:
    thread.join()
print("failed", failed)
""",
        limit=90,
    )
    assert ended.out.strip() == "failed 0", ended.err


@needs_fork
def test_fork_during_the_first_fetch(run: Run, service: TokenService) -> None:
    """A child that is forked while the engine initialises itself must not wait for that."""
    for _ in range(20):
        ended = run(
            """
import os, signal, threading, warnings
import pgentra
warnings.simplefilter("ignore")
thread = threading.Thread(target=pgentra.get_entra_token)
thread.start()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if pgentra.get_entra_token() else 1)
print(os.waitpid(child, 0)[1])
thread.join()
""",
            limit=60,
        )
        assert ended.out.strip() == "0", ended.err


def _child_token(queue: Any, credential: Any) -> None:
    queue.put(pgentra.get_entra_token(credential))


@needs_fork
def test_fork_by_multiprocessing(service: TokenService, client_id: str) -> None:
    context = multiprocessing.get_context("fork")
    credential = ManagedIdentityCredential(client_id=client_id)
    token = pgentra.get_entra_token(credential)
    queue = context.SimpleQueue()
    children = [context.Process(target=_child_token, args=(queue, credential)) for _ in range(4)]
    for child in children:
        child.start()
    assert [queue.get() for _ in children] == [token] * 4
    for child in children:
        child.join(10)
        assert child.exitcode == 0
    assert len(service.requests) == 1


GEVENT = """
import gevent.monkey
gevent.monkey.patch_all()
import asyncio, gevent, time
import pgentra
from recording import AsyncRecording, Recording
from pgentra.identity import ManagedIdentityCredential
credential = {credential}
threadpool = gevent.get_hub().threadpool
largest, beating = 0.0, True
def beat():
    global largest
    while beating:
        before = time.monotonic()
        gevent.sleep(0.01)
        # gevent's DNS needs a thread of the hub's pool of ten.
        threadpool.apply(int)
        largest = max(largest, time.monotonic() - before - 0.01)
for number in range(3):
    largest, beating = 0.0, True
    heart = gevent.spawn(beat)
    scope = f"https://{{number}}.example/.default"
    greenlets = [gevent.spawn(pgentra.get_entra_token, credential, scope) for _ in range(30)]
    gevent.joinall(greenlets, raise_error=True)
    beating = False
    heart.join()
    assert len(set(one.value for one in greenlets)) == 1
    print(largest)
"""


@pytest.mark.parametrize(
    "credential",
    [
        "Recording(lambda: time.sleep(1))",
        "AsyncRecording(lambda: asyncio.sleep(1))",
        "ManagedIdentityCredential()",
    ],
)
def test_gevent_greenlets_run_during_a_fetch(run: Run, service: TokenService, credential: str) -> None:
    pytest.importorskip("gevent")
    service.delay = 1.0
    ended = run(GEVENT.format(credential=credential))
    assert ended.status == 0, ended.err
    # A busy machine is slow occasionally; a blocked hub or a full pool is late by a whole second each time.
    assert min(map(float, ended.out.split())) <= 0.5


def test_gevent_awaitable_credential_resolves_names(run: Run) -> None:
    """asyncio resolves names on a thread."""
    pytest.importorskip("gevent")
    ended = run(
        """
import gevent.monkey
gevent.monkey.patch_all()
import asyncio, os
import pgentra
from recording import AsyncRecording
async def work():
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
credential = AsyncRecording(work)
threads = []
for number in range(20):
    pgentra.get_entra_token(credential, scope=f"https://{number}.example/.default", timeout=10)
    threads.append(len(os.listdir("/proc/self/task")) if os.path.exists("/proc/self/task") else 0)
print(max(threads) - threads[0])
"""
    )
    assert ended.status == 0, ended.err
    assert int(ended.out) < 10, "each look-up has left a thread"


def test_gevent_failed_fetch_prints_no_traceback(run: Run) -> None:
    pytest.importorskip("gevent")
    ended = run(
        """
import gevent.monkey
gevent.monkey.patch_all()
import gevent
import pgentra
def credential():
    raise ValueError("canary")
try:
    pgentra.get_entra_token(credential)
except pgentra.errors.AuthenticationError as error:
    print(type(error.__cause__).__name__)
with gevent.Timeout(0.1, False):
    pgentra.get_entra_token(lambda: gevent.sleep(1) or ("e30.e30.s", 4e9))
    print("not cut off")
gevent.sleep(1.5)
"""
    )
    assert ended.out.split() == ["ValueError"]
    assert "Traceback" not in ended.err


EVENTLET = """
import sys, warnings
warnings.simplefilter("ignore")
import eventlet
eventlet.monkey_patch()
import asyncio, os, time
import pgentra
from recording import AsyncRecording, Recording
from pgentra.identity import ManagedIdentityCredential
"""

EVENTLET_BEATS = """
credential = {credential}
largest, beating = 0.0, True
def beat():
    global largest
    while beating:
        before = time.monotonic()
        eventlet.sleep(0.01)
        largest = max(largest, time.monotonic() - before - 0.01)
for number in range(3):
    largest, beating = 0.0, True
    heart = eventlet.spawn(beat)
    scope = f"https://{{number}}.example/.default"
    greenlets = [eventlet.spawn(pgentra.get_entra_token, credential, scope, timeout=10) for _ in range(30)]
    assert len(set(one.wait() for one in greenlets)) == 1
    beating = False
    heart.wait()
    print(largest)
"""


@needs_eventlet
@pytest.mark.parametrize(
    "credential",
    [
        "Recording(lambda: time.sleep(1))",
        "AsyncRecording(lambda: asyncio.sleep(1))",
        "ManagedIdentityCredential()",
    ],
)
def test_eventlet_green_threads_run_during_a_fetch(run: Run, service: TokenService, credential: str) -> None:
    service.delay = 1.0
    ended = run(EVENTLET + EVENTLET_BEATS.format(credential=credential))
    assert ended.status == 0, ended.err
    # A busy machine is slow occasionally; a blocked hub is late by a whole second each time.
    assert min(map(float, ended.out.split())) <= 0.5


@needs_eventlet
def test_eventlet_interrupted_wait_leaks_no_file(run: Run) -> None:
    ended = run(
        EVENTLET
        + """
def files():
    return len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0
def failing():
    raise ValueError("canary")
try:
    pgentra.get_entra_token(failing)
except pgentra.errors.AuthenticationError as error:
    print(type(error.__cause__).__name__)
async def awaited(scope):
    await asyncio.get_running_loop().getaddrinfo("localhost", 80)
    return "e30.e30.s", 4e9
print(pgentra.get_entra_token(awaited, timeout=10))
before = files()
released = []
def slow(scope):
    while not released:
        time.sleep(0.01)
    return "e30.e30.s", 4e9
for _ in range(3):
    with eventlet.Timeout(0.1, False):
        pgentra.get_entra_token(slow)
        print("not cut off")
released.append(True)
print(pgentra.get_entra_token(slow, timeout=10))
eventlet.sleep(0.1)
# The credential's own thread has a hub of eventlet's.
print(files() - before <= 3)
"""
    )
    assert ended.out.split() == ["ValueError", "e30.e30.s", "e30.e30.s", "True"], ended.err
    assert "Traceback" not in ended.err


@needs_eventlet
def test_eventlet_log_handlers_run_on_the_applications_thread(run: Run) -> None:
    """A lock of eventlet's that two threads request stops both."""
    ended = run(
        EVENTLET
        + """
import logging
seen = set()
class Slow(logging.Handler):
    def emit(self, record):
        eventlet.sleep(0.005)
        seen.add(record.name)
logging.getLogger().addHandler(Slow())
logging.getLogger().setLevel(logging.DEBUG)
stopped = []
def chatter():
    while not stopped:
        logging.getLogger("application").info("canary")
        eventlet.sleep(0)
threads = [eventlet.spawn(chatter) for _ in range(3)]
for _ in range(20):
    pgentra.get_entra_token(lambda: ("e30.e30.s", 4e9), timeout=10)
with eventlet.Timeout(20):
    while "pgentra" not in seen:
        eventlet.sleep(0.01)
stopped.append(True)
for thread in threads:
    thread.wait()
print(*sorted(seen))
""",
        limit=60,
    )
    assert ended.out.split() == ["application", "pgentra"], ended.err
    assert "Traceback" not in ended.err


# The environment


def test_environment_changes_apply_at_the_next_call(
    service: TokenService, monkeypatch: pytest.MonkeyPatch, client_id: str
) -> None:
    credential = ManagedIdentityCredential(client_id=client_id)
    assert pgentra.get_entra_conninfo(credential)["user"] == "anna@contoso.com"
    monkeypatch.setenv("PGUSER", "role")
    assert pgentra.get_entra_conninfo(credential)["user"] == "role"
    monkeypatch.setenv("PGUSER", "another")
    assert pgentra.get_entra_conninfo(credential)["user"] == "another"
    monkeypatch.delenv("PGUSER")
    assert pgentra.get_entra_conninfo(credential)["user"] == "anna@contoso.com"
    assert len(service.requests) == 1, "PGUSER changes no token"
    monkeypatch.setenv("IDENTITY_HEADER", "another")
    pgentra.get_entra_conninfo(credential)
    assert len(service.requests) == 2


def test_environment_unchanged_is_the_same_object(monkeypatch: pytest.MonkeyPatch) -> None:
    from pgentra import _native

    first = _native.environment()
    assert _native.environment() is first
    monkeypatch.setenv("SOMETHING_ELSE", "x")
    assert _native.environment() is first
    monkeypatch.setenv("AZURE_TENANT_ID", "x")
    second = _native.environment()
    assert second is not first
    assert "AZURE_TENANT_ID" in second.names()
    monkeypatch.setattr(os, "environ", {"PGUSER": "a plain dict"})
    assert _native.environment().names() == ["PGUSER"]


def test_environment_variable_that_is_not_text_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGUSER", os.fsdecode(b"\xff"))
    assert pgentra.get_entra_conninfo(Recording())["user"] == "anna@contoso.com"


# Logging and statistics


def wait_for(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


def test_log_events_reach_the_logger(caplog: pytest.LogCaptureFixture, service: TokenService, client_id: str) -> None:
    caplog.set_level(logging.DEBUG, "pgentra")
    service.status = 503
    with pytest.raises(PgEntraError):
        pgentra.get_entra_token(ManagedIdentityCredential(client_id=client_id), timeout=1)
    wait_for(lambda: "503" in caplog.text or "timeout" in caplog.text)
    assert {record.name for record in caplog.records} == {"pgentra"}
    assert "header-secret" not in caplog.text


def test_log_of_a_failing_refresh_and_its_recovery(caplog: pytest.LogCaptureFixture) -> None:
    """The log of a token that is about to expire. The engine's tests cover the log of other tokens."""
    caplog.set_level(logging.INFO, "pgentra")
    is_down = False

    def work() -> None:
        if is_down:
            raise ValueError("canary")

    provider = pgentra.TokenProvider(Recording(work, lifetime=4))
    provider.get()
    is_down = True

    def told(level: str) -> list[str]:
        provider.get()
        return [record.getMessage() for record in caplog.records if record.levelname == level]

    wait_for(lambda: told("ERROR") != [])
    is_down = False
    assert re.search(
        r"token refresh failed, the cached token expires in [12] s, next attempt in \d s: .*canary", told("ERROR")[0]
    )
    wait_for(lambda: told("INFO") != [])
    assert "token fetched after" in told("INFO")[0]
    assert told("WARNING") == []


@pytest.mark.parametrize(("setup", "lines"), [("", 0), ("logging.basicConfig()", 1)], ids=["no handler", "a handler"])
def test_log_of_a_raised_failure(run: Run, setup: str, lines: int) -> None:
    """Python prints records on standard error if no logging is configured; the exception has the same content."""
    ended = run(
        f"""
import logging
{setup}
import pgentra
def credential():
    raise ValueError("canary")
try:
    pgentra.get_entra_token(credential)
except pgentra.errors.AuthenticationError:
    print("raised")
pgentra._shutdown()
logging.getLogger("pgentra").warning("another record")
"""
    )
    assert ended.out == "raised\n"
    assert ended.err.count("token fetch failed") == lines, ended.err
    assert ended.err.count("another record") == 1


def test_log_handler_that_blocks_does_not_delay_callers(run: Run) -> None:
    ended = run(
        """
import logging, threading, time
import pgentra
free = threading.Event()
class Blocked(logging.Handler):
    def emit(self, record):
        free.wait(10)
logging.getLogger("pgentra").addHandler(Blocked())
logging.getLogger("pgentra").setLevel(logging.DEBUG)
began = time.monotonic()
for number in range(20):
    pgentra.get_entra_token(lambda: ("e30.e30.s", 4e9))
print(time.monotonic() - began)
free.set()
"""
    )
    assert float(ended.out) < 5, ended.err


def test_stats_of_one_provider_and_of_all() -> None:
    credential = Recording()
    provider = pgentra.TokenProvider(credential)
    assert provider.stats()["fetches"] == 0
    provider.conninfo()
    provider.conninfo()
    stats = provider.stats()
    assert stats["credential"] == "Recording"
    assert stats["fetches"] == 1
    assert stats["role"] == "anna@contoso.com"
    assert stats["role_source"] == "upn"
    assert stats["principal"]["oid"] == "object"
    assert 3500 < stats["expires_in"] <= 3600
    assert any(cell["credential"] == "Recording" for cell in pgentra.stats())
    assert "eyJ" not in repr(pgentra.stats()) + repr(provider) + repr(provider.stats())


# Imports


def test_import_loads_no_driver_no_sdk_and_no_event_loop(run: Run) -> None:
    ended = run(
        """
import sys
import pgentra
unwanted = set("asyncio asyncpg azure json psycopg psycopg2 socket sqlalchemy ssl typing".split())
print(sorted(unwanted.intersection(sys.modules)))
"""
    )
    assert ended.out.strip() == "[]", ended.err


def test_import_in_a_subinterpreter_is_refused(run: Run) -> None:
    """mod_wsgi runs each application in a subinterpreter by default."""
    pytest.importorskip("_testcapi")
    ended = run(
        """
import _testcapi
import pgentra
_testcapi.run_in_subinterp('''
try:
    import pgentra
except ImportError as error:
    print(error, flush=True)
''')
print(pgentra.get_entra_token(lambda: ("token", 2**40)))
"""
    )
    assert "WSGIApplicationGroup %{GLOBAL}" in ended.out, ended.err
    assert ended.out.endswith("token\n"), ended.err


def test_provider_can_be_pickled() -> None:
    provider = pgentra.TokenProvider(Recording(), user="role", timeout=5)
    copy = pickle.loads(pickle.dumps(provider))
    assert copy.conninfo()["user"] == "role"
    assert copy.conninfo()["password"] != provider.conninfo()["password"], "the credential is a copy too"
    with pytest.raises((AttributeError, pickle.PicklingError), match="lambda"):
        pickle.dumps(pgentra.TokenProvider(lambda: ("token", None)))


def test_version_is_that_of_the_distribution() -> None:
    from importlib.metadata import version

    assert version("pgentra") == pgentra.__version__
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", pgentra.__version__)


def test_distribution_links_to_the_documentation() -> None:
    from importlib.metadata import metadata

    links = dict(line.split(", ") for line in metadata("pgentra").get_all("Project-URL") or [])
    assert links["Documentation"] == "https://github.com/pgentra/pgentra/tree/main/docs"


def test_error_without_a_role_name_links_to_the_documentation() -> None:
    with pytest.raises(PgEntraError) as caught:
        pgentra.get_entra_conninfo(Recording(oid="nameless"), management_lookup=False)
    assert "https://github.com/pgentra/pgentra/blob/main/docs/troubleshooting.md#no-role-name" in str(caught.value)
