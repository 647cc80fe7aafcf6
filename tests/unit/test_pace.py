"""Walks take turns with everything else of the event loop."""

import asyncio
import time

from worker import pace
from worker.pace import Pace


def _busy() -> None:
    time.sleep(pace.BUSY)


async def test_work_that_is_short_goes_on_at_once() -> None:
    """All that is ready begins in one pass of the loop."""
    turns, passes = Pace(), 0

    async def work() -> int:
        await turns.turn()
        return passes

    tasks = [asyncio.create_task(work()) for _ in range(100)]
    while not all(task.done() for task in tasks):
        passes += 1
        await asyncio.sleep(0)
    assert {task.result() for task in tasks} == {1}


async def test_work_that_is_long_lets_others_in_between() -> None:
    """However much of it is ready at the same moment; each gets its turn."""
    turns, longest = Pace(), 0.0

    async def work() -> None:
        await turns.turn()
        _busy()

    tasks = [asyncio.create_task(work()) for _ in range(10)]
    while not all(task.done() for task in tasks):
        began = time.monotonic()
        await asyncio.sleep(0)
        longest = max(longest, time.monotonic() - began)
    assert longest < 5 * pace.BUSY


async def test_who_gives_up_waiting_leaves_the_others_theirs() -> None:
    """A task that is cancelled while it waits for its turn."""
    turns = Pace()

    async def work() -> None:
        await turns.turn()
        _busy()

    first, second, third = (asyncio.create_task(work()) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.wait([first, second, third], timeout=10)
    assert second.cancelled()
    assert third.done()
    assert not third.cancelled()
