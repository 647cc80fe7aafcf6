"""Work on large definitions: off the loop, one at a time."""

import asyncio
import threading

import pytest

from shared.off_loop import LARGE, off_loop


async def test_small_work_is_done_at_once() -> None:
    """A thread would cost more than it is worth."""
    assert await off_loop(threading.get_ident, LARGE) == threading.get_ident()


async def test_the_loop_goes_on_beside_large_work() -> None:
    """What it returns comes back; until then the loop does other things."""
    loop, goes_on = asyncio.get_running_loop(), threading.Event()

    def work() -> bool:
        loop.call_soon_threadsafe(goes_on.set)
        return goes_on.wait(10)

    assert await off_loop(work, LARGE + 1)


async def test_one_large_work_runs_at_a_time() -> None:
    """The loop shares the interpreter with one of them, however many there are; one that fails lets the next begin."""
    running = threading.Lock()

    def work() -> None:
        assert running.acquire(blocking=False), "another one runs"
        running.release()
        raise LookupError

    ended = await asyncio.gather(*(off_loop(work, LARGE + 1) for _ in range(20)), return_exceptions=True)
    assert {type(each) for each in ended} == {LookupError}


async def test_who_gives_up_leaves_the_turn_to_others() -> None:
    """A caller that is cancelled while it waits takes no turn."""
    release = threading.Event()
    first = asyncio.create_task(off_loop(release.wait, LARGE + 1))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(off_loop(release.wait, LARGE + 1))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    release.set()
    assert await first
    assert await off_loop(lambda: True, LARGE + 1)
