"""Ticks: APScheduler calls the duties, and a watchdog sees to it that a stepped clock does not stop them.

APScheduler reckons in wall-clock time. Its own interval trigger counts every tick missed when the clock leaps ahead,
and after a step back its jobs wait until the clock has caught up. `Every` never looks further ahead than one interval;
`Watchdog` notices a step within a second, and `Clockwork.due_now` makes every job due.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
from apscheduler.events import EVENT_SCHEDULER_SHUTDOWN
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.triggers.base import BaseTrigger

_log = structlog.get_logger(__name__)

#: Seconds between two looks of the watchdog.
_WATCH: Final = 1.0
#: Seconds by which the clocks may part between two looks; slewing stays far below.
_TOLERANCE: Final = 0.25


class Every(BaseTrigger):  # type: ignore[misc]  # APScheduler 3 has no types
    """Fires at an interval, and at least once per interval from now on whatever the wall clock does."""

    __slots__ = ("interval",)

    def __init__(self, seconds: float) -> None:
        self.interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """See APScheduler: the tick after the previous one, if that is within the next interval."""
        if previous_fire_time is None:
            return now
        following = previous_fire_time + self.interval
        return following if now < following <= now + self.interval else now + self.interval


class Clockwork:
    """Calls coroutine functions at intervals; each is never called again before it has returned."""

    def __init__(self) -> None:
        # One beginning for all, so that those that are due together share a wake-up ever after.
        self._began = datetime.now(UTC)
        # It warns of every tick that finds the one before still at work, which is what ticks do under load.
        logging.getLogger("apscheduler.scheduler").setLevel(logging.ERROR)
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None}
        )

    def add(self, name: str, seconds: float, call: Callable[[], Awaitable[None]]) -> None:
        """Call ``call`` every so many seconds, the first time at once."""
        self._scheduler.add_job(call, Every(seconds), id=name, name=name, next_run_time=self._began)

    def start(self) -> None:
        """Begin ticking on the running loop."""
        self._scheduler.start()

    def due_now(self) -> None:
        """Make every job due at once."""
        for job in self._scheduler.get_jobs():
            job.modify(next_run_time=datetime.now(UTC))

    async def stop(self) -> None:
        """Stop ticking; calls under way are cancelled."""
        stopped = asyncio.Event()
        self._scheduler.add_listener(lambda _: stopped.set(), EVENT_SCHEDULER_SHUTDOWN)
        self._scheduler.shutdown(wait=False)
        await stopped.wait()  # it shuts down in a callback of the loop


class Watchdog:
    """Notices when the wall clock is set, by holding it against the monotonic one.

    Args:
        on_step: called with the seconds by which the wall clock was set, negative when back.
        wall, monotonic: the two clocks, in seconds.
    """

    def __init__(
        self,
        on_step: Callable[[float], None],
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._on_step = on_step
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def look(self) -> None:
        """Compare the clocks once."""
        offset = self._wall() - self._monotonic()
        step, self._offset = offset - self._offset, offset
        if abs(step) > _TOLERANCE:
            _log.warning("the clock was set", seconds=round(step, 3))
            self._on_step(step)

    async def watch(self) -> None:
        """Compare them every second until cancelled; the loop's timers run on the monotonic clock."""
        while True:
            await asyncio.sleep(_WATCH)
            self.look()
