"""Starts children that exit during a call of a custom credential; arguments: the situation and the number of children.

Prints how many exited with status 0 within their limit, and the status of the others as errors.
"""

import asyncio
import os
import signal
import sys
import threading
import time

import pgentra
import pgentra.errors

#: Much longer than fifty interpreters at once need on a busy machine.
LIMIT_S = 60


def slow_refresh() -> None:
    """The first token is past its refresh point at once; the call for the second one does not return."""
    calls: list[int] = []

    def credential() -> tuple[str, int]:
        calls.append(1)
        if len(calls) > 1:
            time.sleep(600)
        # Short-lived, so that the next caller starts a refresh.
        return "a.b.c", int(time.time()) + 2

    provider = pgentra.TokenProvider(credential)
    provider.get()
    while len(calls) < 2:
        time.sleep(0.01)
        provider.get()


def first_fetch_on_a_thread() -> None:
    """Another thread waits for a token that does not arrive."""
    started = threading.Event()

    def credential() -> tuple[str, int]:
        started.set()
        time.sleep(600)
        return "", 0

    provider = pgentra.TokenProvider(credential)

    def wait() -> None:
        try:
            provider.get()
        except pgentra.errors.PgEntraError as error:
            assert error.code == "shutting_down"

    threading.Thread(target=wait, daemon=True).start()
    assert started.wait(LIMIT_S)


def on_a_loop() -> None:
    """The loop ends while one of its tasks fetches."""
    started = asyncio.Event()

    async def credential() -> tuple[str, int]:
        started.set()
        await asyncio.sleep(600)
        return "", 0

    provider = pgentra.TokenProvider(credential)

    async def run() -> None:
        task = asyncio.ensure_future(provider.get_async())
        await started.wait()
        task.cancel()

    asyncio.run(run())


WAYS = {one.__name__: one for one in (slow_refresh, first_fetch_on_a_thread, on_a_loop)}


def main() -> None:
    children: dict[int, float] = {}
    for _ in range(int(sys.argv[2])):
        child = os.fork()
        if child == 0:
            WAYS[sys.argv[1]]()
            # The interpreter exits in the usual way.
            return
        children[child] = time.monotonic()
    good = 0
    while children:
        child, status = os.waitpid(-1, os.WNOHANG)
        if child:
            took = time.monotonic() - children.pop(child)
            good += status == 0
            if status:
                print(f"status {status} after {took:.1f} s", file=sys.stderr)
            continue
        time.sleep(0.01)
        for late in [one for one, began in children.items() if time.monotonic() - began > LIMIT_S]:
            os.kill(late, signal.SIGKILL)
    print(good)


main()
