"""Timeouts that share a timer do what those of asyncio do."""

import asyncio
from collections.abc import Callable

import pytest

from shared.timeouts import Timeout, Timeouts
from tests.unhurried import Unhurried

Within = Callable[[float], Timeout]


@pytest.fixture
def within() -> Within:
    """Timeouts of one event loop."""
    return Timeouts().within


async def _hang() -> None:
    await asyncio.Event().wait()


async def test_what_is_over_is_a_timeout_error(within: Within) -> None:
    """The body is cancelled, which comes out as a TimeoutError, and the task goes on uncancelled."""
    for seconds in (0.01, 0.0, -1.0):
        with pytest.raises(TimeoutError) as caught, within(seconds):
            await _hang()
        assert isinstance(caught.value.__cause__, asyncio.CancelledError)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_ends_in_time_is_left_alone(within: Within) -> None:
    """Neither a result nor an error is touched, and no time-out comes later."""
    with within(0.01):
        pass
    with pytest.raises(KeyError), within(0.01):
        raise KeyError
    with within(5.0):
        await asyncio.sleep(0.03)


def test_each_ends_at_its_own_time(within: Within) -> None:
    """Those of one length end in the order they began, whoever ended before; lengths do not wait for each other."""
    with asyncio.Runner(loop_factory=Unhurried) as runner:
        runner.run(_each_at_its_own_time(within))


async def _each_at_its_own_time(within: Within) -> None:
    ended: list[str] = []

    async def call(name: str, after: float, seconds: float, lasts: float = 5.0) -> None:
        await asyncio.sleep(after)
        try:
            with within(seconds):
                await asyncio.sleep(lasts)
        except TimeoutError:
            ended.append(name)

    await asyncio.gather(
        call("first, in time", 0.0, 0.1, lasts=0.0),
        call("second", 0.02, 0.1),
        call("third", 0.06, 0.1),
        call("short", 0.04, 0.02),
        call("long", 0.0, 1.0),
    )
    assert ended == ["short", "second", "third", "long"]
    await asyncio.gather(call("again", 0.0, 0.1), call("again", 0.0, 0.1))
    assert ended[4:] == ["again", "again"]


async def test_the_inner_one_does_not_end_the_outer(within: Within) -> None:
    """Nested, each ends only what it encloses; over at the same time, the outer one is what is seen outside."""
    with within(5.0), pytest.raises(TimeoutError), within(0.01):
        await _hang()
    with pytest.raises(TimeoutError):
        await _nested(within)


async def _nested(within: Within) -> None:
    with within(0.02):
        try:
            with within(0.01):
                await _hang()
        except TimeoutError:
            await _hang()


@pytest.mark.parametrize("seconds", [5.0, 0.0])
async def test_a_cancellation_stays_one(within: Within, seconds: float) -> None:
    """Who is cancelled by somebody else sees that, even if the time is over in the same moment."""

    async def call() -> None:
        with within(seconds):
            started.set()
            await _hang()

    started = asyncio.Event()
    task = asyncio.create_task(call())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_timer_serves_all_of_a_length() -> None:
    """A thousand calls arm one timer, and none is left when the last of it is over."""
    armed = 0
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def counted(*args: object, **kwargs: object) -> object:
        nonlocal armed
        armed += 1
        return call_at(*args, **kwargs)  # type: ignore[arg-type]

    timeouts = Timeouts()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "call_at", counted)
        for _ in range(1000):
            with timeouts.within(0.05):
                pass
    assert armed == 1
    with pytest.raises(TimeoutError), timeouts.within(0.05):
        await _hang()
    assert not timeouts._queues
