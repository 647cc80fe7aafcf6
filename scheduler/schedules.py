"""The duty that starts workflows whose slot has come."""

from datetime import datetime, timedelta
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from shared.errors import InvalidError
from shared.ingest import Accepted, Ingest, Trigger
from shared.metrics import SCHEDULE_LAG, SCHEDULE_SLOTS
from shared.schedule import Schedule, next_slot, slot_past
from shared.states import TriggerType
from shared.store.schedules import Due, Firing, fire, lock_due

_log = structlog.get_logger(__name__)

_BATCH: Final = 500
_SECOND: Final = timedelta(seconds=1)


class Schedules:
    """Makes one run of each slot, however many schedulers do so at once."""

    def __init__(self, pool: asyncpg.Pool, ingest: Ingest) -> None:
        self._pool = pool
        self._ingest = ingest

    async def work(self) -> bool:
        """Fire one batch: slots, runs and the workflows' next slots are one transaction; messages follow its commit."""
        async with self._pool.acquire() as connection, connection.transaction():
            due = await lock_due(connection, _BATCH)
            if not due:
                return False
            firings = [self._firing(each) for each in due]
            taken = await fire(connection, firings)
            fired = [firing for firing in firings if firing.run_id in taken]
            accepted = await self._ingest.accept_many_on(connection, [_trigger(firing) for firing in fired])
        self._ingest.announce(accepted)
        _count(fired, accepted)
        return len(due) == _BATCH

    def _firing(self, due: Due) -> Firing:
        run_id = self._ingest.new_id()
        try:
            slot, following, missed = advance(_schedule(due), due.slot, due.now)
        except (InvalidError, msgspec.DecodeError) as error:
            _log.error(
                "a schedule can't be read; it is off until it is saved again",
                workflow=str(due.workflow_id),
                error=str(error),
            )
            return Firing(due.workspace_id, due.workflow_id, None, run_id, None)
        if missed:
            SCHEDULE_SLOTS.labels("missed").inc()
        return Firing(due.workspace_id, due.workflow_id, slot, run_id, following)


def advance(schedule: Schedule, slot: datetime, now: datetime) -> tuple[datetime, datetime | None, bool]:
    """The slot to fire now, the one that comes next, and whether any were missed.

    Slots that were missed make a single catch-up run, for the newest of them; the grid goes on from there.
    """
    following = next_slot(schedule, slot)
    if following is None or following > now:
        return slot, following, False
    return newest_slot(schedule, slot, now), slot_past(schedule, slot, now), True


def newest_slot(schedule: Schedule, slot: datetime, now: datetime) -> datetime:
    """The newest slot that is not later than ``now``, on the grid of ``slot``; halving what is left, not one by one."""
    newest, high = slot, now
    while high - newest > _SECOND:
        middle = newest + (high - newest) / 2
        found = slot_past(schedule, slot, middle)
        if found is None or found > now:
            high = middle
        else:
            newest = found
    last = slot_past(schedule, slot, newest)
    return newest if last is None or last > now else last


def _schedule(due: Due) -> Schedule:
    settings: dict[str, Any] = msgspec.json.decode(due.settings)
    rules = {name: settings[name] for name in ("dst_gap", "dst_fold") if name in settings}
    return Schedule(due.schedule_type, due.schedule_value, due.timezone, **rules)


def _trigger(firing: Firing) -> Trigger:
    slot = "" if firing.slot is None else firing.slot.isoformat(timespec="microseconds").replace("+00:00", "Z")
    payload = msgspec.json.encode({"scheduled_at": slot}).decode()
    return Trigger(firing.workflow_id, TriggerType.SCHEDULED, payload, run_id=firing.run_id)


def _count(fired: list[Firing], accepted: list[Accepted | None]) -> None:
    for firing, run in zip(fired, accepted, strict=True):
        if run is not None and firing.slot is not None:
            SCHEDULE_SLOTS.labels("fired").inc()
            SCHEDULE_LAG.observe(max(0.0, (run.created_at - firing.slot).total_seconds()))
