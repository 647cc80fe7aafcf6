"""Ending runs from outside: cancelling them, and settling what is left of runs that are being ended.

The transaction locks the run rows in id order first, then their open steps: nobody can open a step of these runs then.
"""

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final
from uuid import UUID

from shared.db import Connection
from shared.metrics import RUN_DURATION, RUNS_FINISHED
from shared.queries import load

_SQL = load("cancel")

#: Runs per statement.
_BATCH: Final = 500
#: The most runs of a workflow that one call cancels.
CANCEL_AT_ONCE: Final = 1000


async def cancel_runs(connection: Connection, run_ids: Collection[UUID]) -> int:
    """Cancel runs; gives how many of them were not terminal.

    Ready and waiting steps are settled at once. Steps in flight are aborted at their worker's next heartbeat, and the
    run is ``cancelled`` when they have settled or lost their lease: at once if there are none. Terminal runs and
    unknown ids are passed over, and a second call changes nothing.

    Commit is the caller's if it has a transaction open; else this is one of its own.
    """
    return await _end(connection, run_ids, cancel=True)


async def cancel_workflow_runs(connection: Connection, workflow_id: UUID) -> int:
    """Cancel the open runs of a workflow, `CANCEL_AT_ONCE` of them at most; gives how many.

    The scheduler cancels the rest of a deleted workflow's.
    """
    records = await connection.fetch(_SQL["open_runs"], workflow_id, CANCEL_AT_ONCE)
    return await cancel_runs(connection, [record["run_id"] for record in records])


async def settle_ended(connection: Connection, run_ids: Collection[UUID]) -> int:
    """Settle what is left of runs whose outcome is decided, except steps in flight; gives how many runs there were.

    A step that came back to ready when its run was being ended must not run: it is recorded as cancelled.
    """
    return await _end(connection, run_ids, cancel=False)


async def _end(connection: Connection, run_ids: Collection[UUID], *, cancel: bool) -> int:
    ids = iter(sorted(set(run_ids)))
    ended = 0
    async with connection.transaction():
        while batch := list(islice(ids, _BATCH)):
            ended += await _end_batch(connection, batch, cancel=cancel)
    return ended


async def _end_batch(connection: Connection, ids: Sequence[UUID], *, cancel: bool) -> int:
    locked = [record["id"] for record in await connection.fetch(_SQL["lock"], ids, ids[0], ids[-1])]
    if not locked:
        return 0
    records = await connection.fetch(_SQL["settle"], locked, locked[0], locked[-1], cancel)
    for _, status, trigger_type, seconds in records:
        if status is not None:
            RUNS_FINISHED.labels(status, trigger_type).inc()
            RUN_DURATION.observe(seconds)
    return len(records)
