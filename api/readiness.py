"""What ``/readyz`` of the api looks at."""

import asyncio
from typing import Final

import asyncpg

from shared.broker import connect
from shared.probes import Check
from shared.store.runs_read import database_answers, partition_days_ahead

#: Days ahead for which partitions must exist; the scheduler makes them long before.
_LEAST_DAYS: Final = 2


class Readiness:
    """The checks: without Postgres and its partitions nothing can be accepted; without the broker everything can."""

    def __init__(self, pool: asyncpg.Pool, broker_url: str) -> None:
        self._pool = pool
        self._broker = connect(broker_url)

    def needed(self) -> dict[str, Check]:
        """What must be well."""
        return {"database": self._database, "partitions": self._partitions}

    def reported(self) -> dict[str, Check]:
        """What is told about only."""
        return {"broker": self._answers}

    def close(self) -> None:
        """Drop the connection to the broker."""
        self._broker.close()

    async def _database(self) -> str | None:
        async with self._pool.acquire() as connection:
            await database_answers(connection)
        return None

    async def _partitions(self) -> str | None:
        async with self._pool.acquire() as connection:
            days = await partition_days_ahead(connection)
        return None if days >= _LEAST_DAYS else f"exist for {days} days ahead; at least {_LEAST_DAYS} are needed"

    async def _answers(self) -> str | None:
        await asyncio.to_thread(self._broker.ping)
        return None
