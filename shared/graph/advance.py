"""What a step's end means for the nodes behind it: pure functions, the hot path of every walk.

A *join* here is a node with several incoming edges. A walk counts the arrivals it settles itself in `Arrivals`; as soon
as it has all of a join's edges it resolves the join alone, and otherwise the counts go to the database, where `resolve`
says which addition starts the join.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from shared.graph.model import ERROR_HANDLE
from shared.graph.plan import UNNAMED, Group, Plan, PlanNode
from shared.graph.settings import Retry

MAX_RETRY_IN: Final = 3600.0


@dataclass(slots=True)
class Arrivals:
    """Edges into one join that this walk has settled and not yet handed to the database."""

    arrived: int = 0
    fired: int = 0


@dataclass(slots=True)
class Progress:
    """What is decided now: nodes that may run, and nodes that are skipped, each in the order it was found."""

    ready: list[str]
    skipped: list[str]


class Verdict(Enum):
    """What an addition to a join's counts means: nothing yet (or no more), the node runs, the node is skipped."""

    NONE = 0
    RUN = 1
    SKIP = 2


Joins = dict[str, Arrivals]


def end(plan: Plan, node_id: str, handle: str | None, joins: Joins) -> Progress:
    """A node ended on ``handle`` (None: its unnamed output): the edges on it fire, its others are dead.

    Args:
        plan: the run's plan.
        node_id: the node that ended.
        handle: as the node's outcome says.
        joins: arrivals of this walk; changed here.

    Raises:
        LookupError: if the node has named handles and this is none of them.
    """
    progress = Progress([], [])
    groups = plan.groups[node_id]
    if groups:
        taken = _taken(plan.nodes[node_id], handle)
        for group in groups:
            _settle(plan, group, joins, progress, fires=group.handle == taken)
        if progress.skipped:
            _pass_on(plan, joins, progress)
    return progress


def fail(plan: Plan, node_id: str, joins: Joins) -> Progress:
    """A node failed and the other branches go on: all its edges are dead."""
    progress = Progress([], [])
    for group in plan.groups[node_id]:
        _settle(plan, group, joins, progress, fires=False)
    _pass_on(plan, joins, progress)
    return progress


def begin_item(plan: Plan, iterator: str, joins: Joins) -> Progress:
    """An item of an iterator starts: the edges to its body fire."""
    progress = Progress([], [])
    for group in plan.item_groups[iterator]:
        _settle(plan, group, joins, progress, fires=True)
    return progress


def skip(plan: Plan, node_id: str, joins: Joins) -> Progress:
    """A node is skipped: all its edges are dead. It stands first in ``skipped``."""
    progress = Progress([], [node_id])
    _pass_on(plan, joins, progress)
    return progress


def resolve(  # noqa: PLR0917 — three pairs of counts, in the order the SQL has them
    in_degree: int, need: int, arrived: int, fired: int, added_arrived: int, added_fired: int
) -> Verdict:
    """Whether an addition to a join's counts starts it; over all additions exactly one does.

    Args:
        in_degree: edges that lead to the join.
        need: 0 for all of them, else the number that must fire.
        arrived: edges settled, this addition included.
        fired: of these, edges that fired, this addition included.
        added_arrived: edges this addition settled.
        added_fired: of these, edges that fired.
    """
    if added_arrived <= 0:
        return Verdict.NONE
    threshold = need or 1
    if fired >= threshold and (fired - added_fired < threshold if need else arrived >= in_degree):
        return Verdict.RUN
    return Verdict.SKIP if arrived >= in_degree and fired < threshold else Verdict.NONE


def backoff(retry: Retry, attempt: int, retry_in: float | None, rand: float) -> float:
    """Seconds between a failed attempt and the next.

    Args:
        retry: the node's setting.
        attempt: the attempt that failed, 1 for the first.
        retry_in: seconds the far side asked for, honoured up to an hour, or None.
        rand: a random number in [0, 1).
    """
    delay = retry.delay
    if retry.backoff == "exponential":
        delay = min(delay * 2.0 ** (attempt - 1), max(delay, retry.max_delay))
    if retry.jitter:
        delay *= 0.5 + 0.5 * rand
    return max(delay, min(retry_in or 0.0, MAX_RETRY_IN))


def _taken(node: PlanNode, handle: str | None) -> str:
    if handle == ERROR_HANDLE:
        return ERROR_HANDLE
    if not node.handles:
        return UNNAMED
    if handle not in node.handles or handle is None:
        raise LookupError(f"{node.id} ended on {handle!r}, which is none of its handles {node.handles}.")
    return handle


def _settle(plan: Plan, group: Group, joins: Joins, progress: Progress, *, fires: bool) -> None:
    (progress.ready if fires else progress.skipped).extend(group.singles)
    for target, count in group.joins:
        _arrive(plan.nodes[target], count, count if fires else 0, joins, progress)


def _pass_on(plan: Plan, joins: Joins, progress: Progress) -> None:
    for node_id in progress.skipped:  # grows while it is read
        for group in plan.groups[node_id]:
            _settle(plan, group, joins, progress, fires=False)


def _arrive(node: PlanNode, arrived: int, fired: int, joins: Joins, progress: Progress) -> None:
    counts = joins.get(node.id)
    if counts is None:
        counts = joins[node.id] = Arrivals()
    counts.arrived += arrived
    counts.fired += fired
    if counts.arrived == node.in_degree:
        del joins[node.id]
        (progress.ready if counts.fired >= (node.need or 1) else progress.skipped).append(node.id)
