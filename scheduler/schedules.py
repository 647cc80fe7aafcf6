"""The duty that starts workflows whose slot has come."""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg
import msgspec
import structlog

from shared.db import Connection
from shared.errors import InvalidError
from shared.ingest import Accepted, Ingest, Trigger
from shared.metrics import SCHEDULE_LAG, SCHEDULE_SLOTS
from shared.schedule import LATE, due_slots, read_policy
from shared.states import TriggerType
from shared.store.schedules import Due, Taking, lock_due, move, take

_log = structlog.get_logger(__name__)

#: Workflows of one transaction; of those that are late, which may have many slots to go through, fewer.
_BATCH: Final = 500
_LATE_BATCH: Final = 250
#: Runs of one transaction, if no more workflows than that are due: those that make up for more go on in the next one.
_RUNS: Final = 2_000


class Plan(NamedTuple):
    """What is done about a workflow that is due.

    Attributes:
        slots: to be run, oldest first.
        next_run_at: when it is due again; None if it never is.
        delay: from a slot to its run.
        missed: how many slots are given up.
    """

    due: Due
    slots: list[datetime]
    next_run_at: datetime | None
    delay: timedelta = timedelta(0)
    missed: int = 0

    @property
    def is_due_again(self) -> bool:
        """Whether some slots that are to be run had no room."""
        return self.next_run_at is not None and self.next_run_at <= self.due.now


class Firing(NamedTuple):
    """A slot and the run it makes."""

    plan: Plan
    slot: datetime
    run_id: UUID


class Schedules:
    """Makes one run of each slot, however many schedulers do so at once."""

    def __init__(self, pool: asyncpg.Pool, ingest: Ingest) -> None:
        self._pool = pool
        self._ingest = ingest

    async def work(self) -> bool:
        """Fire one batch: slots, runs and the workflows' next slots are one transaction; messages follow its commit."""
        async with self._pool.acquire() as connection, connection.transaction():
            due, is_more = await _lock(connection)
            if not due:
                return False
            plans = await asyncio.to_thread(_plans, due)
            await move(connection, [(plan.due.workflow_id, plan.next_run_at) for plan in plans])
            firings = await self._take(connection, plans)
            accepted = await self._ingest.accept_many_on(connection, [_trigger(firing) for firing in firings])
        self._ingest.announce(accepted)
        _count(plans, firings, accepted)
        return is_more or any(plan.is_due_again for plan in plans)

    async def _take(self, connection: Connection, plans: Sequence[Plan]) -> list[Firing]:
        """The firings whose slots nobody took before."""
        firings = [Firing(plan, slot, self._ingest.new_id()) for plan in plans for slot in plan.slots]
        takings = [
            Taking(firing.plan.due.workspace_id, firing.plan.due.workflow_id, firing.slot, firing.run_id)
            for firing in firings
        ]
        taken = await take(connection, takings)
        return [firing for firing in firings if firing.run_id in taken]


async def _lock(connection: Connection) -> tuple[list[Due], bool]:
    """What to do now, and whether there is more: what has just come due goes before what an outage left."""
    late = LATE.total_seconds()
    due = await lock_due(connection, _BATCH, late=late, is_late=False)
    if len(due) == _BATCH:
        return due, True
    room = min(_BATCH - len(due), _LATE_BATCH)
    behind = await lock_due(connection, room, late=late, is_late=True)
    return due + behind, len(behind) == room


def _plans(due: Sequence[Due]) -> list[Plan]:
    room = max(1, _RUNS // len(due))
    return [plan_of(each, room) for each in due]


def plan_of(due: Due, room: int) -> Plan:
    """What is done about a workflow; one whose schedule can't be read is due no more.

    Args:
        due: a workflow whose slot has come.
        room: the most runs to start of it now.
    """
    try:
        policy = read_policy(due.settings)
        schedule = policy.schedule(due.schedule_type, due.schedule_value, due.timezone)
        delay = policy.delay(due.workflow_id)
        slots, following, missed = due_slots(
            schedule, due.due_at - delay, due.now - delay, policy.missed_runs, room=room
        )
    except (InvalidError, msgspec.DecodeError) as error:
        _log.error(
            "a schedule can't be read; it is off until it is saved again",
            workflow=str(due.workflow_id),
            error=str(error),
        )
        return Plan(due, [], None)
    return Plan(due, slots, None if following is None else following + delay, delay, missed)


def _trigger(firing: Firing) -> Trigger:
    slot = firing.slot.isoformat(timespec="microseconds").replace("+00:00", "Z")
    payload = msgspec.json.encode({"scheduled_at": slot}).decode()
    return Trigger(firing.plan.due.workflow_id, TriggerType.SCHEDULED, payload, run_id=firing.run_id)


def _count(plans: Sequence[Plan], firings: Sequence[Firing], accepted: Sequence[Accepted | None]) -> None:
    missed = sum(plan.missed for plan in plans)
    if missed:
        SCHEDULE_SLOTS.labels("missed").inc(missed)
    for firing, run in zip(firings, accepted, strict=True):
        if run is not None:
            SCHEDULE_SLOTS.labels("fired").inc()
            due_at = firing.slot + firing.plan.delay
            SCHEDULE_LAG.observe(max(0.0, (run.created_at - due_at).total_seconds()))
