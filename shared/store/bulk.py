"""Actions over many runs: kept, and worked off in batches whose effect and progress are one transaction."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from shared.db import Connection
from shared.ids import milliseconds_of, uuid7
from shared.queries import load
from shared.states import RUN_TERMINAL, RunStatus
from shared.store.runs_scan import Which

_SQL = load("bulk")

CANCEL: Final = "cancel"
RERUN: Final = "rerun"
#: The statuses of runs that each action is for.
STATUSES: Final[dict[str, tuple[str, ...]]] = {
    CANCEL: tuple(status for status in RunStatus if status not in RUN_TERMINAL),
    RERUN: tuple(status for status in RunStatus if status in RUN_TERMINAL),
}


class Filter(msgspec.Struct, frozen=True):
    """Which runs an action is for.

    Attributes:
        given: as the caller wrote it.
        low, high: the least id, and the bound of the greatest.
        workflow_id: None for all of the workspace.
    """

    given: dict[str, Any]
    low: UUID
    high: UUID
    workflow_id: UUID | None
    statuses: tuple[str, ...]


class Bulk(NamedTuple):
    """An action.

    Attributes:
        filter: JSON text of a `Filter`.
        below: runs with a smaller id are still to be looked at.
        matched: runs it was for, as far as it got; ``done`` and ``failed`` of them.
        created_by: the subject of the token.
    """

    id: UUID
    workspace_id: UUID
    action: str
    filter: str
    below: UUID
    matched: int
    done: int
    failed: int
    created_by: str
    created_at: datetime
    completed_at: datetime | None

    @property
    def given(self) -> dict[str, Any]:
        """The filter as the caller wrote it."""
        return self._filter().given

    @property
    def which(self) -> Which:
        """The runs that are still to be looked at."""
        wanted = self._filter()
        return Which(self.workspace_id, wanted.low, self.below, wanted.workflow_id, wanted.statuses)

    def _filter(self) -> Filter:
        return msgspec.json.decode(self.filter, type=Filter)


class Batch(NamedTuple):
    """What a batch did; ``below``: where to go on, None if the action is complete."""

    below: UUID | None
    matched: int
    done: int
    failed: int


async def add(
    connection: Connection, bulk_id: UUID, workspace_id: UUID, action: str, wanted: Filter, *, created_by: str
) -> Bulk:
    """Keep an action; it is for runs that are older than itself."""
    text = msgspec.json.encode(wanted).decode()
    next_millisecond = uuid7(milliseconds_of(bulk_id) + 1)
    row = (bulk_id, workspace_id, action, text, min(wanted.high, next_millisecond))
    created_at = await connection.fetchval(_SQL["add"], *row, created_by)
    return Bulk(*row, 0, 0, 0, created_by, created_at, None)


async def get(connection: Connection, workspace_id: UUID, bulk_id: UUID) -> Bulk | None:
    """An action of a workspace."""
    record = await connection.fetchrow(_SQL["get"], workspace_id, bulk_id)
    return None if record is None else Bulk(*record)


async def take(connection: Connection, *, besides: Sequence[UUID] = ()) -> Bulk | None:
    """Take an action that is not complete until the end of the transaction; None if there is none.

    ``besides``: workspaces in which nothing is to be made again.
    """
    record = await connection.fetchrow(_SQL["take"], list(besides))
    return None if record is None else Bulk(*tuple(record.values())[:-1])


async def move_on(connection: Connection, bulk_id: UUID, batch: Batch) -> None:
    """Note what a batch did, in its own transaction."""
    await connection.execute(_SQL["move_on"], bulk_id, *batch)
