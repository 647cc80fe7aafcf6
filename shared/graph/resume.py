"""Where a run that ended early can go on: which results a new run inherits, and what it begins with. Pure.

The new run is what the old one would be if only the inherited nodes had ended yet, so joins have the counts they would
have then. A node is inherited if it succeeded, or failed and was continued past on the way to the node to resume from;
all others that the inherited ones lead to begin. What only a node that runs again can decide runs again too.
"""

from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple

from shared.graph.advance import Arrivals, Joins, Verdict, end, resolve
from shared.graph.model import ERROR_HANDLE
from shared.graph.plan import Plan, PlanNode
from shared.graph.topology import reachable
from shared.states import StepStatus


class Settled(NamedTuple):
    """How a node outside iterators ended in the old run: the status and the handle of its last attempt."""

    status: str
    handle: str | None


class Frontier(NamedTuple):
    """What a new run begins with.

    Attributes:
        copied: nodes whose steps it inherits; those inside of an inherited iterator too, at every item.
        skipped: nodes that are skipped by now and that the old run did not get to.
        ready: nodes that run first; empty if all of them are inherited.
        joins: edges into joins that have been settled, for joins that still wait for others.
    """

    copied: list[str]
    skipped: list[str]
    ready: list[str]
    joins: dict[str, Arrivals]


def frontier(plan: Plan, settled: Mapping[str, Settled], node_id: str) -> Frontier:
    """What a run begins with that goes on behind a node.

    Args:
        plan: the old run's.
        settled: by node id.
        node_id: outside iterators, and successful.
    """
    behind = _behind(plan, node_id)
    before = {*plan.ancestors_of(node_id), node_id}
    found = Frontier([], [], [], {})
    runs, skipped = {plan.trigger}, set[str]()
    for name, node in plan.nodes.items():  # each before what it leads to
        result = settled.get(name)
        if node.scope:
            continue
        if name in skipped:
            (found.copied if _is_skipped(result) else found.skipped).append(name)
        elif name in runs or _has_started(node, found.joins):
            if result is not None and name not in behind and _is_kept(result, past_failure=name in before):
                found.copied.append(name)
                progress = end(plan, name, result.handle, found.joins)
                runs.update(progress.ready)
                skipped.update(progress.skipped)
            else:
                found.ready.append(name)
    found.copied.extend([inner for name in found.copied for inner in plan.bodies.get(name, ())])
    return found


def _is_kept(result: Settled, *, past_failure: bool) -> bool:
    if result.status == StepStatus.FAILED:
        return past_failure and result.handle == ERROR_HANDLE
    return result.status == StepStatus.SUCCESS


def _is_skipped(result: Settled | None) -> bool:
    return result is not None and result.status == StepStatus.SKIPPED


def _has_started(node: PlanNode, joins: Joins) -> bool:
    """Whether a join that need not wait for all of its edges has what it needs."""
    counts = joins.get(node.id)
    if counts is None:
        return False
    verdict = resolve(node.in_degree, node.need, counts.arrived, counts.fired, counts.arrived, counts.fired)
    return verdict is Verdict.RUN


def _behind(plan: Plan, node_id: str) -> set[str]:
    successors = {name: list(chain.from_iterable(node.outgoing.values())) for name, node in plan.nodes.items()}
    return reachable(successors, [node_id]) - {node_id}
