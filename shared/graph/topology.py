"""Order, cycles and ancestors of a directed graph, in time linear in its edges (sets of nodes are bits of an int)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Successors = Mapping[str, Sequence[str]]


@dataclass(slots=True)
class Topology:
    """What one walk over the graph finds.

    Attributes:
        order: every node, each before what it leads to; edges that close a cycle are left out of account.
        cycles: disjoint cycles as node ids, the first not repeated at the end.
    """

    order: list[str] = field(default_factory=list)
    cycles: list[list[str]] = field(default_factory=list)


def explore(successors: Successors, roots: Sequence[str]) -> Topology:
    """Walk depth-first from each of ``roots`` (all nodes; the trigger first) without recursion."""
    found = Topology()
    done: set[str] = set()
    looped: set[str] = set()
    for root in roots:
        if root not in done:
            _walk(root, successors, done, looped, found)
    found.order.reverse()
    return found


def _walk(root: str, successors: Successors, done: set[str], looped: set[str], found: Topology) -> None:
    trail = [root]  # from root to here
    depth = {root: 0}
    pending = [_backwards(successors[root])]
    while pending:
        for target in pending[-1]:
            if target in depth:
                _close(trail, depth[target], looped, found)
            elif target not in done:
                depth[target] = len(trail)
                trail.append(target)
                pending.append(_backwards(successors[target]))
                break
        else:
            pending.pop()
            node = trail.pop()
            del depth[node]
            done.add(node)
            found.order.append(node)


def _backwards(targets: Sequence[str]) -> Iterator[str]:
    # The order is reversed in the end, so what is drawn first comes first in it.
    return iter(targets[::-1])


def _close(trail: Sequence[str], start: int, looped: set[str], found: Topology) -> None:
    if trail[start] in looped or trail[-1] in looped:
        return
    cycle = list(trail[start:])
    if looped.isdisjoint(cycle):
        found.cycles.append(cycle)
        looped.update(cycle)


def reachable(successors: Successors, roots: Sequence[str]) -> set[str]:
    """The nodes that some path from ``roots`` leads to, the roots included."""
    seen = set(roots)
    pending = list(roots)
    while pending:
        for target in successors[pending.pop()]:
            if target not in seen:
                seen.add(target)
                pending.append(target)
    return seen


def ancestors(order: Sequence[str], successors: Successors) -> dict[str, int]:
    """For each node, its ancestors as bits at their place in ``order``."""
    place = {node: index for index, node in enumerate(order)}
    above = dict.fromkeys(order, 0)
    for index, node in enumerate(order):
        mask = above[node] | 1 << index
        for target in successors[node]:
            if place[target] > index:  # an edge that closes a cycle makes no ancestor
                above[target] |= mask
    return above


def members(mask: int, order: Sequence[str]) -> list[str]:
    """The nodes whose bits are set, in order."""
    found = []
    while mask:
        lowest = mask & -mask
        found.append(order[lowest.bit_length() - 1])
        mask ^= lowest
    return found
