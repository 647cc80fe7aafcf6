"""How long runs are kept: by the installation, whole days at a time, and by a workflow's own shorter setting."""

from collections.abc import Sequence
from datetime import date
from typing import Final
from uuid import UUID

from shared.db import Connection
from shared.queries import load
from shared.store.duties import changed
from shared.store.sweep import remove_runs

_SQL = load("retention")

#: Seconds that copying the kept runs of a day may take; it locks nothing meanwhile.
_COPY_SECONDS: Final = 300.0
_LEFTOVERS: Final = (
    _SQL["old_joins"],
    _SQL["old_iterations"],
    _SQL["old_answers"],
    _SQL["old_slots"],
    _SQL["old_dedupe"],
)


async def expired_days(connection: Connection, keep_days: int) -> list[date]:
    """The days (UTC) before the last ``keep_days`` that still have partitions, oldest first."""
    return [record["day"] for record in await connection.fetch(_SQL["expired_days"], keep_days)]


async def expire_day(connection: Connection, day: date) -> str:
    """Remove the ended runs of a day, all at once.

    Gives ``dropped``, ``rewritten`` (open runs stay), ``nothing`` (there was none to remove) or ``busy``: the tables
    could not be locked in time, all is as it was. One transaction of its own.
    """
    outcome: str = await connection.fetchval(_SQL["expire_day"], day, timeout=_COPY_SECONDS)
    return outcome


async def set_keep_days(connection: Connection, workflow_id: UUID, days: int | None) -> None:
    """Hide a workflow's runs that ended and are older than ``days`` from now on; None: none of them."""
    await connection.execute(_SQL["set_keep_days"], workflow_id, days)


async def keeping(connection: Connection, after: UUID, limit: int) -> list[UUID]:
    """The next workflows, by id, that keep their runs for a time of their own."""
    return [record["id"] for record in await connection.fetch(_SQL["keeping"], after, limit)]


async def remove_hidden(connection: Connection, workflow_ids: Sequence[UUID], limit: int) -> int:
    """Remove runs that these workflows hide; gives how many. The caller has a transaction open."""
    records = await connection.fetch(_SQL["hidden_runs"], workflow_ids, limit)
    await remove_runs(connection, [record["id"] for record in records])
    return len(records)


async def remove_leftovers(connection: Connection, keep_days: int, limit: int) -> bool:
    """Remove rows of other tables that belong to dropped runs; at most ``limit`` of each table.

    Gives whether there is more.
    """
    removed = [changed(await connection.execute(query, keep_days, limit)) for query in _LEFTOVERS]
    return limit in removed
