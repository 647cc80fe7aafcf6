"""Removing what nobody needs any more, in batches."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from shared.db import Connection
from shared.queries import load
from shared.store import deliveries
from shared.store.cancel import cancel_workflow_runs
from shared.store.duties import changed

_SQL = load("sweep")
#: What belongs to a run: in tables of their own, and in those that are partitioned by day, the run itself last.
_OF_RUNS: Final = (_SQL["delete_joins"], _SQL["delete_iterations"], _SQL["delete_answers"])
_OF_DAYS: Final = (_SQL["delete_items"], _SQL["delete_steps"], _SQL["delete_runs"])


async def lock_deleted(connection: Connection, limit: int) -> list[UUID]:
    """Take deleted workflows until the end of the transaction."""
    return [record["id"] for record in await connection.fetch(_SQL["lock_deleted"], limit)]


async def remove_some(connection: Connection, workflow_id: UUID, limit: int) -> bool:
    """Remove rows of a deleted workflow: its open runs are cancelled, its terminal ones go, and at last itself.

    At most ``limit`` runs and as many slots, dedupe keys and deliveries are removed. Gives whether there is more that
    could be removed at once; what is in flight must settle first.
    """
    await cancel_workflow_runs(connection, workflow_id)
    records = await connection.fetch(_SQL["ended_runs"], workflow_id, limit)
    ids = [record["id"] for record in records]
    await remove_runs(connection, ids)
    slots = changed(await connection.execute(_SQL["delete_slots"], workflow_id, limit))
    keys = changed(await connection.execute(_SQL["delete_dedupe"], workflow_id, limit))
    gone = await deliveries.remove_of(connection, workflow_id, limit)
    if limit in (len(ids), slots, keys, gone):
        return True
    await connection.execute(_SQL["delete_workflow"], workflow_id)
    return False


async def remove_runs(connection: Connection, ids: Sequence[UUID]) -> None:
    """Remove terminal runs, given in the order of their ids, and all that belongs to them."""
    if ids:
        for query in _OF_RUNS:
            await connection.execute(query, ids)
        for query in _OF_DAYS:
            await connection.execute(query, ids, ids[0], ids[-1])


async def old_joins(connection: Connection, limit: int) -> int:
    """Remove the join counts of terminal runs; gives how many."""
    return changed(await connection.execute(_SQL["old_joins"], limit))


async def old_idempotency(connection: Connection, limit: int) -> int:
    """Remove answers kept for longer than 24 hours; gives how many."""
    return changed(await connection.execute(_SQL["old_idempotency"], limit))


async def old_dedupe(connection: Connection, limit: int) -> int:
    """Remove dedupe keys older than 24 hours; gives how many."""
    return changed(await connection.execute(_SQL["old_dedupe"], limit))


async def old_incarnations(connection: Connection, limit: int) -> int:
    """Remove incarnations that have been dead for a day and hold nothing; gives how many."""
    return changed(await connection.execute(_SQL["old_incarnations"], limit))
