"""The duty that works off actions over many runs.

A batch takes one action, does to some of its runs what it says, and notes how far it got, all in one transaction: a
scheduler that dies in the middle has done nothing, and no run is taken twice.
"""

from typing import Final

import asyncpg

from shared.db import Connection
from shared.ingest import Accepted, Ingest, Trigger
from shared.store import bulk, runs_scan
from shared.store.bulk import CANCEL, Batch, Bulk
from shared.store.cancel import cancel_runs
from shared.store.open_runs import RunLimits, look
from shared.store.runs_read import RunRow
from shared.store.runs_scan import Found

#: Runs of a batch. Payloads of runs that are made again pass through this process, up to a MiB each.
_CANCELLED: Final = 200
_MADE: Final = 25


class BulkActions:
    """Works off actions, the newest runs first.

    Args:
        limits: open runs past which no run is made again until some have ended; a full workspace holds up no other.
    """

    def __init__(self, pool: asyncpg.Pool, ingest: Ingest, limits: RunLimits) -> None:
        self._pool = pool
        self._ingest = ingest
        self._limits = limits

    async def work(self) -> bool:
        """Do one batch of one action."""
        accepted: list[Accepted | None] = []
        async with self._pool.acquire() as connection, connection.transaction():
            action = await self._take(connection)
            if action is None:
                return False
            if action.action == CANCEL:
                batch = await self._cancel(connection, action)
            else:
                batch, accepted = await self._rerun(connection, action)
            await bulk.move_on(connection, action.id, batch)
        self._ingest.announce(accepted)
        return True

    async def _take(self, connection: Connection) -> Bulk | None:
        """An action that cancels, or one that has room for more runs."""
        action = await bulk.take(connection)
        if action is None or action.action == CANCEL:
            return action
        runs = await look(connection, self._limits)
        if runs.refusal(action.workspace_id) is None:
            return action
        return None if runs.full else await bulk.take(connection, besides=runs.full_workspaces)

    async def _cancel(self, connection: Connection, action: Bulk) -> Batch:
        """Runs that have ended since they were found count as not matched."""
        found = await runs_scan.scan(connection, action.which, _CANCELLED)
        cancelled = await cancel_runs(connection, found.ids)
        return Batch(found.below, cancelled, cancelled, 0)

    async def _rerun(self, connection: Connection, action: Bulk) -> tuple[Batch, list[Accepted | None]]:
        """Runs whose workflow is inactive fail."""
        found = await runs_scan.scan(connection, action.which, _MADE)
        rows = await runs_scan.by_ids(connection, found.ids)
        triggers = [_again(row, action) for row in rows]
        accepted = await self._ingest.accept_many_on(connection, triggers) if triggers else []
        return _told(found, accepted), accepted


def _again(row: RunRow, action: Bulk) -> Trigger:
    return Trigger(
        row.workflow_id, row.trigger_type, row.trigger_payload, started_by=action.created_by, rerun_of=row.id
    )


def _told(found: Found, accepted: list[Accepted | None]) -> Batch:
    failed = accepted.count(None)
    return Batch(found.below, len(accepted), len(accepted) - failed, failed)
