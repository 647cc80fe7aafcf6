"""Events that steps publish: whom they start is found, and started, in the transaction of the step's commit."""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from shared.advances import Advance, Publishing
from shared.db import Connection
from shared.errors import InvalidError
from shared.event_names import MAX_STEP_LISTENERS
from shared.events import matching
from shared.lanes import LIGHT_SHARE, Doorbell
from shared.states import TriggerType
from shared.store import events
from shared.store.advance import Committed
from shared.store.events import Publication
from shared.store.open_runs import OpenRuns, RunLimits, look

#: Seconds for which a count of open runs is good.
_COUNTED: Final = 1.0


class Publisher:
    """Publishes the events of advances.

    Args:
        limits: open runs past which no event starts any more of them.
        new_id: fresh ids on Postgres's clock.
        now: the time by it.
    """

    def __init__(self, limits: RunLimits, new_id: Callable[[], UUID], now: Callable[[], datetime]) -> None:
        self._new_id = new_id
        self._now = now
        self._counted_at = float("-inf")
        self._open = OpenRuns(limits, 0, {})

    async def publish(self, connection: Connection, advances: Sequence[Advance], committed: Committed) -> None:
        """Publish what belongs to advances that were written, in the transaction of their commit."""
        for unit, advance in enumerate(advances):
            for publishing in advance.publications if committed.held.get(unit) else ():
                workspace_id = await events.workspace_of(connection, advance.run_id)
                publication = await self._publication(connection, workspace_id, advance.run_id, publishing)
                bells = await events.publish(connection, publication)
                started = sum(bell.new for bell in bells)
                self._open = self._open.plus(workspace_id, started)
                committed.bells.extend(_shared_out(bells))
                committed.started.extend([TriggerType.EVENT] * started)

    async def _publication(
        self, connection: Connection, workspace_id: UUID, run_id: UUID, publishing: Publishing
    ) -> Publication:
        """The event with whom it starts, or why it starts nobody."""
        node_id, item, event, payload = publishing
        workflows: Sequence[UUID] = ()
        try:
            verdict = "backlog_full" if await self._is_full(connection, workspace_id) else "published"
            if verdict == "published":
                workflows = await matching(
                    connection, workspace_id, event, payload, self._now(), most=MAX_STEP_LISTENERS
                )
        except InvalidError as error:
            verdict = error.code
        runs = [(self._new_id(), workflow_id) for workflow_id in workflows]
        return Publication(run_id, node_id, item, verdict, runs, payload)

    async def _is_full(self, connection: Connection, workspace_id: UUID) -> bool:
        """Whether too many runs are open, as of a second ago and with what was started since, for this workspace."""
        if time.monotonic() - self._counted_at > _COUNTED:
            self._counted_at = time.monotonic()
            self._open = await look(connection, self._open.limits)
        return self._open.refusal(workspace_id) is not None


def _shared_out(bells: Sequence[Doorbell]) -> list[Doorbell]:
    """The messages; those beyond a small share are bulk, so that an event with many listeners stands behind others."""
    return [bell._replace(bulk=bell.new and place >= LIGHT_SHARE) for place, bell in enumerate(bells)]
