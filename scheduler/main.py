"""The scheduler process."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg
import structlog

from scheduler.bulk import BulkActions
from scheduler.clockwork import Clockwork, Watchdog
from scheduler.duty import Duties, Duty
from scheduler.housekeeping import Housekeeping
from scheduler.limits import Limits
from scheduler.queued import Queued
from scheduler.replays import Replays
from scheduler.rescue import Contact, Rescue
from scheduler.retention import Retention
from scheduler.schedules import Schedules
from scheduler.steps import Steps
from shared import service
from shared.announcer import Announcer
from shared.config import Config
from shared.db import DATABASE_ERRORS, Clock
from shared.ingest import Ingest
from shared.probes import serve_probes
from shared.store import duties
from shared.store.duties import Probe
from shared.store.open_runs import RunLimits

_log = structlog.get_logger(__name__)

#: Seconds a statement of a duty may take.
_STATEMENT_TIMEOUT: Final = 15.0
#: Seconds for which duties under way may go on after SIGTERM.
_GRACE: Final = 3.0
#: Seconds between two looks for work when there is nothing at all, while steps are open, and while some wait for the
#: fast duties; and the least before one when something comes due. A look costs a millisecond of an idle machine.
_IDLE: Final = 0.5
_OPEN: Final = 0.2
_BUSY: Final = 0.1
_LEAST: Final = 0.005
#: Seconds between two turns of a duty that no look found anything for.
_UNASKED: Final = 10.0
#: Whole days of partitions below which the scheduler is not ready.
_LEAST_DAYS: Final = 2
_MINUTE: Final = 60.0
#: Duties that need the right to make and drop partitions. Its lack matters only when days run out, a check of its own.
_OWNERS: Final = ("partitions", "retention")


def main(config: Config) -> None:
    """Run a scheduler until SIGTERM or SIGINT."""
    service.run(serve(config))


async def serve(config: Config) -> None:
    """Run a scheduler on this loop until it is told to stop."""

    async def work(pool: asyncpg.Pool, stopping: asyncio.Event) -> None:
        scheduler = await Scheduler.start(config, pool)
        probes = await serve_probes(config.metrics_host, config.metrics_port, scheduler.checks())
        _log.info("scheduler ready", probes=probes.port)
        await stopping.wait()
        began = time.monotonic()
        await scheduler.stop()
        await probes.close()
        _log.info("scheduler stopped", seconds=round(time.monotonic() - began, 3))

    options = {"size": config.scheduler_pool, "statement_timeout": _STATEMENT_TIMEOUT}
    await service.live("scheduler", work, config.database_url, **options)


class Scheduler:
    """The parts of a scheduler, started and stopped in order. Make it with `Scheduler.start`."""

    def __init__(self, config: Config, pool: asyncpg.Pool, clock: Clock, announcer: Announcer, ingest: Ingest) -> None:
        self._pool = pool
        self._clock = clock
        self._announcer = announcer
        self._ingest = ingest
        self._queued = Queued(config.broker_url)
        self._lease = config.lease_seconds
        self._keep_days = config.keep_runs_days
        self._contact = Contact(self._lease)
        self._duties = Duties(on_lost=self._contact.lose)
        steps = Steps(pool, announcer, self._queued, window=config.window)
        self._waits = Duty("due_steps", 0.0, steps.wake_due)
        self._unsent = Duty("top_up", 0.0, steps.top_up)
        self._slots = Duty("due_schedules", 0.0, Schedules(pool, ingest).work)
        limits, keeping = Limits(pool, announcer), Housekeeping(pool, keep_deliveries_days=config.keep_deliveries_days)
        self._admissions = Duty("admissions", _UNASKED, limits.admit)
        self._timeouts = Duty("timeouts", _UNASKED, limits.timeouts)
        self._deleted = Duty("deleted", _UNASKED, keeping.deleted)
        room = RunLimits(config.max_open_runs, config.max_open_runs_per_workspace)
        self._bulk = Duty("bulk", _UNASKED, BulkActions(pool, ingest, room).work)
        self._replays = Duty("replays", _UNASKED, Replays(pool, ingest, room).work)
        self._resend = Duty("resend", 5.0, steps.resend)
        self._next_look: asyncio.TimerHandle | None = None
        self._probe = Duty("probe", _IDLE, self._look)
        self._ticking = self._regular(keeping, Rescue(pool, self._contact, lease=self._lease))
        self._clockwork = Clockwork()
        self._watchdog = Watchdog(self._clock_was_set)

    def _regular(self, keeping: Housekeeping, rescue: Rescue) -> list[Duty]:
        retention = Retention(self._pool, self._keep_days)
        return [
            self._probe,
            # Well within half a lease, or contact counts as lost.
            Duty("rescue", min(1.0, self._lease / 6), rescue.work),
            self._resend,
            self._admissions,
            self._timeouts,
            self._bulk,
            self._replays,
            self._deleted,
            Duty("gauges", 5.0, keeping.gauges),
            Duty("joins", 5.0, keeping.joins),
            Duty("clock", 30.0, self._sync_clock),
            Duty("run_secrets", 5.0, keeping.run_secrets),
            Duty("idempotency", _MINUTE, keeping.idempotency),
            Duty("dedupe", 30.0, keeping.dedupe),
            Duty("deliveries", _MINUTE, keeping.deliveries),
            Duty("incarnations", _MINUTE, keeping.incarnations),
            Duty("partitions", 10 * _MINUTE, keeping.partitions),
            Duty("hidden_runs", _MINUTE, retention.hidden),
            Duty("leftovers", 10 * _MINUTE, retention.leftovers),
            Duty("retention", _MINUTE, retention.days),
        ]

    @classmethod
    async def start(cls, config: Config, pool: asyncpg.Pool) -> "Scheduler":
        """Begin all duties, each at once."""
        clock = Clock()
        async with pool.acquire() as connection:
            await clock.sync(connection)
        announcer = Announcer(config.broker_url)
        ingest = Ingest(pool, announcer, clock, window=config.window)
        scheduler = cls(config, pool, clock, announcer, ingest)
        scheduler._begin()
        return scheduler

    def _begin(self) -> None:
        for duty in self._ticking:
            self._clockwork.add(duty.name, duty.every, self._turn_of(duty))
        self._clockwork.start()
        self._watching = asyncio.get_running_loop().create_task(self._watchdog.watch(), name="watchdog")

    async def stop(self) -> None:
        """Begin nothing new, let duties under way finish, and send what they announced."""
        self._watching.cancel()
        await self._clockwork.stop()
        await self._duties.stop(_GRACE)
        await self._ingest.close()
        await asyncio.to_thread(self._announcer.close)
        self._queued.close()

    def checks(self) -> dict[str, Callable[[], Awaitable[str | None]]]:
        """What must hold for this scheduler to be ready, as named checks that say what is missing."""
        return {"database": self._check_database, "partitions": self._check_partitions, "duties": self._check_duties}

    def _turn_of(self, duty: Duty) -> Callable[[], Awaitable[None]]:
        async def turn() -> None:
            await self._duties.turn(duty)

        return turn

    async def _look(self) -> bool:
        """Begin the duties that have something to do; they go on beside the next look."""
        async with self._pool.acquire() as connection:
            found = await duties.probe(connection)
        for duty, wanted in ((self._waits, found.waits), (self._unsent, found.unsent), (self._slots, found.slots)):
            if wanted:
                self._duties.launch(duty)
        for duty, wanted, seconds in (
            (self._admissions, found.queued, 0.5),
            (self._deleted, found.deleted, 1.0),
            (self._bulk, found.bulk, 1.0),
            (self._replays, found.replays, 0.2),
            (self._resend, found.open, 1.0),
            (self._timeouts, found.open, 2.0),
        ):
            if wanted:
                self._duties.launch_again(duty, seconds)
        self._look_soon(found)
        return False

    def _look_soon(self, found: Probe) -> None:
        """Look again before the next tick, if there is anything that may want it."""
        pause = pause_after(found)
        if pause is None:
            return
        loop = asyncio.get_running_loop()
        if self._next_look is not None:
            if self._next_look.when() <= loop.time() + pause:
                return
            self._next_look.cancel()
        self._next_look = loop.call_later(pause, self._look_again)

    def _look_again(self) -> None:
        self._next_look = None
        self._duties.launch(self._probe)

    async def _sync_clock(self) -> bool:
        """Measure Postgres's clock anew: run ids are minted on it."""
        async with self._pool.acquire() as connection:
            await self._clock.sync(connection)
        return False

    def _clock_was_set(self, _seconds: float) -> None:
        self._contact.lose()
        self._clockwork.due_now()

    async def _check_database(self) -> str | None:
        try:
            await self._pool.fetchval("SELECT 1", timeout=2.0)
        except DATABASE_ERRORS as error:
            return f"Postgres does not answer: {type(error).__name__}."
        return None

    async def _check_partitions(self) -> str | None:
        async with self._pool.acquire() as connection:
            days = await duties.partition_days_ahead(connection)
        return None if days >= _LEAST_DAYS else f"Partitions exist for {days} days ahead; {_LEAST_DAYS} are needed."

    async def _check_duties(self) -> str | None:
        stale = [duty.name for duty in self._ticking if duty.name not in _OWNERS and self._duties.stale(duty)]
        return f"Not done lately: {', '.join(stale)}." if stale else None


def pause_after(found: Probe) -> float | None:
    """Seconds until the next look after one that found this; None if the next tick is soon enough.

    What comes due before the tick is looked for at that moment, and never sooner than a timer can tell moments apart.
    """
    if found.waits or found.unsent or found.slots:
        return _BUSY
    pause = _OPEN if found.open else _IDLE
    if found.due_in is not None:
        pause = min(pause, max(found.due_in, _LEAST))
    return pause if pause < _IDLE else None
