"""Committing advances, claiming and loading steps: what a worker writes and reads on the way of a run."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

import asyncpg

from shared.graph.paths import child, split
from shared.lanes import Doorbell, Reference
from shared.queries import load
from shared.states import StepStatus, TriggerType, Waits

_SQL = load("advance")
_ANSWERS = load("answers")

#: So many crashes stand for a step that is not to be run again: Postgres took no result of it.
GIVEN_UP = 32000
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
    """A step that opens: ``running`` under a claim of the worker itself, ``ready`` for others, or ``waiting``.

    Attributes:
        waits: what a waiting step waits for (`shared.states.Waits`).
        child_run_id: the run it waits for.
        wake: ``item`` for the start of an iterator's item.
    """

    node_id: str
    item: str
    status: str
    attempt: int
    claim_id: UUID | None
    due_at: datetime | None
    claim_first: bool
    waits: str | None = None
    child_run_id: UUID | None = None
    wake: str | None = None

    @property
    def is_active(self) -> bool:
        """Whether it counts against its run's time-out: ready, running or between retries."""
        return self.status != StepStatus.WAITING or self.waits == Waits.RETRY


class Arrival(NamedTuple):
    """Edges into a join that this advance settles; ``need`` as in `shared.graph.plan.PlanNode`."""

    node_id: str
    item: str
    arrived: int
    fired: int
    degree: int
    need: int


class Iteration(NamedTuple):
    """An iterator that begins.

    Attributes:
        first: how many of its items are among the openings.
        halts: whether a failed item stops the others.
        contents: the items as JSON texts.
    """

    node_id: str
    item: str
    first: int
    halts: bool
    contents: Sequence[str]


class Asked(NamedTuple):
    """A step that begins to wait for an answer, and its question as JSON; ``shared/questions.py``."""

    node_id: str
    item: str
    question: str


class ChildCall(NamedTuple):
    """A step that starts a run, under an id minted for it; it is among the openings, as one that waits for this run.

    Attributes:
        payload: JSON text.
        waits: whether the step goes on with the run's end; if not it goes on at once.
    """

    node_id: str
    item: str
    child_run_id: UUID
    workflow_id: UUID
    payload: str
    waits: bool


class ItemFailure(NamedTuple):
    """The item that the held step belongs to failed.

    Attributes:
        error: ``{code, message}`` as JSON.
        body: the nodes inside the iterator.
    """

    error: str
    body: Sequence[str]


class Advance(NamedTuple):
    """All that one run writes together.

    Attributes:
        claim_id: under which the held step was claimed; None if it was not.
        outcome: the status the run is to end with, decided by this advance; None if it goes on.
        abort: the outcome is `terminate`'s: steps in flight are aborted, not awaited.
        next_claim: of the opening this worker goes on with, if any.
        error_message: beside no outcome: the run fails with it once every branch has ended (``finish_branches``).
        iterator: the innermost one that the held step lies in; its `item` is one of that iterator's.
        caller: the run that waits for this one.
        wake: what had woken the held step; None if it had not waited.
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
    iterator: str | None = None
    caller: UUID | None = None
    item_failure: ItemFailure | None = None
    iterations: Sequence[Iteration] = ()
    questions: Sequence[Asked] = ()
    calls: Sequence[ChildCall] = ()
    wake: str | None = None

    @property
    def ends(self) -> bool:
        """Whether it ends its run or its item, so that nothing else of the run may be in its batch."""
        return self.outcome is not None or self.item_failure is not None

    @property
    def needs_transaction(self) -> bool:
        """Whether more than the one statement belongs to it."""
        return self.item_failure is not None or bool(self.iterations or self.questions or self.calls)


class Ended(NamedTuple):
    """A run that a commit made terminal.

    Attributes:
        seconds: from accepted to terminal.
        freed: it held a concurrency slot, which is free now.
    """

    run_id: UUID
    status: str
    trigger_type: str
    seconds: float
    freed: bool


class Committed(NamedTuple):
    """What a commit did.

    Attributes:
        held: which units (by their place in the batch) were written; True if the run goes on, False if only the held
            step's own result was recorded since the run, or its item, is being ended.
        bells: steps that became ready by it: joins, items, iterators and callers; and runs it started (``new``).
        started: what started these runs (`shared.states.TriggerType`), one for each.
    """

    held: dict[int, bool]
    bells: list[Doorbell]
    ended: list[Ended]
    started: list[str]

    @property
    def joins(self) -> list[Key]:
        """The steps of runs under way that became ready, as keys."""
        return [
            (bell.reference.run_id, bell.reference.node_id, bell.reference.item) for bell in self.bells if not bell.new
        ]


class Loaded(NamedTuple):
    """A step and what is needed to run it.

    Attributes:
        trigger_payload: JSON text; None for a step inside an iterator.
        crashes: how often a worker died, or lost the result, while it held the step.
        ending: its run is being ended, so it is not to be run any more.
        brought: what woke it brought, as JSON: an answer, a child run's end, the item that stopped an iterator.
        caller: the run that waits for this one.
        slots: how many concurrency slots the run holds; -1 if it has still to get one.
        depth: how many runs stand above it.
    """

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
    trigger_payload: str | None
    created_at: datetime
    priority: int
    ending: bool
    brought: str | None = None
    caller: UUID | None = None
    slots: int = 0
    depth: int = 0


async def commit(connection: Executes, advances: Sequence[Advance], incarnation_id: UUID) -> Committed:
    """Commit a batch of advances in one statement; see ``commit_advances`` in ``shared/schema.sql``."""
    order = sorted(range(len(advances)), key=lambda unit: _order(advances[unit]))
    units = [advances[unit] for unit in order]
    results = _numbered(units)
    records = await connection.fetch(
        _SQL["commit"],
        *_unit_arrays(units),
        *_result_arrays(results),
        *_opening_arrays(units),
        *_arrival_arrays(units),
        incarnation_id,
        any(advance.outcome is not None for advance in units),
        any(advance.iterator is not None for advance in units),
        any(advance.caller is not None for advance in units),
    )
    committed = Committed({}, [], [], [])
    for kind, unit, run_id, node_id, item, flag, status, seconds in records:
        if kind == "held":
            committed.held[order[unit - 1]] = flag
        elif kind == "ended":
            committed.ended.append(Ended(run_id, status, node_id, seconds, flag))
        else:
            reference = Reference(run_id, node_id, item, claim=False)
            committed.bells.append(Doorbell(reference, unit, new=kind == "run"))
            committed.started.extend([TriggerType.ERROR] if kind == "run" else [])
    return committed


async def follow_up(connection: Executes, advances: Sequence[Advance], committed: Committed) -> None:
    """Write what belongs to advances besides ``commit_advances``, in the transaction of their `commit`."""
    for unit, advance in enumerate(advances):
        if committed.held.get(unit):
            for iteration in advance.iterations:
                await connection.execute(_SQL["begin_iteration"], advance.run_id, *iteration)
            if advance.item_failure is not None:
                records = await connection.fetch(
                    _SQL["fail_item"], advance.run_id, advance.iterator, *split(advance.item), *advance.item_failure
                )
                committed.bells.extend(opened(records))
    asked = [
        (advance.run_id, *asked)
        for unit, advance in enumerate(advances)
        if committed.held.get(unit)
        for asked in advance.questions
    ]
    if asked:
        columns = _columns(asked, 4)
        await connection.execute(_ANSWERS["ask"], *columns)
        committed.bells.extend(opened(await connection.fetch(_ANSWERS["use_kept"], *columns[:3])))
    calls = [
        (advance.run_id, *call)
        for unit, advance in enumerate(advances)
        if committed.held.get(unit)
        for call in advance.calls
    ]
    if calls:
        await _start_children(connection, calls, committed)


async def _start_children(connection: Executes, calls: Sequence[Sequence[Any]], committed: Committed) -> None:
    for run_id, node_id, item, priority, is_new in await connection.fetch(_SQL["start_children"], *_columns(calls, 7)):
        reference = Reference(run_id, node_id, item, claim=False)
        committed.bells.append(Doorbell(reference, priority, new=is_new))
        committed.started.extend([TriggerType.WORKFLOW] if is_new else [])


def opened(records: Iterable[asyncpg.Record]) -> list[Doorbell]:
    """The messages for rows of ``opened_step``: steps of runs under way that became ready."""
    return [
        Doorbell(Reference(run_id, node_id, item, claim=False), priority, new=False)
        for run_id, node_id, item, priority in records
    ]


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


async def payload(connection: Executes, run_id: UUID) -> str:
    """The trigger payload of a run, as JSON text."""
    (record,) = await connection.fetch(_SQL["payload"], run_id)
    text: str = record["trigger_payload"]
    return text


async def outputs(connection: Executes, wanted: Sequence[Key]) -> dict[Key, str]:
    """The outputs (JSON text) of settled steps."""
    records = await connection.fetch(_SQL["outputs"], *_columns(wanted, 3))
    return {(run_id, node_id, item): text for run_id, node_id, item, text in records}


class ItemValue(NamedTuple):
    """An item of an iterator: its value as JSON text, and how many items there are."""

    value: str
    total: int


async def item_values(connection: Executes, wanted: Sequence[tuple[UUID, str, str, int]]) -> dict[Key, ItemValue]:
    """The values of items, given run, iterator, the iterator's path and the item's place; by the item's own path."""
    records = await connection.fetch(_SQL["item_values"], *_columns(wanted, 4))
    return {
        (run_id, node_id, child(item, place)): ItemValue(value, total)
        for run_id, node_id, item, place, value, total in records
    }


async def release(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back, to be sent again."""
    await connection.execute(_SQL["release"], claims, incarnation_id)


async def put_back(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back that this worker cannot run; they are sent again with back-off."""
    await connection.execute(_SQL["put_back"], claims, incarnation_id)


async def surrender(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back whose effects began and whose results are lost; that counts as a crash."""
    await connection.execute(_SQL["surrender"], claims, incarnation_id)


async def give_up(connection: Executes, claims: Sequence[UUID], incarnation_id: UUID) -> None:
    """Give claimed steps back that nobody is to run again; their `Loaded.crashes` are `GIVEN_UP`."""
    await connection.execute(_SQL["give_up"], claims, incarnation_id)


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


def _columns(rows: Sequence[Sequence[Any]], width: int) -> list[list[Any]]:
    """Rows as the arrays of their columns."""
    return [[row[column] for row in rows] for column in range(width)]


def _unit_arrays(advances: Sequence[Advance]) -> tuple[list[Any], ...]:
    # A unit without results goes on counting where the unit of its run before it ended.
    counted: Counter[UUID] = Counter()
    ends = []
    for advance in advances:
        counted[advance.run_id] += len(advance.results)
        ends.append(counted[advance.run_id])
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
        [any(opening.is_active for opening in advance.openings) for advance in advances],
        [advance.iterator for advance in advances],
        *_columns([_item_of(advance) for advance in advances], 4),
        [advance.caller for advance in advances],
        [advance.wake for advance in advances],
    )


def _item_of(advance: Advance) -> tuple[str | None, int | None, int, bool]:
    """The item an advance belongs to: the iterator's path, its place, the steps it opens there, whether it fails."""
    if advance.iterator is None:
        return None, None, 0, False
    level = sum(opening.item == advance.item for opening in advance.openings)
    return *split(advance.item), level, advance.item_failure is not None


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
        [opening.waits for _, opening in rows],
        [opening.child_run_id for _, opening in rows],
        [opening.wake for _, opening in rows],
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
