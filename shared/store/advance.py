"""Committing advances: the group commit of what walks have settled."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from shared.advances import Advance, Key
from shared.db import Executes
from shared.graph.paths import ROOT, split
from shared.lanes import Doorbell, Reference
from shared.queries import Column, columns, load, sparse
from shared.states import StepStatus, TriggerType

_SQL = load("advance")
_ANSWERS = load("answers")
_NO_ITEM: Final = (None, None, 0, False)


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


async def commit(connection: Executes, advances: Sequence[Advance], incarnation_id: UUID) -> Committed:
    """Commit a batch of advances in one statement; see ``commit_advances`` in ``shared/schema.sql``."""
    order = sorted(range(len(advances)), key=lambda unit: _order(advances[unit]))
    units = [advances[unit] for unit in order]
    records = await connection.fetch(
        _SQL["commit"],
        *_unit_arrays(units),
        *_result_arrays(units),
        *_opening_arrays(units),
        *_arrival_arrays(units),
        incarnation_id,
    )
    committed = Committed(dict.fromkeys(range(len(units)), True), [], [], [])
    for kind, unit, run_id, node_id, item, flag, status, seconds in records:
        if kind == "ended":
            committed.ended.append(Ended(run_id, status, node_id, seconds, flag))
        elif kind == "lost":
            del committed.held[order[unit - 1]]
        elif kind == "late":
            committed.held[order[unit - 1]] = False
        else:
            reference = Reference(run_id, node_id, item, claim=False)
            committed.bells.append(Doorbell(reference, unit, new=kind == "run"))
            committed.started.extend([TriggerType.ERROR] if kind == "run" else [])
    return committed


async def follow_up(
    connection: Executes, advances: Sequence[Advance], committed: Committed, refused: Collection[UUID] = ()
) -> None:
    """Write what belongs to advances besides ``commit_advances``, in the transaction of their `commit`.

    The runs in ``refused`` are not started: the steps that call them go on already.
    """
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
        arrays = columns(asked, 4)
        await connection.execute(_ANSWERS["ask"], *arrays)
        committed.bells.extend(opened(await connection.fetch(_ANSWERS["use_kept"], *arrays[:3])))
    calls = [
        (advance.run_id, *call)
        for unit, advance in enumerate(advances)
        if committed.held.get(unit)
        for call in advance.calls
        if call.child_run_id not in refused
    ]
    if calls:
        await _start_children(connection, calls, committed)


async def _start_children(connection: Executes, calls: Sequence[Sequence[Any]], committed: Committed) -> None:
    for run_id, node_id, item, priority, is_new in await connection.fetch(_SQL["start_children"], *columns(calls, 7)):
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


def _order(advance: Advance) -> tuple[int, str, str]:
    """The order in which rows are locked."""
    return advance.run_id.int, advance.node_id, advance.item


def _unit_arrays(advances: Sequence[Advance]) -> tuple[Column, ...]:
    firsts, lasts = _numbers(advances)
    items = [_item_of(advance) for advance in advances]
    return (
        [advance.run_id for advance in advances],
        [advance.node_id for advance in advances],
        sparse([advance.item for advance in advances], ROOT),
        sparse([advance.claim_id for advance in advances]),
        [advance.started_us for advance in advances],
        sparse([advance.outcome for advance in advances]),
        sparse([advance.error_message for advance in advances]),
        sparse([advance.output for advance in advances]),
        sparse([advance.abort for advance in advances], usual=False),
        sparse([len(advance.openings) for advance in advances], 0),
        firsts,
        lasts,
        sparse([any(opening.is_active for opening in advance.openings) for advance in advances], usual=False),
        sparse([advance.iterator for advance in advances]),
        sparse([parent for parent, _, _, _ in items]),
        sparse([place for _, place, _, _ in items]),
        sparse([level for _, _, level, _ in items], 0),
        sparse([fails for _, _, _, fails in items], usual=False),
        sparse([advance.caller for advance in advances]),
        sparse([advance.wake for advance in advances]),
    )


def _numbers(advances: Sequence[Advance]) -> tuple[list[int], list[int]]:
    """For each unit how many results of the batch stand before its run's first, and up to its own last.

    Log entries of a run are numbered by their place behind its first, so several units of one run go on counting.
    """
    firsts: list[int] = []
    lasts: list[int] = []
    run_id, first, last = None, 0, 0
    for advance in advances:
        if advance.run_id != run_id:
            run_id, first = advance.run_id, last
        last += len(advance.results)
        firsts.append(first)
        lasts.append(last)
    return firsts, lasts


def _item_of(advance: Advance) -> tuple[str | None, int | None, int, bool]:
    """The item an advance belongs to: the iterator's path, its place, the steps it opens there, whether it fails."""
    if advance.iterator is None:
        return _NO_ITEM
    level = sum(opening.item == advance.item for opening in advance.openings)
    return *split(advance.item), level, advance.item_failure is not None


def _result_arrays(advances: Sequence[Advance]) -> tuple[Column, ...]:
    rows = [row for advance in advances for row in advance.results]
    return (
        [unit for unit, advance in enumerate(advances, 1) for _ in advance.results],
        [row.node_id for row in rows],
        sparse([row.attempt for row in rows], 1),
        sparse([row.status for row in rows], StepStatus.SUCCESS),
        sparse([row.handle for row in rows]),
        sparse([row.output for row in rows]),
        sparse([row.input for row in rows]),
        sparse([row.error for row in rows]),
        [row.started_us for row in rows],
        sparse([row.duration_ms for row in rows], 0),
    )


def _opening_arrays(advances: Sequence[Advance]) -> tuple[Column, ...]:
    rows = [(unit, opening) for unit, advance in enumerate(advances, 1) for opening in advance.openings]
    return (
        [unit for unit, _ in rows],
        [opening.node_id for _, opening in rows],
        sparse([opening.item for _, opening in rows], ROOT),
        [opening.status for _, opening in rows],
        sparse([opening.attempt for _, opening in rows], 1),
        sparse([opening.claim_id for _, opening in rows]),
        sparse([opening.due_at for _, opening in rows]),
        sparse([opening.waits for _, opening in rows]),
        sparse([opening.child_run_id for _, opening in rows]),
        sparse([opening.wake for _, opening in rows]),
        sparse([opening.claim_first for _, opening in rows], usual=False),
    )


def _arrival_arrays(advances: Sequence[Advance]) -> tuple[Column, ...]:
    rows = [(unit, arrival) for unit, advance in enumerate(advances, 1) for arrival in advance.arrivals]
    return (
        [unit for unit, _ in rows],
        [arrival.node_id for _, arrival in rows],
        [arrival.arrived for _, arrival in rows],
        [arrival.fired for _, arrival in rows],
        [arrival.degree for _, arrival in rows],
        [arrival.need for _, arrival in rows],
    )
