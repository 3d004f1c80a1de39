"""What a credential argument stands for, and how a credential of the program is asked where it lives.

Ours are settings that the engine acts on. Any other is *foreign*: an object with ``get_token`` or a plain callable. A
synchronous one is asked on a thread of its own, one call at a time; an awaitable one as a task of an event loop. Nobody
keeps a foreign object alive but its owner: its tokens go with it.
"""

from __future__ import annotations

import os
import sys
import weakref
from _queue import SimpleQueue  # Not `queue`, whose own gevent replaces.
from _thread import get_native_id  # Not `get_ident`, which there names a greenlet.
from contextvars import copy_context
from time import monotonic, time
from types import MethodType

from . import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Callable, Collection
    from concurrent.futures import ThreadPoolExecutor
    from contextvars import Context
    from typing import Any, TypeVar

    T = TypeVar("T")
    Reference = Callable[[], Any]
    _Signals = Collection[int] | None
    _Queue = SimpleQueue[tuple[Callable[[], None], Context | None] | None]

_COROUTINE_FLAGS = 0x80 | 0x100  # CO_COROUTINE, CO_ITERABLE_COROUTINE
_VARARGS_FLAG = 0x04

_HUNG_AFTER = 60.0
"""Seconds after which a call that has not returned no longer keeps the next one waiting: twice a fetch's own limit."""

_MOVED_ADVICE = (
    "The credential was first used on an event loop that has ended. Use the class of pgentra.identity.aio, which "
    "belongs to no loop, a synchronous credential, or a new object for each loop."
)

_MOST_CREDENTIALS = 64
_MOST_KEPT = 32


class Source:
    """What a credential argument stands for: a document for the engine, with the foreign credentials it numbers."""

    __slots__ = ("_credentials", "_variables", "ca_file", "document", "foreign", "takes_scope")

    def __init__(
        self,
        document: dict[str, Any],
        foreign: tuple[Foreign, ...] = (),
        variables: dict[str, str] | None = None,
        ca_file: Any = None,
    ) -> None:
        self.document = document
        self._variables = variables
        self.ca_file = ca_file
        """The file of certificate authorities that the credential was given, if any."""
        self.foreign = foreign
        self.takes_scope = document["type"] != "host" or foreign[document["index"]].takes_scope
        # By settings.
        self._credentials: dict[tuple[Any, ...], _native.Credential] = {}

    def settings(self) -> tuple[dict[str, Any], dict[str, str] | None, Any]:
        """Returns what a copy needs besides the custom credentials, without the objects of this process."""
        return self.document, self._variables, self.ca_file

    @property
    def name(self) -> str:
        """For messages."""
        return self.foreign[0].name if self.document["type"] == "custom_credential" else str(self.document["type"])

    @property
    def connection(self) -> tuple[dict[str, str], Any]:
        """The proxies and the file of certificate authorities that it was given."""
        return self._variables or {}, self.ca_file

    def environment(self, environment: _native.Environment) -> _native.Environment:
        """What the credential is to take for the environment: it may have proxies of its own."""
        return environment.overlaid(self._variables) if self._variables else environment

    def credential(self, settings: tuple[Any, ...], *, shared: bool = True) -> _native.Credential:
        """The engine's credential.

        ``settings``: environment, ``ca_file``, host and scope. The cells of a foreign one hang on what is returned.
        """
        if not shared and self.foreign:
            context = copy_context()
            return self._make(settings, [f.host(context) for f in self.foreign])
        # A foreign object on its own reads no settings of ours.
        key = () if self.document["type"] == "custom_credential" else settings
        found = self._credentials.get(key)
        if found is None:
            if len(self._credentials) >= _MOST_CREDENTIALS:
                self._credentials.clear()
            found = self._credentials.setdefault(key, self._make(settings, [f.shared_host for f in self.foreign]))
        return found

    def _make(self, settings: tuple[Any, ...], hosts: list[_native.CustomCredential]) -> _native.Credential:
        environment, ca_file, host, scope = settings
        return _native.Credential(self.document, environment, hosts=hosts, ca_file=ca_file, host=host, scope=scope)


class Foreign:
    """A credential object or callable of the program, or a callable that returns assertions (``asserts``)."""

    __slots__ = (
        "__weakref__",
        "_call",
        "_context",
        "_home",
        "_moved",
        "_read",
        "_reference",
        "_signals",
        "_worker",
        "is_async",
        "name",
        "shared_host",
        "takes_scope",
    )

    def __init__(self, credential: Any, reference: Reference, *, asserts: bool = False) -> None:
        self._reference = reference
        self._read = _read_assertion if asserts else _read
        self._worker: _Worker | None = None
        self._home: _Home | None = None
        self._moved = False
        # Of the last caller who waited.
        self._context: Context | None = None
        self._signals: _Signals = None
        self.takes_scope = True
        self._call: Callable[[Any, _native.Request], Any]
        method = getattr(credential, "get_token", None)
        if callable(method):
            self.name = type(credential).__name__
            # Defined by the class: a mock has every attribute.
            if callable(getattr(type(credential), "get_token_info", None)):
                self._call, method = _call_get_token_info, credential.get_token_info
            else:
                self._call = _call_get_token
        else:
            self.name = f"callable {getattr(credential, '__qualname__', type(credential).__name__)}"
            self._call, method = (_call if asserts else _call_of(credential)), credential
            self.takes_scope = self._call is not _call
        self.is_async = _is_async(method)
        _thread_starter()  # eventlet imports the original module at the first call: here, on the application's thread.
        # Users of a middle tier share tokens where its assertions come from the same one.
        self.shared_host = self.host()

    def host(self, context: Context | None = None) -> _native.CustomCredential:
        """For the engine: the credential, asked in ``context``, else in that of the last caller who waited."""
        # The engine does not keep this object, which keeps what is made here.
        weak = weakref.ref(self)

        def begin(request: _native.Request) -> None:
            foreign = weak()
            if foreign is None:
                request.lose()
            elif foreign.is_async:
                foreign._begin_at_home(request, context)
            else:
                foreign._begin_on_worker(request, context)

        return _native.CustomCredential(self.name, begin)

    def arrive(self, loop: AbstractEventLoop) -> None:
        """Before a coroutine asks: the first loop is the home of an awaitable one."""
        if self.is_async and self._living_home() is None:
            _import_for_loops()
            self._home = _Home(loop)

    def before_awaiting(self) -> None:
        """Remembers the caller's context for the fetch."""
        _waited.pop(weakref.ref(self), None)
        self._context = copy_context()
        self._signals = _blocked_signals()

    def before_blocking(self) -> None:
        """The same; refuses a wait that keeps the fetch from running."""
        if self.is_async:
            home = self._living_home()
            loop = home.loop if home else _helper.peek()
            blocked = loop is not None and running_loop() is loop
        else:
            blocked = self._worker is not None and self._worker.runs_here()
        if blocked:
            where = "on the credential's own event loop" if self.is_async else "inside the credential's own call"
            raise _native.error("would_deadlock", f"a blocking call {where}", self.name)
        self.before_awaiting()
        if self.is_async and loop is None:
            _helper.loop(self._signals)  # Here, on the application's thread, because it imports asyncio.

    def after_waiting(self) -> None:
        """Keeps the context for refreshes, of the last few credentials only: it may lead to the credential itself."""
        _waited[weakref.ref(self)] = None
        for oldest in _without_the_last_few(_waited):
            if (foreign := oldest()) is not None:
                foreign._context = None

    def _living_home(self) -> _Home | None:
        home = self._home
        if home is not None and not home.runs():
            home.abandon()
            self._home, self._moved, home = None, True, None
        return home

    def _begin_at_home(self, request: _native.Request, context: Context | None) -> None:
        home = self._living_home()
        if home is None:
            home = self._home = _Home(_helper.loop(self._signals))
        home.unanswered.add(request)
        context = context or self._context
        try:
            home.loop.call_soon_threadsafe(
                lambda: _start(self._settle(self._ask, request, home)), context=context and context.copy()
            )
        except RuntimeError:  # The loop has just been closed.
            request.lose()

    def _begin_on_worker(self, request: _native.Request, context: Context | None) -> None:
        if self._worker is None or self._worker.is_lost():
            self._worker = _Worker(self._signals)
        self._worker.put(lambda: self._answer(request), context or self._context)

    def _answer(self, request: _native.Request) -> None:
        """On the worker's thread."""
        try:
            result = self._ask(request)
            if hasattr(result, "__await__"):  # A synchronous function in front of an awaitable one.
                # Nothing told so before; where the credential has not imported asyncio, this thread does.
                _helper.loop(self._signals).call_soon_threadsafe(_start, self._settle(lambda _: result, request))
            else:
                self._read(result, request)
        except BaseException as error:  # A credential's SystemExit must not end the thread, nor the fetch in silence.
            request.fail(error)

    def _ask(self, request: _native.Request) -> Any:
        credential = self._reference()
        # A request is answered once: what is made of nothing does not count.
        return request.lose() if credential is None else self._call(credential, request)

    async def _settle(
        self, ask: Callable[[_native.Request], Any], request: _native.Request, home: _Home | None = None
    ) -> None:
        from asyncio import CancelledError

        try:
            result = ask(request)
            self._read(await result if hasattr(result, "__await__") else result, request)
        except (CancelledError, GeneratorExit):  # The loop ends; whoever waits asks again.
            request.lose()
            raise
        except BaseException as error:
            # What an SDK's object raises whose session is of another loop.
            request.fail(error, _MOVED_ADVICE if self._moved and isinstance(error, RuntimeError) else None)
            if isinstance(error, KeyboardInterrupt):
                raise
        finally:
            if home is not None:
                home.unanswered.discard(request)


class _Home:
    """The event loop on which an awaitable credential is asked, whoever asks: an object of an SDK holds a session of
    the loop that it first ran on. When the loop has ended, the next caller's takes its place."""

    __slots__ = ("_process", "loop", "unanswered")

    def __init__(self, loop: AbstractEventLoop) -> None:
        self.loop = loop
        self._process = os.getpid()
        self.unanswered: set[_native.Request] = set()

    def runs(self) -> bool:
        """Whether it can be asked; a loop that was left in the middle, by ``run_until_complete``, cannot."""
        return self._process == os.getpid() and (self.loop is _helper.peek() or self.loop.is_running())

    def abandon(self) -> None:
        """What it has not answered is begun again elsewhere."""
        if self._process != os.getpid():
            _left_behind.append(self)  # Dropping a request would wake the parent's engine.
            return
        for request in list(self.unanswered):
            request.lose()


_left_behind: list[_Home] = []


class _Worker:
    """A thread that asks one credential, one call at a time."""

    __slots__ = ("_pid", "_queue", "_state")

    def __init__(self, signals: _Signals) -> None:
        self._pid = os.getpid()
        self._queue: _Queue = SimpleQueue()
        self._state = _WorkerState()
        # The thread knows the queue, not the worker, which ends it when nobody needs it any more.
        _start_thread(signals, _work, self._queue, self._state)

    def put(self, job: Callable[[], None], context: Context | None) -> None:
        self._queue.put((job, context))

    def runs_here(self) -> bool:
        return self._state.thread == get_native_id() and self._pid == os.getpid()

    def is_lost(self) -> bool:
        """Whether the thread stayed behind in the parent of a fork, or hangs in a call."""
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
        # The credential goes with its owner, not with the next call.
        del item, job, context


class _Helper:
    """The event loop on a thread of ours, for blocking calls with an awaitable credential. One in each process."""

    def __init__(self) -> None:
        self._loops: dict[int, AbstractEventLoop] = {}

    def loop(self, signals: _Signals) -> AbstractEventLoop:
        """The loop, started at the first call."""
        loop = self.peek()
        if loop is None:
            made = _new_event_loop()
            loop = self._loops.setdefault(os.getpid(), made)
            if loop is made:
                _start_thread(signals, made.run_forever)
            else:
                made.close()
        return loop

    def peek(self) -> AbstractEventLoop | None:
        """The loop, if it runs in this process."""
        return self._loops.get(os.getpid())

    def runs_here(self) -> bool:
        """Whether the caller is on the loop's thread."""
        loop = self.peek()
        return loop is not None and running_loop() is loop


def _import_for_loops() -> None:
    """Imports, on the application's thread, what :func:`_new_event_loop` needs on one of ours."""
    import asyncio  # noqa: F401
    import concurrent.futures.thread  # noqa: F401


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
        """What gevent puts in the place of selectors and threads needs a hub, which threads of ours do not have."""

        def __init__(self) -> None:
            super().__init__(selector())

        def run_in_executor(self, _: Any, function: Any, *arguments: Any) -> Any:  # type: ignore[override]
            done = self.create_future()

            def run() -> None:
                try:
                    give, outcome = done.set_result, function(*arguments)
                except BaseException as error:
                    give, outcome = done.set_exception, error
                self.call_soon_threadsafe(lambda: done.done() or give(outcome))
                get_hub().destroy(destroy_loop=True)  # Where gevent's functions have made one for this thread.

            _start_thread(None, run)
            return done

    return Loop()


def _make_executor() -> ThreadPoolExecutor:
    """For blocking calls of awaitable credentials, ``asyncio.to_thread`` and name resolution."""
    from concurrent.futures import Future, ThreadPoolExecutor

    class Executor(ThreadPoolExecutor):
        """Runs each call on a thread of its own. Python waits at exit for those of the base class, however long their
        calls take."""

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

            _start_thread(None, run)
            return future

    return Executor()


_helper = _Helper()

DEFAULT = Source({"type": "default"})
"""The default chain with default options."""

_foreign: dict[tuple[int, Any, bool], tuple[Reference, Foreign, Source]] = {}
_kept: dict[tuple[int, Any, bool], Any] = {}
_waited: dict[weakref.ref[Foreign], None] = {}
"""Those whose contexts are kept though nobody waits."""


def _without_the_last_few(kept: dict[T, Any]) -> list[T]:
    """Takes out, and returns, all keys but the newest. Other threads may be at it too."""
    oldest = list(kept)[:-_MOST_KEPT]
    for key in oldest:
        kept.pop(key, None)
    return oldest


def source_of(credential: Any) -> Source:
    """What a credential argument stands for.

    Raises ``CredentialValueError`` where it cannot be a credential.
    """
    if credential is None:
        return DEFAULT
    ours = getattr(credential, "_pgentra_source", None)
    return ours if isinstance(ours, Source) else _foreign_source(credential)[1]


def source_of_assertions(assertion: Any) -> Source:
    """What stands behind an assertion: a callable that returns it, or a credential whose tokens are assertions."""
    if callable(getattr(assertion, "get_token", None)):
        return source_of(assertion)
    return _foreign_source(assertion, asserts=True)[1]


def anchor_of(credential: Any) -> tuple[Any, Any]:
    """The object that a credential argument lives as long as, and what tells its methods apart.

    A bound method is made anew at each access; its object is what lasts.
    """
    if type(credential) is MethodType:
        return credential.__self__, credential.__func__
    return credential, None


def reference(anchor: Any, when_gone: Callable[[], object] | None = None) -> Reference:
    """A weak reference, or a strong one to what cannot be referenced weakly."""
    try:
        return weakref.ref(anchor, when_gone and (lambda _: when_gone()))
    except TypeError:
        return lambda: anchor


def _foreign_source(credential: Any, *, asserts: bool = False) -> tuple[Foreign, Source]:
    anchor, function = anchor_of(credential)
    key = (id(anchor), function, asserts)
    found = _foreign.get(key)
    if found is not None and found[0]() is anchor:
        return found[1], found[2]
    _check(credential)
    try:
        refers: Reference = weakref.ref(anchor, lambda gone: _forget(key, gone))
    except TypeError:
        # Kept, so that the id stays its own; only the last few, so that it is not kept for ever.
        refers = reference(anchor)
        _kept[key] = anchor
        for oldest in _without_the_last_few(_kept):
            _foreign.pop(oldest, None)
    named = refers if function is None else _method_reference(refers, function)
    foreign = Foreign(credential, named, asserts=asserts)
    if found is not None:
        _foreign.pop(key, None)
    made = (refers, foreign, Source({"type": "custom_credential", "index": 0}, (foreign,)))
    _, foreign, source = _foreign.setdefault(key, made)
    return foreign, source


def _method_reference(refers: Reference, function: Any) -> Reference:
    def method() -> Any:
        anchor = refers()
        return None if anchor is None else MethodType(function, anchor)

    return method


def _forget(key: tuple[int, Any, bool], gone: Any) -> None:
    found = _foreign.get(key)
    if found is not None and found[0] is gone:
        del _foreign[key]


_NOT_OURS = frozenset({"asyncpg", "pg8000", "psycopg", "psycopg2", "psycopg_pool", "sqlalchemy"})
"""Packages whose objects are engines, sessions, pools or connections, though some of them can be called."""


_ADVICE_FOR_TEXT = "Pass a token as StaticTokenCredential(token); leave the credential out for the default chain."


def _check(credential: Any) -> None:
    kind = type(credential)
    advice = getattr(kind, "_pgentra_not_credential", None)
    is_ours = advice is None and kind.__module__.partition(".")[0] not in _NOT_OURS
    is_class = isinstance(credential, type)
    if is_ours and not is_class and (callable(getattr(credential, "get_token", None)) or callable(credential)):
        return
    came = f"the class {credential.__name__} itself" if is_class else kind.__name__
    raise _native.error(
        "credential_value",
        "credential is required and must be an object with get_token, or a callable that returns a token and its "
        f"expiry; got {came}" + ("" if advice is None else f" ({advice})"),
        None,
        *([_ADVICE_FOR_TEXT] if isinstance(credential, str) else []),
    )


def _call_get_token_info(credential: Any, request: _native.Request) -> Any:
    return credential.get_token_info(request.scope, options=request.options())


def _call_get_token(credential: Any, request: _native.Request) -> Any:
    return credential.get_token(request.scope, **request.options())


def _call_with_scope(credential: Any, request: _native.Request) -> Any:
    return credential(request.scope)


def _call_with_keyword(credential: Any, request: _native.Request) -> Any:
    return credential(scope=request.scope)


def _call(credential: Any, request: _native.Request) -> Any:
    return credential()


def _unwrapped(function: Any) -> Any:
    """The plain function behind a bound method, a partial, a callable object or a decorator that says so."""
    for _ in range(16):
        for name in ("__wrapped__", "__func__", "func"):
            inner = getattr(function, name, None)
            if callable(inner):
                function = inner
                break
        else:
            if hasattr(function, "__code__") or isinstance(function, type):
                return function
            inner = type(function).__call__
            if not hasattr(inner, "__code__"):
                return function
            function = inner
    return function


def _is_async(function: Any) -> bool:
    code = getattr(_unwrapped(function), "__code__", None) or getattr(function, "__code__", None)
    return bool(getattr(code, "co_flags", 0) & _COROUTINE_FLAGS)


def _call_of(function: Any) -> Callable[[Any, _native.Request], Any]:
    """How a callable is called: with the scope where it has one positional argument without a default, or ``*scopes``;
    by keyword where it has a keyword-only ``scope`` without a default; otherwise without arguments."""
    if getattr(function, "func", None) is not None:
        return _call_of_partial(function)
    plain = _unwrapped(function)
    code = getattr(plain, "__code__", None)
    if code is None:
        return _call
    bound = 0 if plain is function else 1
    required = code.co_argcount - len(getattr(plain, "__defaults__", None) or ()) - bound
    if required == 1 or (required <= 0 and bool(code.co_flags & _VARARGS_FLAG)):
        return _call_with_scope
    keywords = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    if "scope" in keywords and "scope" not in (getattr(plain, "__kwdefaults__", None) or ()):
        return _call_with_keyword
    return _call


def _call_of_partial(function: Any) -> Callable[[Any, _native.Request], Any]:
    """The same for a ``functools.partial``, by the arguments that it leaves to be given."""
    from inspect import Parameter, signature

    try:
        left = signature(function).parameters.values()
    except (TypeError, ValueError):  # A built-in function may have no signature.
        return _call
    required = [parameter for parameter in left if parameter.default is Parameter.empty]
    if any(parameter.kind is Parameter.KEYWORD_ONLY and parameter.name == "scope" for parameter in required):
        return _call_with_keyword
    positional = [p for p in required if p.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    return _call_with_scope if len(positional) == 1 else _call


class TokenResponseError(Exception):
    """The error response that a callable returned in the place of a token, as MSAL's functions do."""


def _read(result: Any, request: _native.Request) -> None:
    """Answers the request with what a credential returned."""
    refresh_on = None
    if isinstance(result, str):
        token, expires_on = result, None
    elif hasattr(result, "token"):
        token, expires_on = result.token, getattr(result, "expires_on", None)
        refresh_on = getattr(result, "refresh_on", None)
    elif isinstance(result, (tuple, list)) and len(result) == 2:
        token, expires_on = result
        expires_on = _after_now(expires_on) if _is_lifetime(expires_on) else expires_on
    elif isinstance(result, dict) and "access_token" in result:
        token, expires_on = result["access_token"], _number(result.get("expires_on"))
        if expires_on is None:
            expires_on = _after_now(_number(result.get("expires_in")))
        refresh_on = _after_now(_number(result.get("refresh_in")))
    elif isinstance(result, dict) and "error" in result:
        parts = (result["error"], result.get("error_description"))
        return request.fail(TokenResponseError(": ".join(str(part) for part in parts if part)))
    else:
        return request.refuse(f"returned {_type(result)}, where a token and its expiry were expected")
    if not isinstance(token, str):
        return request.refuse(f"returned a token of type {_type(token)}, where a string was expected")
    if _is_naive(expires_on) or _is_naive(refresh_on):
        return request.refuse(
            "returned an expiry without a time zone, which does not say when the token expires. Return a datetime with "
            "tzinfo, such as datetime.now(timezone.utc) + timedelta(hours=1), or seconds since the epoch"
        )
    try:
        request.succeed(token, _epoch(expires_on), _epoch(refresh_on))
    except (TypeError, ValueError, OverflowError, OSError):
        request.refuse(
            f"returned an expiry of type {_type(expires_on)}, where seconds since the epoch, a datetime or nothing "
            "were expected"
        )


_LONGEST_LIFETIME = 10**9
"""Seconds. As seconds since the epoch it is a moment of 2001, before any token of Entra."""


def _is_lifetime(value: Any) -> bool:
    """Whether the second of a pair is ``expires_in``, as token endpoints return it, and not a moment."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < _LONGEST_LIFETIME


def _after_now(seconds: Any) -> Any:
    """The moment that is a number of seconds away, in seconds since the epoch."""
    if isinstance(seconds, (int, float)) and not isinstance(seconds, bool):
        return time() + seconds
    return seconds


def _number(value: Any) -> Any:
    """A number of a token response, where some endpoints send it as text."""
    return int(value) if isinstance(value, str) and value.isdecimal() else value


def _is_naive(moment: Any) -> bool:
    """Whether it is a ``datetime`` without a time zone. Python takes that for local time, and most of them are UTC."""
    offset = getattr(moment, "utcoffset", None)
    return callable(offset) and offset() is None


def _read_assertion(result: Any, request: _native.Request) -> None:
    """Answers the request with what a callback returned."""
    if isinstance(result, str):
        request.succeed(result, None, None)
    else:
        request.refuse(f"returned {_type(result)}, where an assertion, a text, was expected")


def _epoch(moment: Any) -> int | None:
    if moment is None:
        return None
    if isinstance(moment, (int, float)) and not isinstance(moment, bool):
        return max(-(2**62), min(int(moment), 2**62))
    if hasattr(moment, "timestamp"):
        return int(moment.timestamp())
    raise TypeError


def _type(value: Any) -> str:
    return "None" if value is None else type(value).__name__


_tasks: set[Task[None]] = set()


def _start(work: Any) -> None:
    """Starts a task of the running loop. A loop keeps tasks weakly, so somebody has to hold it."""
    from asyncio import get_running_loop

    task = get_running_loop().create_task(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def running_loop() -> AbstractEventLoop | None:
    """The event loop that runs on this thread. Does not import asyncio."""
    asyncio = sys.modules.get("asyncio")
    return asyncio._get_running_loop() if asyncio is not None else None


def _blocked_signals() -> _Signals:
    """The signals that this thread keeps out."""
    if sys.platform == "win32":
        return None
    from signal import SIG_BLOCK, pthread_sigmask

    return pthread_sigmask(SIG_BLOCK, ())


def _start_thread(signals: _Signals, function: Callable[..., Any], *arguments: Any) -> None:
    """Starts a real thread, also where gevent or eventlet has put greenlets in their place. It keeps out the caller's
    ``signals``: the engine's own threads, which start it, keep out all, and so would the processes that a credential
    runs."""

    def run() -> None:
        if signals is not None and sys.platform != "win32":
            from signal import SIG_SETMASK, pthread_sigmask

            pthread_sigmask(SIG_SETMASK, signals)
        function(*arguments)

    _thread_starter()(run, ())


def _thread_starter() -> Callable[..., int]:
    """Python's own ``start_new_thread``, whatever gevent or eventlet have put in its place."""
    monkey = sys.modules.get("gevent.monkey")
    if monkey is not None:
        return monkey.get_original("_thread", "start_new_thread")  # type: ignore[no-any-return]
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None:
        return patcher.original("_thread").start_new_thread  # type: ignore[no-any-return]
    from _thread import start_new_thread

    return start_new_thread
