"""Ending runs from outside: cancelling them, and settling what is left of runs that are being ended.

The transaction locks the run rows in id order first, those of the runs that wait for them included, then their open
steps: nobody can open a step of these runs then.
"""

from collections.abc import Collection, Sequence
from itertools import islice
from typing import Final
from uuid import UUID

from shared.db import Connection
from shared.metrics import RUN_DURATION, RUNS_FINISHED, RUNS_STARTED
from shared.queries import load
from shared.states import TriggerType

_SQL = load("cancel")

#: Runs per statement.
_BATCH: Final = 500
#: The most runs of a workflow that one call cancels.
CANCEL_AT_ONCE: Final = 1000


async def cancel_runs(connection: Connection, run_ids: Collection[UUID]) -> int:
    """Cancel runs; gives how many of them were not terminal.

    Ready and waiting steps are settled at once. Steps in flight are aborted at their worker's next heartbeat, and the
    run is ``cancelled`` when they have settled or lost their lease: at once if there are none. Runs that they wait for
    are cancelled with them. Terminal runs and unknown ids are passed over, and a second call changes nothing.

    Commit is the caller's if it has a transaction open; else this is one of its own.
    """
    return await _end(connection, run_ids, cancel=True)


async def fail_runs(connection: Connection, run_ids: Collection[UUID], message: str) -> int:
    """End runs as failed, like `cancel_runs` but without those they wait for; gives how many were not terminal."""
    return await _end(connection, run_ids, cancel=True, below=False, message=message)


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


async def _end(
    connection: Connection,
    run_ids: Collection[UUID],
    *,
    cancel: bool,
    below: bool | None = None,
    message: str | None = None,
) -> int:
    wanted = set(run_ids)
    if not wanted:
        return 0
    ended: set[UUID] = set()
    async with connection.transaction():
        ids = iter(await _locked(connection, wanted, cancel=cancel if below is None else below))
        while batch := list(islice(ids, _BATCH)):
            ended |= await _end_batch(connection, batch, cancel, message)
    return len(ended & wanted)


async def _locked(connection: Connection, run_ids: Collection[UUID], *, cancel: bool) -> list[UUID]:
    """Lock these runs, when cancelling those below them too, and give those that are not terminal, in id order.

    A run below is only known once the one above it is locked, and its id may be smaller: then everything is let go and
    locked again in order.
    """
    known = await _tree(connection, run_ids, cancel=cancel)
    while True:
        attempt = connection.transaction()
        await attempt.start()
        rows = sorted({*known, *(caller for caller in known.values() if caller is not None)})
        locked = await connection.fetch(_SQL["lock"], rows, rows[0], rows[-1]) if rows else []
        seen = await _tree(connection, known, cancel=cancel)
        if seen.keys() <= known.keys():
            await attempt.commit()
            return [record["id"] for record in locked if record["id"] in known]
        await attempt.rollback()
        known = seen


async def _tree(connection: Connection, run_ids: Collection[UUID], *, cancel: bool) -> dict[UUID, UUID | None]:
    """Runs and, when cancelling, those below them; with each the run that waits for it."""
    records = await connection.fetch(_SQL["tree"], list(run_ids), cancel)
    return {record["id"]: record["caller"] for record in records}


async def _end_batch(connection: Connection, locked: Sequence[UUID], cancel: bool, message: str | None) -> set[UUID]:
    records = await connection.fetch(_SQL["settle"], locked, locked[0], locked[-1], cancel, message)
    over = [record["id"] for record in records if record["status"] is not None]
    for _, status, trigger_type, seconds in records:
        if status is not None:
            RUNS_FINISHED.labels(status, trigger_type).inc()
            RUN_DURATION.observe(seconds)
    await _follow(connection, over)
    return {record["id"] for record in records}


async def _follow(connection: Connection, over: Sequence[UUID]) -> None:
    """Do what follows from the ends of runs: a run that waited for one of them goes on."""
    opened = await connection.fetch(_SQL["after"], over) if over else []
    RUNS_STARTED.labels(TriggerType.ERROR).inc(sum(record["starts"] for record in opened))
    if opened:
        columns = ([record[name] for record in opened] for name in ("run_id", "node_id", "item"))
        await connection.execute(_SQL["unsend"], *columns)
