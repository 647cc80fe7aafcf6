"""Duties that keep the house: partitions, gauges, and removing what nobody needs any more."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import asyncpg

from shared.db import Connection
from shared.lanes import PRIORITIES
from shared.metrics import BACKLOG_OLDEST, BACKLOG_STEPS, OPEN_STEPS, POOL_IN_USE
from shared.migrate import PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK
from shared.states import StepStatus
from shared.store import deliveries, duties, run_secrets, sweep
from shared.store.duties import Count

_BATCH: Final = 500
_JOINS: Final = 5000
_KEYS: Final = 5000
#: Deleted workflows that one turn works on.
_WORKFLOWS: Final = 20


class Housekeeping:
    """Keeps tables and gauges in order.

    Args:
        keep_deliveries_days: for how long webhook requests without a run are kept.
    """

    def __init__(self, pool: asyncpg.Pool, *, keep_deliveries_days: int = 7) -> None:
        self._pool = pool
        self._keep_deliveries_days = keep_deliveries_days

    async def partitions(self) -> bool:
        """Make the partitions of the days to come, if any is missing."""
        async with self._pool.acquire() as connection:
            if await duties.partition_days_ahead(connection) < PARTITION_DAYS_AHEAD:
                await duties.make_partitions(connection, back=PARTITION_DAYS_BACK, ahead=PARTITION_DAYS_AHEAD)
        return False

    async def gauges(self) -> bool:
        """Set the gauges."""
        async with self._pool.acquire() as connection:
            _show(await duties.count_open(connection))
        POOL_IN_USE.set(self._pool.get_size() - self._pool.get_idle_size())
        return False

    async def deleted(self) -> bool:
        """Remove rows of deleted workflows: first their open runs are cancelled, then what is terminal goes."""
        async with self._pool.acquire() as connection, connection.transaction():
            workflows = await sweep.lock_deleted(connection, _WORKFLOWS)
            return any([await sweep.remove_some(connection, workflow_id, _BATCH) for workflow_id in workflows])

    async def joins(self) -> bool:
        """Remove the join counts of terminal runs."""
        return await self._some(sweep.old_joins, _JOINS)

    async def idempotency(self) -> bool:
        """Remove answers that were kept long enough."""
        return await self._some(sweep.old_idempotency, _BATCH)

    async def dedupe(self) -> bool:
        """Remove dedupe keys that no trigger is a repeat of any more."""
        return await self._some(sweep.old_dedupe, _KEYS)

    async def run_secrets(self) -> bool:
        """Remove what runs that have ended had used of the vault."""
        return await self._some(run_secrets.remove_old, _JOINS)

    async def deliveries(self) -> bool:
        """Remove webhook requests, and replays of them, that were kept long enough."""
        async with self._pool.acquire() as connection:
            return await deliveries.remove_old(connection, self._keep_deliveries_days, _BATCH) == _BATCH

    async def incarnations(self) -> bool:
        """Remove incarnations that have been dead for a day."""
        return await self._some(sweep.old_incarnations, _BATCH)

    async def _some(self, remove: Callable[[Connection, int], Awaitable[int]], limit: int) -> bool:
        async with self._pool.acquire() as connection:
            return await remove(connection, limit) == limit


def _show(counts: list[Count]) -> None:
    by_status: Counter[str] = Counter()
    backlog: Counter[tuple[str, str]] = Counter()
    oldest = 0.0
    for count in counts:
        by_status[count.status] += count.steps
        if count.status == StepStatus.READY:
            backlog[PRIORITIES[count.priority], "sent" if count.sent else "unsent"] += count.steps
            oldest = max(oldest, count.age)
    for status in (StepStatus.READY, StepStatus.RUNNING, StepStatus.WAITING):
        OPEN_STEPS.labels(status).set(by_status[status])
    for priority in PRIORITIES:
        for state in ("sent", "unsent"):
            BACKLOG_STEPS.labels(priority, state).set(backlog[priority, state])
    BACKLOG_OLDEST.set(oldest)
