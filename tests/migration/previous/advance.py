"""What a worker of the release before this one writes and reads on the way of a run, as it was then.

It calls the functions and reads the columns of that release, which this one's *pre* migrations must leave in working
order. When a release is made, this folder is filled anew: its engine's queries and this module.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import asyncpg

from shared.lanes import Reference
from shared.queries import parse

FOLDER = Path(__file__).parent
_SQL = parse((FOLDER / "advance.sql").read_text(encoding="utf-8"))

#: What `Reference`-like keys of a step are made of: run, node, item.
Key = tuple[UUID, str, str]


class Executes(Protocol):
    """A connection, or a pool that lends one for a statement."""

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Run a statement and give its rows."""
        ...

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement."""
        ...


class Result(NamedTuple):
    """One settled attempt of a step; texts are JSON.

    Attributes:
        own: it is the held step's own, so it is recorded even when the run is being ended.
        duration_ms: milliseconds.
    """

    own: bool
    node_id: str
    item: str
    attempt: int
    status: str
    handle: str | None
    output: str | None
    input: str | None
    error: str | None
    started_at: datetime
    duration_ms: int


class Opening(NamedTuple):
    """A step that opens: ``running`` under a claim of the worker itself, ``ready`` for others, or ``waiting``."""

    node_id: str
    item: str
    status: str
    attempt: int
    claim_id: UUID | None
    due_at: datetime | None
    claim_first: bool


class Arrival(NamedTuple):
    """Edges into a join that this advance settles; ``need`` as in `shared.graph.plan.PlanNode`."""

    node_id: str
    item: str
    arrived: int
    fired: int
    degree: int
    need: int


class Advance(NamedTuple):
    """All that one run writes together.

    Attributes:
        claim_id: under which the held step was claimed; None if it was not.
        outcome: the status the run is to end with, decided by this advance; None if it goes on.
        abort: the outcome is `terminate`'s: steps in flight are aborted, not awaited.
        next_claim: of the opening this worker goes on with, if any.
    """

    run_id: UUID
    node_id: str
    item: str
    claim_id: UUID | None
    started_at: datetime
    results: Sequence[Result]
    openings: Sequence[Opening] = ()
    arrivals: Sequence[Arrival] = ()
    outcome: str | None = None
    error_message: str | None = None
    output: str | None = None
    abort: bool = False
    next_claim: UUID | None = None


class Ended(NamedTuple):
    """A run that a commit made terminal; ``seconds`` from accepted to terminal."""

    run_id: UUID
    status: str
    trigger_type: str
    seconds: float


class Committed(NamedTuple):
    """What a commit did.

    Attributes:
        held: which units (by their place in the batch) were written; True if the run goes on, False if only the held
            step's own result was recorded since the run is being ended.
        joins: joins that became ready, as keys.
    """

    held: dict[int, bool]
    joins: list[Key]
    ended: list[Ended]


class Loaded(NamedTuple):
    """A step and what is needed to run it; ``ending``: its run is being ended, so it is not to be run any more."""

    run_id: UUID
    node_id: str
    item: str
    claim_id: UUID | None
    attempt: int
    fired: bool
    wake: str | None
    crashes: int
    sent_at: datetime | None
    started_at: datetime | None
    workspace_id: UUID
    workflow_id: UUID
    version: int
    trigger_type: str
    trigger_payload: str
    created_at: datetime
    priority: int
    ending: bool


async def commit(connection: Executes, advances: Sequence[Advance], incarnation_id: UUID) -> Committed:
    """Commit a batch of advances in one statement; see ``commit_advances`` in ``shared/schema.sql``."""
    order = sorted(range(len(advances)), key=lambda unit: _order(advances[unit]))
    units = [advances[unit] for unit in order]
    results = _numbered(units)
    records = await connection.fetch(
        _SQL["commit"],
        *_unit_arrays(units, results),
        *_result_arrays(results),
        *_opening_arrays(units),
        *_arrival_arrays(units),
        incarnation_id,
        any(advance.outcome is not None for advance in units),
    )
    committed = Committed({}, [], [])
    for kind, unit, run_id, node_id, item, flag, status, seconds in records:
        if kind == "held":
            committed.held[order[unit - 1]] = flag
        elif kind == "join":
            committed.joins.append((run_id, node_id, item))
        else:
            committed.ended.append(Ended(run_id, status, node_id, seconds))
    return committed


async def still_mine(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> set[UUID]:
    """Which of these claim ids are in force."""
    return {record[0] for record in await connection.fetch(_SQL["still_mine"], claims, incarnation_id)}


async def claim(
    connection: Executes, references: Sequence[tuple[Reference, UUID]], incarnation_id: UUID
) -> dict[Key, Loaded]:
    """Claim what is ready of these steps, each under the claim id given with it."""
    records = await connection.fetch(
        _SQL["claim"],
        [reference.run_id for reference, _ in references],
        [reference.node_id for reference, _ in references],
        [reference.item for reference, _ in references],
        [claim_id for _, claim_id in references],
        incarnation_id,
    )
    return _by_key(records)


async def load_ready(connection: Executes, references: Sequence[Reference]) -> dict[Key, Loaded]:
    """Read what is ready of these steps, without taking them."""
    records = await connection.fetch(
        _SQL["load"],
        [reference.run_id for reference in references],
        [reference.node_id for reference in references],
        [reference.item for reference in references],
    )
    return _by_key(records)


async def outputs(connection: Executes, wanted: Sequence[tuple[UUID, str]]) -> dict[UUID, dict[str, str]]:
    """The outputs (JSON text) of settled steps by run and node."""
    records = await connection.fetch(
        _SQL["outputs"], [run_id for run_id, _ in wanted], [node_id for _, node_id in wanted]
    )
    found: dict[UUID, dict[str, str]] = {}
    for run_id, node_id, text in records:
        found.setdefault(run_id, {})[node_id] = text
    return found


async def release(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back, to be sent again."""
    await connection.execute(_SQL["release"], claims, incarnation_id)


async def put_back(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back that this worker cannot run; they are sent again with back-off."""
    await connection.execute(_SQL["put_back"], claims, incarnation_id)


def _by_key(records: Iterable[asyncpg.Record]) -> dict[Key, Loaded]:
    loaded = [Loaded(*record.values()) for record in records]
    return {(step.run_id, step.node_id, step.item): step for step in loaded}


def _order(advance: Advance) -> tuple[int, str, str]:
    """The order in which rows are locked."""
    return advance.run_id.int, advance.node_id, advance.item


def _numbered(advances: Sequence[Advance]) -> list[tuple[int, int, Result]]:
    """All results with their unit, from 1, and their offset from the run's next number.

    Several advances of one run go on numbering where the one before ended.
    """
    ends: dict[UUID, int] = {}
    numbered: list[tuple[int, int, Result]] = []
    for unit, advance in enumerate(advances, 1):
        first = ends.get(advance.run_id, 0)
        ends[advance.run_id] = first + len(advance.results)
        numbered.extend((unit, first + place, result) for place, result in enumerate(advance.results))
    return numbered


def _unit_arrays(advances: Sequence[Advance], results: Sequence[tuple[int, int, Result]]) -> tuple[list[Any], ...]:
    ends = [0] * len(advances)
    for unit, seq, _ in results:
        ends[unit - 1] = seq + 1
    return (
        [advance.run_id for advance in advances],
        [advance.node_id for advance in advances],
        [advance.item for advance in advances],
        [advance.claim_id for advance in advances],
        [advance.started_at for advance in advances],
        [advance.outcome for advance in advances],
        [advance.error_message for advance in advances],
        [advance.output for advance in advances],
        [advance.abort for advance in advances],
        [len(advance.openings) for advance in advances],
        ends,
    )


def _result_arrays(results: Sequence[tuple[int, int, Result]]) -> tuple[list[Any], ...]:
    rows = [row for _, _, row in results]
    return (
        [unit for unit, _, _ in results],
        [row.own for row in rows],
        [row.node_id for row in rows],
        [row.item for row in rows],
        [row.attempt for row in rows],
        [seq for _, seq, _ in results],
        [row.status for row in rows],
        [row.handle for row in rows],
        [row.output for row in rows],
        [row.input for row in rows],
        [row.error for row in rows],
        [row.started_at for row in rows],
        [row.duration_ms for row in rows],
    )


def _opening_arrays(advances: Sequence[Advance]) -> tuple[list[Any], ...]:
    rows = [(unit, opening) for unit, advance in enumerate(advances, 1) for opening in advance.openings]
    return (
        [unit for unit, _ in rows],
        [opening.node_id for _, opening in rows],
        [opening.item for _, opening in rows],
        [opening.status for _, opening in rows],
        [opening.attempt for _, opening in rows],
        [opening.claim_id for _, opening in rows],
        [opening.due_at for _, opening in rows],
        [opening.status == "ready" for _, opening in rows],
        [opening.claim_first for _, opening in rows],
    )


def _arrival_arrays(advances: Sequence[Advance]) -> tuple[list[Any], ...]:
    rows = [(unit, arrival) for unit, advance in enumerate(advances, 1) for arrival in advance.arrivals]
    return (
        [unit for unit, _ in rows],
        [arrival.node_id for _, arrival in rows],
        [arrival.item for _, arrival in rows],
        [arrival.arrived for _, arrival in rows],
        [arrival.fired for _, arrival in rows],
        [arrival.degree for _, arrival in rows],
        [arrival.need for _, arrival in rows],
    )
