"""Open runs that schedules started, of workflows whose `overlap` asks for them."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import load
from shared.store.cancel import cancel_runs
from shared.store.schedules import Taking

_SQL = load("scheduled_runs")
_OVERTAKEN: Final = "Cancelled: the run of a later slot took its place, for overlap is cancel_running."


class Skipped(NamedTuple):
    """A slot that is not run.

    Attributes:
        payload: JSON text.
        reason: a sentence.
    """

    run_id: UUID
    workflow_id: UUID
    payload: str
    reason: str


async def under_way(connection: Connection, workflow_ids: Collection[UUID]) -> Mapping[UUID, Sequence[UUID]]:
    """The open runs of earlier slots of locked workflows, by workflow, in the order of their slots."""
    found: dict[UUID, list[UUID]] = defaultdict(list)
    for workflow_id, run_id in await connection.fetch(_SQL["under_way"], list(workflow_ids)):
        found[workflow_id].append(run_id)
    return found


async def add(connection: Connection, takings: Sequence[Taking]) -> None:
    """Keep runs that were just made."""
    await connection.execute(_SQL["add"], *map(list, zip(*takings, strict=True)))


async def add_open(connection: Connection, workflow_id: UUID) -> None:
    """Keep the open runs that a schedule made before anything but `allow` was asked for; its workflow is locked."""
    await connection.execute(_SQL["add_open"], workflow_id)


async def skip(connection: Connection, skipped: Sequence[Skipped]) -> None:
    """Record slots that are not run."""
    await connection.execute(_SQL["skip"], *map(list, zip(*skipped, strict=True)))


async def cancel_overtaken(connection: Connection, workflow_ids: Collection[UUID]) -> int:
    """Cancel runs that those of later slots wait for, where `overlap` says so; gives how many."""
    async with connection.transaction():
        records = await connection.fetch(_SQL["overtaken"], list(workflow_ids))
        run_ids = sorted(record["run_id"] for record in records)
        if not run_ids:
            return 0
        count = await cancel_runs(connection, run_ids)
        await connection.execute(_SQL["explain"], run_ids, run_ids[0], run_ids[-1], _OVERTAKEN)
    return count
