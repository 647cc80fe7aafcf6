"""Reading runs: one with its steps, pages of a workflow's, and how many there are; history costs nothing."""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from shared.db import Connection
from shared.queries import load

_SQL = load("runs_read")
_PARTITIONS = load("migrations")

#: Runs are counted one by one up to here, and pages by number reach no deeper; beyond it the total is an estimate.
COUNTED: Final = 10_000
#: A status is looked for in this many of the newest runs; a cursor goes on behind them.
STATUS_WINDOW: Final = 50_000

#: The most log entries (and settled steps, and open ones) of a run that are read at once, and the most bytes that their
#: outputs, inputs and errors have together.
LOG_ENTRIES: Final = 10_000
LOG_BYTES: Final = 16 * 1024 * 1024

FIRST_ID: Final = UUID(int=0)
LAST_ID: Final = UUID(int=(1 << 128) - 1)


class RunRow(NamedTuple):
    """A run as stored; ``trigger_payload`` is JSON text."""

    id: UUID
    workspace_id: UUID
    workflow_id: UUID
    version: int
    created_at: datetime
    trigger_type: str
    trigger_payload: str
    status: str
    started_at: datetime | None
    completed_at: datetime | None
    error_message: str | None
    parent_run_id: UUID | None = None
    rerun_of: UUID | None = None


class SettledStep(NamedTuple):
    """One attempt that ended; ``output``, ``input`` and ``error`` are JSON text.

    Attributes:
        fits: whether these three were read; they are None past `LOG_BYTES` of a run.
    """

    seq: int
    node_id: str
    item: str
    attempt: int
    status: str
    handle: str | None
    started_at: datetime
    duration_ms: int
    output: str | None
    input: str | None
    error: str | None
    fits: bool = True


class OpenStep(NamedTuple):
    """A step that is open.

    Attributes:
        waits: one of `shared.states.Waits`; None too for a wait that older code began.
        claim_first: of such a wait: whether it is a retry, and no timer.
        attended: whether any worker is alive.
    """

    node_id: str
    item: str
    attempt: int
    status: str
    started_at: datetime | None
    due_at: datetime | None
    waits: str | None
    claim_first: bool
    child_run_id: UUID | None
    attended: bool


class RunFilter(NamedTuple):
    """Which runs of a workflow: ids in [low, high), and the status if not None."""

    workflow_id: UUID
    low: UUID = FIRST_ID
    high: UUID = LAST_ID
    status: str | None = None


class RunCount(NamedTuple):
    """How many runs a filter lets through.

    Attributes:
        exact: whether they were counted; an estimate otherwise.
    """

    total: int
    exact: bool


class RunPage(NamedTuple):
    """A page of runs.

    Attributes:
        below: where to go on: the upper bound of the next page's ids; None when there is nothing more.
    """

    runs: list[RunRow]
    below: UUID | None


async def get(connection: Connection, workspace_id: UUID, run_id: UUID) -> RunRow | None:
    """A run of a workspace; None too for one that its workflow's retention hides."""
    record = await connection.fetchrow(_SQL["get"], workspace_id, run_id)
    return None if record is None else RunRow(*record)


async def graph_nodes(connection: Connection, workflow_id: UUID, version: int) -> str | None:
    """The nodes of a version as JSON text; None once the workflow was removed."""
    nodes: str | None = await connection.fetchval(_SQL["graph"], workflow_id, version)
    return nodes


async def settled_steps(connection: Connection, run_id: UUID) -> list[SettledStep]:
    """What a run's steps came to, in the order of its log: one more than `LOG_ENTRIES`, if there are more."""
    records = await connection.fetch(_SQL["settled"], run_id, LOG_ENTRIES + 1, LOG_BYTES)
    return [SettledStep(*record) for record in records]


async def open_steps(connection: Connection, run_id: UUID, lease_seconds: float) -> list[OpenStep]:
    """The steps of a run that are open: one more than `LOG_ENTRIES`, if there are more."""
    records = await connection.fetch(_SQL["open"], run_id, lease_seconds, LOG_ENTRIES + 1)
    return [OpenStep(*record) for record in records]


async def page(connection: Connection, which: RunFilter, *, offset: int, limit: int) -> RunPage:
    """A page of runs, newest first."""
    looked_at = offset + limit + 1 if which.status is None else STATUS_WINDOW
    records = await connection.fetch(_SQL["page"], *which, looked_at, offset, limit + 1)
    runs = [RunRow(*record) for record in records[:limit]]
    if len(records) > limit:
        return RunPage(runs, runs[-1].id)
    return RunPage(runs, await _end_of_window(connection, which))


async def _end_of_window(connection: Connection, which: RunFilter) -> UUID | None:
    """Where a search for a status stopped although there are older runs."""
    if which.status is None:
        return None
    record = await connection.fetchrow(_SQL["count"], *which, STATUS_WINDOW)
    if record is None or record["seen"] < STATUS_WINDOW:
        return None
    oldest: UUID = record["oldest"]
    return oldest


async def count(connection: Connection, which: RunFilter) -> RunCount:
    """How many runs there are: counted if they are few, else estimated from the planner's statistics."""
    limit = COUNTED + 1 if which.status is None else STATUS_WINDOW
    record = await connection.fetchrow(_SQL["count"], *which, limit)
    matching, seen = (record["matching"], record["seen"]) if record is not None else (0, 0)
    if record is None or seen < limit or record["oldest"] < record["shown_from"]:
        return RunCount(matching, exact=True)
    low = max(which.low, record["shown_from"])
    plan = msgspec.json.decode(await connection.fetchval(_SQL["estimate"], which.workflow_id, low, which.high))
    rows = max(int(plan[0]["Plan"]["Plan Rows"]), seen)
    return RunCount(matching * rows // seen, exact=False)


async def database_answers(connection: Connection) -> bool:
    """Whether the database answers; raises what the connection raises otherwise."""
    return bool(await connection.fetchval(_SQL["database_answers"]))


async def partition_days_ahead(connection: Connection) -> int:
    """For how many whole days from now there are partitions for runs and their steps."""
    return int(await connection.fetchval(_PARTITIONS["partition_days_ahead"]))
