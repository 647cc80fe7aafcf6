"""The bodies of iterators: which nodes lie in them, and the rules they keep."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from shared.errors import Fault
from shared.graph.catalogue import Mode
from shared.graph.model import ITEM_HANDLE, Edge, Node
from shared.graph.suggest import shown
from shared.graph.topology import reachable

MAX_LEVELS: Final = 5


def scopes(nodes: Mapping[str, Node], edges: Sequence[Edge], order: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """For each node, the iterators whose bodies it lies in, outermost first.

    A body is what can be reached from the iterator's handle ``item``.
    """
    inside: dict[str, list[str]] = {name: [] for name in nodes}
    iterators = [name for name in order if _iterates(nodes[name])]
    if iterators:
        successors: dict[str, list[str]] = {name: [] for name in nodes}
        for edge in edges:
            successors[edge.source].append(edge.target)
        for iterator in iterators:  # an outer one stands before those in its body
            for name in reachable(successors, _entries(iterator, edges)):
                inside[name].append(iterator)
    return {name: tuple(found) for name, found in inside.items()}


def iterator_faults(
    nodes: Mapping[str, Node], edges: Sequence[Edge], inside: Mapping[str, tuple[str, ...]]
) -> Iterator[Fault]:
    """What is wrong with bodies: an empty one, one that joins the outside, too many in one another."""
    iterators = [node for node in nodes.values() if _iterates(node)]
    if not iterators:
        return
    for node in iterators:
        if not _entries(node.id, edges):
            message = f'{shown(node.id)} needs an edge from its handle "{ITEM_HANDLE}": what it does with each item.'
            yield Fault(node.path, "empty_body", message)
        if len(inside[node.id]) >= MAX_LEVELS:
            message = f"Iterators may stand {MAX_LEVELS} deep in one another; {shown(node.id)} would be one more."
            yield Fault(node.path, "too_deep", message)
    yield from _joins_outside(nodes, edges, inside)


def _joins_outside(
    nodes: Mapping[str, Node], edges: Sequence[Edge], inside: Mapping[str, tuple[str, ...]]
) -> Iterator[Fault]:
    for edge in edges:
        begins = _iterates(nodes[edge.source]) and edge.handle == ITEM_HANDLE
        around = {*inside[edge.source], *([edge.source] if begins else [])}
        for iterator in inside[edge.target]:
            if iterator not in around:
                message = (
                    f"{shown(edge.target)} lies in the body of the iterator {shown(iterator)} and {shown(edge.source)}"
                    " does not; a body may not join the outside."
                )
                yield Fault(f"{edge.path}.target", "body_joins_outside", message)


def _entries(iterator: str, edges: Sequence[Edge]) -> list[str]:
    return [edge.target for edge in edges if edge.source == iterator and edge.handle == ITEM_HANDLE]


def _iterates(node: Node) -> bool:
    return node.component is not None and node.mode is Mode.ITERATE
