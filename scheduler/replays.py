"""The duty that works off replays of many deliveries, at the pace that each says.

A batch takes one replay, makes runs of its next deliveries, and notes how far it got, all in one transaction: a
scheduler that dies in the middle has done nothing, and no delivery is replayed twice.
"""

from typing import Final
from uuid import UUID

import asyncpg

from shared.db import Connection
from shared.ingest import Accepted, Ingest, Trigger
from shared.nodes.webhook_rules import replayed
from shared.states import TriggerType
from shared.store import deliveries, workflows
from shared.store.deliveries import Due, Replay
from shared.store.open_runs import RunLimits, look

#: Runs of a batch: payloads of up to a MiB each pass through this process.
_MADE: Final = 25
_TRIGGER: Final = "webhook_trigger"


class Replays:
    """Works off replays, the oldest deliveries first.

    Args:
        limits: open runs past which no delivery is replayed until some have ended; a full workspace holds up no other.
    """

    def __init__(self, pool: asyncpg.Pool, ingest: Ingest, limits: RunLimits) -> None:
        self._pool = pool
        self._ingest = ingest
        self._limits = limits

    async def work(self) -> bool:
        """Do one batch of one replay."""
        async with self._pool.acquire() as connection, connection.transaction():
            replay = await self._take(connection)
            if replay is None:
                return False
            accepted = await self._batch(connection, replay)
        self._ingest.announce(accepted)
        return True

    async def _take(self, connection: Connection) -> Replay | None:
        """A replay that has room for more runs."""
        replay = await deliveries.take_replay(connection)
        if replay is None:
            return None
        runs = await look(connection, self._limits)
        if runs.refusal(replay.workspace_id) is None:
            return replay
        return None if runs.full else await deliveries.take_replay(connection, besides=runs.full_workspaces)

    async def _batch(self, connection: Connection, replay: Replay) -> list[Accepted | None]:
        """Deliveries that were not kept whole fail, and all do whose workflow is inactive or has another trigger."""
        target = await workflows.target(connection, replay.workspace_id, replay.workflow_id)
        limit = min(replay.per_second, _MADE)
        due = await deliveries.to_replay(connection, replay, limit) if target is not None else Due([], None)
        fits = target is not None and target.trigger_component == _TRIGGER
        triggers = [
            _again(replay, delivery_id, request)
            for delivery_id, request, whole in due.rows
            if fits and whole and request is not None
        ]
        accepted = await self._ingest.accept_many_on(connection, triggers) if triggers else []
        matched, done = len(due.rows), len(accepted) - accepted.count(None)
        pause = matched / replay.per_second
        await deliveries.move_replay(
            connection, replay.id, due.above, matched=matched, done=done, failed=matched - done, pause=pause
        )
        return accepted


def _again(replay: Replay, delivery_id: UUID, request: str) -> Trigger:
    payload = replayed(request, delivery_id)
    return Trigger(replay.workflow_id, TriggerType.WEBHOOK, payload, started_by=replay.created_by)
