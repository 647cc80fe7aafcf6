"""Duties that end the life of runs: whole days by the installation's setting, single runs by their workflow's own."""

from typing import Final
from uuid import UUID

import asyncpg

from shared.metrics import RETENTION_DAYS, RETENTION_RUNS
from shared.migrate import PARTITION_DAYS_BACK
from shared.store import retention

_BATCH: Final = 500
_LEFTOVERS: Final = 5000
#: Workflows that one batch looks at.
_WORKFLOWS: Final = 50
_FIRST: Final = UUID(int=0)


class Retention:
    """Removes what nobody may ask for any more.

    Args:
        keep_days: for how long the installation keeps runs.
    """

    def __init__(self, pool: asyncpg.Pool, keep_days: int) -> None:
        self._pool = pool
        self._keep_days = max(keep_days, PARTITION_DAYS_BACK)
        self._after = _FIRST

    async def days(self) -> bool:
        """Drop or rewrite the partitions of days that are over; what traffic keeps locked is left to the next turn."""
        async with self._pool.acquire() as connection:
            for day in await retention.expired_days(connection, self._keep_days):
                outcome = await retention.expire_day(connection, day)
                RETENTION_DAYS.labels(outcome).inc()
                if outcome == "busy":
                    break
        return False

    async def hidden(self) -> bool:
        """Remove a batch of the runs that workflows hide; they are gone through in the order of their ids."""
        async with self._pool.acquire() as connection, connection.transaction():
            workflows = await retention.keeping(connection, self._after, _WORKFLOWS)
            removed = await retention.remove_hidden(connection, workflows, _BATCH) if workflows else 0
        RETENTION_RUNS.inc(removed)
        if removed < _BATCH:
            self._after = workflows[-1] if len(workflows) == _WORKFLOWS else _FIRST
        return removed == _BATCH or self._after != _FIRST

    async def leftovers(self) -> bool:
        """Remove what other tables hold of dropped runs."""
        async with self._pool.acquire() as connection:
            return await retention.remove_leftovers(connection, self._keep_days, _LEFTOVERS)
