"""Blocking work of nodes in threads: it ends when its time is over, whatever it does."""

import asyncio
import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from shared.errors import StepFailedError
from shared.nodes.threads import in_thread


def endless() -> None:
    """Goes on for ever, takes every exception for a fault of what it reads, and misses the first that ends it."""
    with suppress(BaseException):
        _loop()
    _loop()


def _loop() -> None:
    while True:
        with suppress(Exception):
            [].index(1)


async def test_endless_work_is_ended() -> None:
    """Also if it handles exceptions, as finalizers do with whatever comes; the thread is gone then."""
    with pytest.raises(StepFailedError) as caught:
        await in_thread(endless, seconds=0.05)
    assert caught.value.code == "too_slow"
    for thread in threading.enumerate():
        if thread.name == "node":
            thread.join(10)
            assert not thread.is_alive()


async def test_other_work_comes_back() -> None:
    """What it returns or raises, and its thread is watched no more."""
    assert await in_thread(lambda: sum(range(10)), seconds=1) == 45
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0, seconds=1)


async def test_only_its_own_time_counts() -> None:
    """Work that waits takes no processor time."""
    waited = threading.Event()
    threading.Timer(0.1, waited.set).start()
    assert await in_thread(lambda: waited.wait(10), seconds=0.05)


async def test_work_that_ends_in_time_is_left_alone() -> None:
    """However close to its end: each gives its result or is ended, and none of the next is hit."""
    ended = await asyncio.gather(
        *(in_thread(partial(_busy, 0.05 + step / 1000), seconds=0.06) for step in range(20)), return_exceptions=True
    )
    assert {type(each) for each in ended} <= {int, StepFailedError}
    assert await asyncio.gather(*(in_thread(partial(_busy, 0.001), seconds=5) for _ in range(20))) == [1] * 20


def _busy(seconds: float) -> int:
    ends = time.thread_time() + seconds
    while time.thread_time() < ends:
        pass
    return 1
