"""Blocking work of nodes, in threads of its own that can hold neither the event loop nor the end of the process.

The loop's default executor is not used: a function that never returns would take a thread away from the look-up of
names, and Python waits at its end for every thread of an executor.
"""

import asyncio
from collections.abc import Callable
from contextvars import copy_context
from threading import Thread
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

#: Threads at the same time, for each event loop. What was given up waiting for keeps its own until it returns.
LIMIT: Final = 16

_gates: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


async def in_thread(work: Callable[[], T]) -> T:
    """What ``work`` returns or raises; when `LIMIT` others run, it waits for one of them to return.

    A caller that is cancelled leaves the work to run to its end, unheard.
    """
    loop = asyncio.get_running_loop()
    gate = _gates.setdefault(loop, asyncio.Semaphore(LIMIT))
    await gate.acquire()
    ended: asyncio.Future[Callable[[], T]] = loop.create_future()
    try:
        _start(work, lambda outcome: _hand_over(loop, gate, ended, outcome))
    except BaseException:
        gate.release()
        raise
    return (await ended)()


def _start(work: Callable[[], T], tell: Callable[[Callable[[], T]], None]) -> None:
    context = copy_context()
    Thread(target=lambda: tell(_outcome(lambda: context.run(work))), name="node", daemon=True).start()


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    """Run it, and give a function that returns or raises what it did."""
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 — whatever ends the thread is the caller's to judge
        failure = error

        def fail() -> T:
            raise failure

        return fail
    return lambda: result


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    gate: asyncio.Semaphore,
    ended: "asyncio.Future[Callable[[], T]]",
    outcome: Callable[[], T],
) -> None:
    def finish() -> None:
        gate.release()
        if not ended.done():
            ended.set_result(outcome)

    if not loop.is_closed():
        loop.call_soon_threadsafe(finish)
