"""The duty that starts workflows whose slot has come."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from scheduler.firing import Firing, Plan
from scheduler.overlap import Verdict, judge
from shared.db import DATABASE_ERRORS, Connection
from shared.errors import InvalidError
from shared.ingest import Accepted, Ingest
from shared.metrics import RUNS_FINISHED, RUNS_STARTED, SCHEDULE_LAG, SCHEDULE_SLOTS
from shared.schedule import LATE, due_slots, read_policy
from shared.states import RunStatus, TriggerType
from shared.store import limits, scheduled_runs
from shared.store.scheduled_runs import Skipped
from shared.store.schedules import Due, lock_due, move, take

_log = structlog.get_logger(__name__)

#: Workflows of one transaction; of those that are late, which may have many slots to go through, fewer.
_BATCH: Final = 500
_LATE_BATCH: Final = 250
#: Runs of one transaction, if no more workflows than that are due: those that make up for more go on in the next one.
_RUNS: Final = 2_000
#: Seconds after which no further workflow is planned: Postgres ends a transaction that is idle for ten (`lock_due`).
_PLANNING: Final = 2.0


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
            verdicts = await _judged(connection, await self._taken(connection, plans))
            fired = [verdict.firing for verdict in verdicts if verdict.reason is None]
            accepted = await self._ingest.accept_many_on(connection, [firing.trigger() for firing in fired])
            await _record(connection, verdicts)
        self._ingest.announce(accepted)
        _count(plans, verdicts, accepted)
        await self._overtake({firing.workflow_id for firing in fired if firing.plan.overlap == "cancel_running"})
        return is_more or len(plans) < len(due) or any(plan.is_due_again for plan in plans)

    async def _taken(self, connection: Connection, plans: Sequence[Plan]) -> list[Firing]:
        """The firings whose slots nobody took before."""
        firings = [Firing(plan, slot, self._ingest.new_id()) for plan in plans for slot in plan.slots]
        taken = await take(connection, [firing.taking() for firing in firings])
        return [firing for firing in firings if firing.run_id in taken]

    async def _overtake(self, workflow_ids: set[UUID]) -> None:
        """End runs whose place those just made take; the duty of admissions sees to what this leaves."""
        if not workflow_ids:
            return
        try:
            async with self._pool.acquire() as connection:
                await scheduled_runs.cancel_overtaken(connection, workflow_ids)
                for workflow_id in workflow_ids:
                    self._ingest.ring(await limits.admit(connection, workflow_id))
        except DATABASE_ERRORS as error:
            _log.warning("runs of earlier slots are cancelled later", error=repr(error))


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
    """What is done about workflows, one at least; those that there is no time for stay due."""
    room = max(1, _RUNS // len(due))
    deadline = time.monotonic() + _PLANNING
    plans: list[Plan] = []
    for each in due:
        plans.append(plan_of(each, room))
        if time.monotonic() > deadline:
            break
    return plans


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
    return Plan(due, slots, None if following is None else following + delay, delay, missed, policy.overlap)


async def _judged(connection: Connection, firings: Sequence[Firing]) -> list[Verdict]:
    """Which of the slots that were taken are run, by what is under way of their workflows."""
    asking = {firing.workflow_id for firing in firings if firing.plan.overlap != "allow"}
    return judge(firings, await scheduled_runs.under_way(connection, asking) if asking else {})


async def _record(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    """Leave the runs of slots that are not run, and remember which are under way."""
    skipped = [
        Skipped(verdict.firing.run_id, verdict.firing.workflow_id, verdict.firing.payload(), verdict.reason)
        for verdict in verdicts
        if verdict.reason is not None
    ]
    if skipped:
        await scheduled_runs.skip(connection, skipped)
    begun = [
        verdict.firing.taking()
        for verdict in verdicts
        if verdict.reason is None and verdict.firing.plan.overlap != "allow"
    ]
    if begun:
        await scheduled_runs.add(connection, begun)


def _count(plans: Sequence[Plan], verdicts: Sequence[Verdict], accepted: Sequence[Accepted | None]) -> None:
    """Count what was committed; ``accepted``: of the verdicts that are run."""
    firings = [verdict.firing for verdict in verdicts if verdict.reason is None]
    skipped = len(verdicts) - len(firings)
    if skipped:
        SCHEDULE_SLOTS.labels("skipped").inc(skipped)
        RUNS_STARTED.labels(TriggerType.SCHEDULED).inc(skipped)
        RUNS_FINISHED.labels(RunStatus.CANCELLED, TriggerType.SCHEDULED).inc(skipped)
    missed = sum(plan.missed for plan in plans)
    if missed:
        SCHEDULE_SLOTS.labels("missed").inc(missed)
    lags = [
        run.created_at - firing.slot - firing.plan.delay
        for firing, run in zip(firings, accepted, strict=True)
        if run is not None
    ]
    SCHEDULE_SLOTS.labels("fired").inc(len(lags))
    for lag in lags:
        SCHEDULE_LAG.observe(max(0.0, lag.total_seconds()))
