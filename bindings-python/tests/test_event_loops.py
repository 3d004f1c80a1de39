"""Awaited calls: the loop is never blocked, and a fetch runs on the loop of its credential."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from recording import AsyncRecording, Recording, TokenService

import pgentra
from pgentra.errors import AuthenticationError, PgEntraError
from pgentra.identity import ManagedIdentityCredential


async def largest_gap(work: Callable[[], Awaitable[object]]) -> float:
    """Returns the longest delay of a heartbeat of 10 ms during `work`, in seconds."""
    gaps = []
    beating = True

    async def beat() -> None:
        last = time.monotonic()
        while beating:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            gaps.append(now - last - 0.01)
            last = now

    heart = asyncio.create_task(beat())
    await work()
    beating = False
    await heart
    return max(gaps)


@pytest.mark.parametrize("kind", ["built-in", "synchronous", "awaitable"])
def test_event_loop_is_never_blocked(kind: str, service: TokenService, client_id: str) -> None:
    service.delay = 1.0
    credentials: dict[str, Any] = {
        "built-in": ManagedIdentityCredential(client_id=client_id),
        "synchronous": Recording(lambda: time.sleep(1)),
        "awaitable": AsyncRecording(lambda: asyncio.sleep(1)),
    }
    credential = credentials[kind]
    gap = asyncio.run(largest_gap(lambda: pgentra.get_entra_conninfo_async(credential)))
    assert gap < 0.5, "a blocked loop would have missed a whole second"


def test_event_loop_tasks_share_one_fetch() -> None:
    credential = AsyncRecording(lambda: asyncio.sleep(0.05))

    async def main() -> set[str]:
        return set(await asyncio.gather(*(pgentra.get_entra_token_async(credential) for _ in range(200))))

    assert len(asyncio.run(main())) == 1
    assert len(credential.scopes) == 1


def test_awaitable_credential_runs_on_its_loop_in_the_callers_context() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[Any] = []

    async def work() -> None:
        seen.append((asyncio.get_running_loop(), variable.get()))

    credential = AsyncRecording(work)

    async def main() -> None:
        variable.set("mine")
        await pgentra.get_entra_token_async(credential)
        assert seen == [(asyncio.get_running_loop(), "mine")]

    asyncio.run(main())


def test_awaitable_credential_shares_its_token_between_successive_loops() -> None:
    credential = AsyncRecording()
    first = asyncio.run(pgentra.get_entra_token_async(credential))
    gc.collect()
    assert asyncio.run(pgentra.get_entra_token_async(credential)) == first
    # Its loop is closed, so it may run on any other loop.
    assert pgentra.get_entra_token(credential) == first
    assert len(credential.scopes) == 1


def test_awaitable_credential_fetch_restarts_after_its_loop_ended() -> None:
    started = asyncio.Event()

    async def hang_once() -> None:
        # The engine may start the fetch again while this loop ends, on another loop.
        if not started.is_set():
            started.set()
            await asyncio.sleep(3600)

    credential = AsyncRecording(hang_once)

    async def first() -> None:
        task = asyncio.create_task(pgentra.get_entra_token_async(credential))
        await started.wait()
        task.cancel()

    asyncio.run(first())
    began = time.monotonic()
    assert asyncio.run(pgentra.get_entra_token_async(credential)).count(".") == 2
    assert time.monotonic() - began < 5


def test_awaitable_credential_on_two_loops_at_once() -> None:
    credential = AsyncRecording(lambda: asyncio.sleep(0.05))
    provider = pgentra.TokenProvider(credential)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                asyncio.run(provider.get_async())
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(credential.scopes) == 1, "one token for all loops"


def test_awaitable_credential_stays_on_its_loop_while_that_runs() -> None:
    """Like an SDK's session, it cannot be used on another loop."""
    seen: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        seen.append(asyncio.get_running_loop())

    credential = AsyncRecording(work)

    async def main() -> None:
        ask = pgentra.get_entra_token_async
        await ask(credential, "https://0.example/.default")
        # From a thread without a loop, and from another loop.
        blocking = asyncio.to_thread(pgentra.get_entra_token, credential, "https://1.example/.default")
        await blocking
        await asyncio.to_thread(lambda: asyncio.run(ask(credential, "https://2.example/.default")))
        assert seen == [asyncio.get_running_loop()] * 3

    asyncio.run(main())
    pgentra.get_entra_token(credential, "https://3.example/.default")
    asyncio.run(pgentra.get_entra_token_async(credential, "https://4.example/.default"))
    # The loop has ended. The next caller had no loop, so the background loop replaced it.
    assert len(seen) == 5
    assert seen[0] is not seen[3] is seen[4]


@pytest.mark.parametrize("how", ["sync", "async"])
def test_awaitable_credential_leaves_a_loop_that_no_longer_runs(how: str) -> None:
    """The loop is not closed but does not run, so its tasks do not continue."""
    started = asyncio.Event()

    async def hang() -> None:
        started.set()
        await asyncio.sleep(3600)

    credential = AsyncRecording(hang)
    left = asyncio.new_event_loop()
    fetch = left.create_task(pgentra.get_entra_token_async(credential))
    left.run_until_complete(started.wait())
    assert not fetch.done()
    credential.work = None
    began = time.monotonic()
    if how == "sync":
        token = pgentra.get_entra_token(credential)
    else:
        token = asyncio.run(pgentra.get_entra_token_async(credential))
    assert token.count(".") == 2
    assert time.monotonic() - began < 10, "the lost fetch has a limit of 30 s"
    for task in asyncio.all_tasks(left):
        task.cancel()
    left.run_until_complete(asyncio.sleep(0.01))
    left.close()


def test_awaitable_credential_of_an_ended_loop_gets_advice() -> None:
    session: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        session.append(asyncio.get_running_loop())
        if session[0].is_closed():
            raise RuntimeError("Event loop is closed")

    credential = AsyncRecording(work)
    asyncio.run(pgentra.get_entra_token_async(credential))
    with pytest.raises(AuthenticationError, match=r"Event loop is closed.*pgentra\.identity\.aio"):
        asyncio.run(pgentra.get_entra_token_async(credential, "https://other.example/.default"))


def test_cancellation_ends_only_that_callers_wait() -> None:
    async def main() -> None:
        free = asyncio.Event()
        credential = AsyncRecording(free.wait)
        impatient = asyncio.create_task(pgentra.get_entra_token_async(credential))
        patient = asyncio.create_task(pgentra.get_entra_token_async(credential))
        await asyncio.sleep(0.05)
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(pgentra.get_entra_token_async(credential), 0.05)
        free.set()
        assert (await patient).count(".") == 2
        assert len(credential.scopes) == 1

    asyncio.run(main())


def test_closed_loop_is_ignored() -> None:
    free = threading.Event()
    credential = Recording(lambda: free.wait(10))
    loop = asyncio.new_event_loop()
    waits = loop.create_task(pgentra.get_entra_token_async(credential))
    loop.run_until_complete(asyncio.sleep(0.05))
    waits.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    free.set()
    assert pgentra.get_entra_token(credential).count(".") == 2


def test_blocking_call_runs_an_awaitable_credential_on_the_background_loop() -> None:
    loops = set()

    async def work() -> None:
        loops.add(asyncio.get_running_loop())

    one, other = AsyncRecording(work), AsyncRecording(work)
    assert pgentra.get_entra_token(one) == pgentra.get_entra_token(one)
    pgentra.get_entra_token(other)
    assert len(loops) == 1
    assert threading.get_native_id() not in one.threads


def test_blocking_call_on_the_credentials_loop_fails_at_once() -> None:
    credential = AsyncRecording()

    async def main() -> None:
        token = await pgentra.get_entra_token_async(credential)
        # A token that another call has fetched needs no wait.
        assert pgentra.get_entra_token(credential) == token
        began = time.monotonic()
        with pytest.raises(PgEntraError, match="the credential's own event loop") as caught:
            pgentra.get_entra_token(credential, scope="https://other.example/.default")
        assert caught.value.code == "would_deadlock"
        assert time.monotonic() - began < 1

    asyncio.run(main())


def test_blocking_call_inside_the_credentials_call_fails_at_once() -> None:
    caught: list[PgEntraError] = []

    def ask_itself() -> None:
        try:
            pgentra.get_entra_token(credential, scope="https://other.example/.default")
        except PgEntraError as error:
            caught.append(error)

    credential = Recording(ask_itself)
    began = time.monotonic()
    pgentra.get_entra_token(credential)
    assert time.monotonic() - began < 2
    assert [error.code for error in caught] == ["would_deadlock"]

    async def ask_itself_awaitably() -> None:
        ask_itself()

    credential = AsyncRecording(ask_itself_awaitably)
    pgentra.get_entra_token(credential)
    asyncio.run(pgentra.get_entra_token_async(AsyncRecording(ask_itself_awaitably)))
    assert [error.code for error in caught[:2]] == ["would_deadlock"] * 2


def test_blocking_and_awaited_calls_share_one_fetch() -> None:
    credential = Recording(lambda: time.sleep(0.1))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        blocked = loop.run_in_executor(None, pgentra.get_entra_token, credential)
        assert await blocked == await pgentra.get_entra_token_async(credential)

    asyncio.run(main())
    assert len(credential.scopes) == 1


def test_awaited_call_raises_the_failure() -> None:
    async def fail() -> None:
        raise ValueError("canary")

    async def main() -> None:
        outcomes = await asyncio.gather(
            *(pgentra.get_entra_token_async(credential) for _ in range(5)), return_exceptions=True
        )
        assert all(isinstance(outcome, AuthenticationError) for outcome in outcomes)
        assert len({id(outcome) for outcome in outcomes}) == 5, "its own error object for each"
        assert len({id(outcome.__cause__) for outcome in outcomes if isinstance(outcome, Exception)}) == 1

    credential = AsyncRecording(fail)
    asyncio.run(main())


def test_time_limit_ends_a_wait() -> None:
    credential = AsyncRecording(lambda: asyncio.sleep(30))
    began = time.monotonic()
    with pytest.raises(AuthenticationError) as caught:
        asyncio.run(pgentra.get_entra_token_async(credential, timeout=0.2))
    assert caught.value.code == "timeout"
    assert time.monotonic() - began < 5
