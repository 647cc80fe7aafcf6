"""Removing what nobody needs any more, in batches."""

from uuid import UUID

from shared.db import Connection
from shared.queries import load
from shared.store.cancel import cancel_workflow_runs
from shared.store.duties import changed

_SQL = load("sweep")


async def lock_deleted(connection: Connection, limit: int) -> list[UUID]:
    """Take deleted workflows until the end of the transaction."""
    return [record["id"] for record in await connection.fetch(_SQL["lock_deleted"], limit)]


async def remove_some(connection: Connection, workflow_id: UUID, limit: int) -> bool:
    """Remove rows of a deleted workflow: its open runs are cancelled, its terminal ones go, and at last itself.

    At most ``limit`` runs and as many slots are removed. Gives whether there is more that could be removed at once;
    what is in flight must settle first.
    """
    await cancel_workflow_runs(connection, workflow_id)
    records = await connection.fetch(_SQL["ended_runs"], workflow_id, limit)
    ids = [record["id"] for record in records]
    if ids:
        await connection.execute(_SQL["delete_steps"], ids, ids[0], ids[-1])
        await connection.execute(_SQL["delete_joins"], ids)
        await connection.execute(_SQL["delete_runs"], ids, ids[0], ids[-1])
    slots = changed(await connection.execute(_SQL["delete_slots"], workflow_id, limit))
    if len(ids) == limit or slots == limit:
        return True
    await connection.execute(_SQL["delete_workflow"], workflow_id)
    return False


async def old_joins(connection: Connection, limit: int) -> int:
    """Remove the join counts of terminal runs; gives how many."""
    return changed(await connection.execute(_SQL["old_joins"], limit))


async def old_idempotency(connection: Connection, limit: int) -> int:
    """Remove answers kept for longer than 24 hours; gives how many."""
    return changed(await connection.execute(_SQL["old_idempotency"], limit))


async def old_incarnations(connection: Connection, limit: int) -> int:
    """Remove incarnations that have been dead for a day and hold nothing; gives how many."""
    return changed(await connection.execute(_SQL["old_incarnations"], limit))
