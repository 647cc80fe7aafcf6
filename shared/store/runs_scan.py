"""Finding runs across the workflows of a workspace, newest first, a bounded window of ids at a time.

No index leads from a workspace to its runs: the newest ids are walked downward, and a search that found too little in
one window goes on below it. So it costs the same whatever the history.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import load
from shared.states import RUN_TERMINAL, RunStatus
from shared.store.runs_read import FIRST_ID, LAST_ID, RunRow

_SQL = load("runs_scan")

#: Runs (or open steps) that one call looks at, after so many for each that is asked for: mostly these are enough.
WINDOW: Final = 20_000
_FIRST: Final = 20


class Which(NamedTuple):
    """Which runs of a workspace: ids in [low, high), of one workflow and in one of these statuses if not None."""

    workspace_id: UUID
    low: UUID = FIRST_ID
    high: UUID = LAST_ID
    workflow_id: UUID | None = None
    statuses: Sequence[str] | None = None


class Found(NamedTuple):
    """Runs that were found, newest first.

    Attributes:
        below: where to go on: the upper bound of what was not looked at; None when there is nothing more. There may be
            more although nothing was found.
    """

    ids: list[UUID]
    below: UUID | None


async def scan(connection: Connection, which: Which, limit: int) -> Found:
    """Look for at most ``limit`` runs."""
    first = await _look(connection, which, limit, min(_FIRST * limit, WINDOW))
    if len(first.ids) == limit or first.below is None:
        return first
    rest = await _look(connection, which._replace(high=first.below), limit - len(first.ids), WINDOW)
    return Found([*first.ids, *rest.ids], rest.below)


async def _look(connection: Connection, which: Which, limit: int, window: int) -> Found:
    records = await connection.fetch(_query(which), *which, window, limit)
    ids = sorted((record["id"] for record in records if record["matches"]), reverse=True)
    if len(ids) == limit:
        return Found(ids, ids[-1])
    return Found(ids, next((record["id"] for record in records if not record["matches"]), None))


async def by_ids(connection: Connection, run_ids: Sequence[UUID]) -> list[RunRow]:
    """These runs, newest first."""
    return [RunRow(*record) for record in await connection.fetch(_SQL["by_ids"], run_ids)]


def _query(which: Which) -> str:
    """Open runs are found by their open steps, those of a workflow by its index, all others by their ids alone."""
    if which.statuses is not None and RUN_TERMINAL.isdisjoint(RunStatus(status) for status in which.statuses):
        return _SQL["scan_open"]
    return _SQL["scan"] if which.workflow_id is None else _SQL["scan_workflow"]
