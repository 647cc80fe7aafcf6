"""What calls the duties, and what it makes of clocks that are set and duties that break."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from scheduler.clockwork import Clockwork, Every, Watchdog
from scheduler.duty import Duties, Duty
from scheduler.main import pause_after
from shared.metrics import DUTY_ERRORS
from shared.store.duties import Probe

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Hand:
    """A clock that a test moves."""

    def __init__(self, at: float = 1000.0) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def test_ticks_follow_each_other_at_the_interval():
    """The next tick is an interval after the one before, so ticks do not drift with how late they are called."""
    assert Every(5).get_next_fire_time(NOW, NOW + timedelta(seconds=1)) == NOW + timedelta(seconds=5)


def test_the_first_tick_is_at_once():
    """A job that has never run is due now."""
    assert Every(5).get_next_fire_time(None, NOW) == NOW


@pytest.mark.parametrize("step", [timedelta(days=3650), timedelta(seconds=5), timedelta(seconds=-600)])
def test_a_tick_is_never_missed_nor_far_away_whatever_the_clock_does(step):
    """After any step of the clock the next tick is later than now by at most one interval: ten years cost one tick."""
    now = NOW + step
    following = Every(5).get_next_fire_time(NOW, now)
    assert now < following <= now + timedelta(seconds=5)


@pytest.mark.parametrize("step", [600.0, -600.0, 0.3])
def test_the_watchdog_tells_of_a_set_clock_once(step):
    """A wall clock that moves apart from the monotonic one was set; from then on its new time counts."""
    wall, monotonic, told = Hand(), Hand(), []
    dog = Watchdog(told.append, wall=wall, monotonic=monotonic)
    wall.at += 1 + step
    monotonic.at += 1
    dog.look()
    dog.look()
    assert told == [pytest.approx(step)]


def test_the_watchdog_lets_time_pass():
    """Clocks that move together, or are slewed a little, are no step."""
    wall, monotonic, told = Hand(), Hand(), []
    dog = Watchdog(told.append, wall=wall, monotonic=monotonic)
    for _ in range(100):
        wall.at += 1.001
        monotonic.at += 1
        dog.look()
    assert told == []


async def test_jobs_that_a_clock_stepped_back_left_far_ahead_are_due_at_once():
    """A clock set back ten minutes leaves every job ten minutes ahead; `due_now` makes all of them tick again."""
    clockwork, ticks = Clockwork(), {"a": asyncio.Event(), "b": asyncio.Event()}

    async def tick(name):
        ticks[name].set()

    async def tick_a():
        await tick("a")

    async def tick_b():
        await tick("b")

    clockwork.add("a", 0.01, tick_a)
    clockwork.add("b", 3600, tick_b)
    for job in clockwork._scheduler.get_jobs():
        job.modify(next_run_time=datetime.now(UTC) + timedelta(minutes=10))
    clockwork.start()
    clockwork.due_now()
    async with asyncio.timeout(5):
        for event in ticks.values():
            await event.wait()
        ticks["a"].clear()
        await ticks["a"].wait()
    await clockwork.stop()


async def test_a_job_is_not_called_while_it_runs():
    """A job that takes longer than its interval is called again only after it has returned."""
    clockwork, others = Clockwork(), asyncio.Semaphore(0)
    calls, release = [], asyncio.Event()

    async def slow():
        calls.append(1)
        await release.wait()

    async def other():
        others.release()

    clockwork.add("slow", 0.005, slow)
    clockwork.add("other", 0.01, other)
    clockwork.start()
    async with asyncio.timeout(5):
        for _ in range(5):
            await others.acquire()
    await clockwork.stop()
    assert len(calls) == 1


def errors(name: str) -> float:
    return DUTY_ERRORS.labels(name)._value.get()


async def test_a_full_batch_is_followed_by_the_next_at_once():
    """A duty goes on while it says that there is more."""
    left = [True, True, False]

    async def work():
        return left.pop(0)

    await Duties().turn(Duty("steps", 1.0, work))
    assert left == []


async def test_a_turn_is_bounded():
    """A duty that always has more ends its turn all the same."""
    rounds = []

    async def work():
        rounds.append(1)
        return True

    await Duties().turn(Duty("endless", 1.0, work))
    assert len(rounds) == 20


async def test_a_duty_that_breaks_is_counted_and_rests_longer_each_time():
    """An error never leaves the duty; it is counted, and the rests double."""
    clock, calls = Hand(), []
    before = errors("broken")

    async def work():
        calls.append(clock.at)
        raise ValueError("broken")

    duties, duty = Duties(monotonic=clock), Duty("broken", 0.1, work)
    for _ in range(40):
        await duties.turn(duty)
        clock.at += 0.125
    assert [at - calls[0] for at in calls] == [0, 0.25, 0.75, 1.75, 3.75]
    assert errors("broken") - before == 5


async def test_a_duty_that_breaks_does_not_keep_others():
    """Beside a broken duty another one does its turns."""

    async def breaks():
        raise ValueError("broken")

    done = []

    async def works():
        done.append(1)
        return False

    duties = Duties()
    await asyncio.gather(duties.turn(Duty("breaks", 0.1, breaks)), duties.turn(Duty("works", 0.1, works)))
    assert done == [1]


async def test_duties_are_back_two_seconds_after_the_database_at_the_latest():
    """However long the database was away, a duty rests two seconds at most, and whoever judges workers is told."""
    clock, calls, lost = Hand(), [], []

    async def work():
        calls.append(clock.at)
        raise ConnectionRefusedError

    duties, duty = Duties(lambda: lost.append(1), monotonic=clock), Duty("away", 0.1, work)
    for _ in range(400):
        await duties.turn(duty)
        clock.at += 0.25
    assert max(later - earlier for earlier, later in pairwise(calls)) == 2.0
    assert len(lost) == len(calls)


async def test_a_duty_is_stale_until_it_has_succeeded_and_when_it_has_not_for_long():
    """Readiness wants a success, and one that is not too old."""
    clock = Hand()

    async def work():
        return False

    duties, duty = Duties(monotonic=clock), Duty("stale", 1.0, work)
    assert duties.stale(duty)
    await duties.turn(duty)
    assert not duties.stale(duty)
    clock.at += 60
    assert duties.stale(duty)


async def test_a_duty_is_not_done_twice_at_a_time():
    """Whoever launches a duty that is being done is told so."""
    go = asyncio.Event()

    async def work():
        await go.wait()
        return False

    duties, duty = Duties(), Duty("long", 1.0, work)
    first = duties.launch(duty)
    assert first is not None
    assert duties.launch(duty) is None
    go.set()
    await first
    again = duties.launch(duty)
    assert again is not None
    await again


async def test_stopping_cancels_what_does_not_end_in_time():
    """Duties under way may finish within the grace; what hangs is cancelled."""

    async def hangs():
        await asyncio.Event().wait()
        return False

    duties = Duties()
    task = duties.launch(Duty("hangs", 1.0, hangs))
    await duties.stop(0.01)
    assert task is not None
    assert task.cancelled()
    assert duties.launch(Duty("late", 1.0, hangs)) is None


NOTHING = Probe(**dict.fromkeys(Probe._fields[:-1], False), due_in=None)


@pytest.mark.parametrize(
    ("found", "pause"),
    [
        ({}, None),
        ({"slots": True, "due_in": -1.0}, 0.1),
        ({"waits": True, "due_in": -1.0}, 0.1),
        ({"unsent": True, "due_in": 0.05}, 0.1),
        ({"open": True}, 0.2),
        ({"open": True, "due_in": 9.0}, 0.2),
        ({"open": True, "due_in": 0.07}, 0.07),
        ({"due_in": 9.0}, None),
        ({"due_in": 0.3}, 0.3),
        ({"due_in": 0.0001}, 0.005),
        ({"due_in": -0.0001}, 0.005),
    ],
)
def test_the_next_look_is_when_something_comes_due(found: dict[str, Any], pause: float | None) -> None:
    """Before the next tick only if something may want it: soon while there is work, else at the moment it comes due."""
    assert pause_after(NOTHING._replace(**found)) == pause
