"""The rules of a graph, all faults at once."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import Fault
from shared.graph.catalogue import CONTEXT_ROOTS, Catalogue, Kind
from shared.graph.iterators import iterator_faults, scopes
from shared.graph.model import ERROR_HANDLE, TRIGGER_ID, Edge, Node, Reader
from shared.graph.settings import JoinCount, misplaced
from shared.graph.suggest import Nearest, clean, listed, shown
from shared.graph.topology import Topology, ancestors, explore, members, reachable
from shared.templates.limits import MARKUP
from shared.templates.syntax import markup_in

_CYCLE_SHOWN: Final = 12
_WORD: Final = re.compile(r"[A-Za-z0-9_-]+")
_ALWAYS: Final = frozenset({"run", "workflow", "vault", "nodes"})


@dataclass(slots=True)
class Graph:
    """A definition that was read, what is wrong with it, and what the rules found out on the way.

    Attributes:
        nodes: those with a usable id, in order of the definition; of two with one id, the first.
        edges: those between two such nodes, and not into the trigger.
        trigger: None unless there is exactly one.
        order: ids, each before what it leads to, the trigger first.
        above: for each node, its ancestors as bits at their place in ``order``.
        scopes: for each node, the iterators it lies in, outermost first.
    """

    nodes: dict[str, Node] = field(default_factory=dict)
    edges: list[Edge] = field(default_factory=list)
    trigger: Node | None = None
    order: list[str] = field(default_factory=list)
    above: dict[str, int] = field(default_factory=dict)
    scopes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


def validate(nodes: Any, edges: Any, catalogue: Catalogue) -> list[Fault]:
    """Every fault of a graph, in the order of the rules; empty if it may be saved.

    Args:
        nodes: the decoded ``nodes`` of a request, whatever they are.
        edges: the decoded ``edges``, likewise.
        catalogue: the node types there are.
    """
    return analyse(nodes, edges, catalogue).faults


def check_node(raw: Any, catalogue: Catalogue) -> tuple[Node | None, list[Fault]]:
    """One node that stands in no graph, and what is wrong with it wherever it stands; paths begin with ``node``."""
    if (too_much := _markup_fault(raw, "node")) is not None:
        return None, [too_much]
    faults: list[Fault] = []
    node = Reader(catalogue, faults, Nearest()).node(raw, "node")
    return node, faults if node is None else [*faults, *_settings_faults([node])]


def unseen_references(node: Node, seen: Collection[str]) -> list[Fault]:
    """Names in a node's templates that are neither of these outputs nor of what every run has."""
    nearest = Nearest()
    faults = []
    for root in sorted(node.roots - _ALWAYS - {*seen}):
        hint = nearest.hint(root, lambda: [*seen, *sorted(_ALWAYS)])
        rule = f"There is nothing called {shown(root)} in the context{hint}"
        faults.append(Fault(f"{node.path}.data{_places(node.config).get(root, '')}", "unknown_reference", rule))
    return faults


def analyse(nodes: Any, edges: Any, catalogue: Catalogue) -> Graph:
    """Read a graph and hold it against every rule."""
    graph = Graph()
    if (too_much := _markup_fault(nodes, "nodes")) is not None:  # reading them would take long
        graph.faults.append(too_much)
        return graph
    nearest = Nearest()
    reader = Reader(catalogue, graph.faults, nearest)
    read_nodes, read_edges = reader.nodes(nodes), reader.edges(edges)
    graph.nodes = _unique_nodes(read_nodes, graph.faults)
    graph.trigger = _one_trigger(read_nodes, graph.faults)
    graph.edges = list(_sound_edges(read_edges, graph, nearest)) if reader.complete else []
    graph.faults += _settings_faults(read_nodes)
    _arrange(graph, alone=edges == [])
    for edge in graph.edges:
        graph.faults += _handle_faults(edge, graph.nodes[edge.source], nearest)
    graph.faults += _join_faults(graph)
    graph.scopes = scopes(graph.nodes, graph.edges, graph.order)
    graph.faults += iterator_faults(graph.nodes, graph.edges, graph.scopes)
    graph.faults += _reference_faults(graph, nearest)
    graph.faults += _link_faults(graph, nearest)
    return graph


def _markup_fault(raw: Any, path: str) -> Fault | None:
    """That templates are too long in all to be read."""
    size = markup_in(raw)
    if size <= MARKUP:
        return None
    rule = f"The tags and expressions of all templates together have at most {MARKUP:,} characters, not {size:,}."
    return Fault(path, "templates_too_large", rule)


def _unique_nodes(nodes: list[Node], faults: list[Fault]) -> dict[str, Node]:
    unique: dict[str, Node] = {}
    for node in nodes:
        first = unique.setdefault(node.id, node)
        if node.id and first is not node:
            message = f"The id {shown(node.id)} is that of {first.path} already; ids of nodes are unique."
            faults.append(Fault(f"{node.path}.id", "duplicate_id", message))
    unique.pop("", None)
    return unique


def _one_trigger(nodes: list[Node], faults: list[Fault]) -> Node | None:
    triggers = [node for node in nodes if node.component is not None and node.kind is Kind.TRIGGER]
    for extra in triggers[1:]:
        message = f"A workflow has exactly one trigger, and {triggers[0].path} is one already."
        faults.append(Fault(extra.path, "several_triggers", message))
    if nodes and not triggers and all(node.component is not None for node in nodes):
        faults.append(Fault("nodes", "no_trigger", "A workflow needs exactly one trigger; none of these nodes is one."))
    for node in nodes:
        if node.id == TRIGGER_ID and node.component is not None and node.kind is not Kind.TRIGGER:
            message = 'Only the trigger itself may be called "trigger"; templates mean the trigger by it.'
            faults.append(Fault(f"{node.path}.id", "reserved_id", message))
    return triggers[0] if len(triggers) == 1 else None


def _sound_edges(edges: list[Edge], graph: Graph, nearest: Nearest) -> Iterator[Edge]:
    """The edges that the other rules may look at; the rest are faults."""
    seen: dict[str, Edge] = {}
    for edge in edges:
        first = seen.setdefault(edge.id, edge)
        if edge.id and first is not edge:
            message = f"The id {shown(edge.id)} is that of {first.path} already; ids of edges are unique."
            graph.faults.append(Fault(f"{edge.path}.id", "duplicate_id", message))
        faults = list(_end_faults(edge, graph, nearest))
        graph.faults += faults
        if not faults:
            yield edge


def _end_faults(edge: Edge, graph: Graph, nearest: Nearest) -> Iterator[Fault]:
    for name, end in (("source", edge.source), ("target", edge.target)):
        if end not in graph.nodes:
            hint = nearest.hint(end, lambda: list(graph.nodes))
            yield Fault(f"{edge.path}.{name}", "unknown_node", f"There is no node with the id {shown(end)}{hint}")
    target = graph.nodes.get(edge.target)
    if target is not None and target.component is not None and target.kind is Kind.TRIGGER:
        yield Fault(f"{edge.path}.target", "edge_into_trigger", "No edge may lead into the trigger: it starts the run.")


def _settings_faults(nodes: list[Node]) -> Iterator[Fault]:
    for node in nodes:
        if node.component is not None:
            yield from misplaced(node.settings, node.kind, node.mode, node.handles, f"{node.path}.data")


def _arrange(graph: Graph, *, alone: bool) -> None:
    """Find order and ancestors, and the faults of the graph's shape: cycles and nodes that nothing leads to."""
    successors: dict[str, list[str]] = {node: [] for node in graph.nodes}
    for edge in graph.edges:
        successors[edge.source].append(edge.target)
    start = graph.trigger.id if graph.trigger else ""
    found = explore(successors, [start, *graph.nodes] if start in graph.nodes else list(graph.nodes))
    graph.order = found.order
    graph.above = ancestors(found.order, successors)
    graph.faults += _cycle_faults(found, graph.edges)
    if alone and len(graph.nodes) > 1:
        message = "edges may be empty only if the trigger stands alone; nothing leads to the other nodes."
        graph.faults.append(Fault("edges", "required", message))
    elif start in graph.nodes:
        graph.faults += _unreachable_faults(graph, reachable(successors, [start]))


def _cycle_faults(found: Topology, edges: list[Edge]) -> Iterator[Fault]:
    if not found.cycles:
        return
    by_ends = {(edge.source, edge.target): edge for edge in edges}
    for cycle in found.cycles:
        names = [shown(name) for name in (*cycle, cycle[0])]
        if len(names) > _CYCLE_SHOWN:
            names[_CYCLE_SHOWN // 2 : -_CYCLE_SHOWN // 2] = [f"... {len(names) - _CYCLE_SHOWN} more ..."]
        path = by_ends[cycle[-1], cycle[0]].path
        yield Fault(path, "cycle", f"A graph has no cycles; this edge closes one: {' -> '.join(names)}.")


def _unreachable_faults(graph: Graph, reached: set[str]) -> Iterator[Fault]:
    for node in graph.nodes.values():
        if node.id not in reached:
            message = f"Nothing leads from the trigger to {shown(node.id)}; every node must be reachable."
            yield Fault(node.path, "unreachable_node", message)


def _handle_faults(edge: Edge, source: Node, nearest: Nearest) -> Iterator[Fault]:
    if source.component is None or edge.handle in source.named:
        return
    path = f"{edge.path}.sourceHandle"
    opened = source.settings.continue_on_error
    if edge.handle == ERROR_HANDLE:
        if not opened:
            message = f'{shown(source.id)} has no handle "error": only an action with continue_on_error has one.'
            yield Fault(path, "unknown_handle", message)
    elif source.handles:
        legal = (*source.handles, ERROR_HANDLE) if opened else source.handles
        if edge.handle is None:
            rule, code = f"{shown(source.id)} has several handles, so an edge names one.", "handle_required"
        else:
            hint = nearest.hint(edge.handle, lambda: legal)
            rule, code = f"{shown(source.id)} has no handle {shown(edge.handle)}{hint}", "unknown_handle"
        yield Fault(path, code, f"{rule} Legal here: {listed(legal)}.")


def _join_faults(graph: Graph) -> Iterator[Fault]:
    incoming = Counter(edge.target for edge in graph.edges)
    for node in graph.nodes.values():
        join = node.settings.join
        if isinstance(join, JoinCount) and join.count > incoming[node.id] and node.kind is not Kind.TRIGGER:
            message = f"count is {join.count}, and only {incoming[node.id]} edges lead here; it could never run."
            yield Fault(f"{node.path}.data.join.count", "invalid_value", message)


def _reference_faults(graph: Graph, nearest: Nearest) -> Iterator[Fault]:
    """Templates may name ancestors and the roots of the context, and nothing else."""
    place = {node: index for index, node in enumerate(graph.order)}
    for node in graph.nodes.values():
        above = graph.above[node.id]
        wrong = [root for root in node.roots - _ALWAYS if root not in place or not above >> place[root] & 1]
        if node is not graph.trigger and TRIGGER_ID in wrong:
            wrong.remove(TRIGGER_ID)
        if wrong:
            yield from _wrong_references(node, sorted(wrong), graph, nearest)


def _wrong_references(node: Node, wrong: list[str], graph: Graph, nearest: Nearest) -> Iterator[Fault]:
    stands = _places(node.config)
    for root in wrong:
        hint = nearest.hint(root, lambda: [*members(graph.above[node.id], graph.order), *CONTEXT_ROOTS])
        if root in graph.nodes:
            rule = f"{shown(root)} does not run before {shown(node.id)}, and a template sees the outputs of ancestors"
        else:
            rule = f"There is nothing called {shown(root)} that a template here could see"
        yield Fault(f"{node.path}.data{stands.get(root, '')}", "unknown_reference", f"{rule}{hint}")


def _link_faults(graph: Graph, nearest: Nearest) -> Iterator[Fault]:
    """Templates may name the links of steps that wait for answers, outside iterators that the node does not lie in."""
    asking = [node.id for node in graph.nodes.values() if node.asks]
    for node in graph.nodes.values():
        around = graph.scopes[node.id] if node.links else ()
        for name in sorted(node.links):
            if name not in asking:
                rule = f"There is no node {shown(name)} that waits for an answer{nearest.hint(name, lambda: asking)}"
            elif graph.scopes[name] != around[: len(graph.scopes[name])]:
                rule = (
                    f"{shown(name)} has a link for each item of its iterator, and {shown(node.id)} is in none of them."
                )
            else:
                continue
            at = _places(node.config).get(name, "")
            yield Fault(f"{node.path}.data{at}", "unknown_reference", rule)


def _places(config: Mapping[str, Any]) -> dict[str, str]:
    """For each word of the templates in ``data``, the first field it stands in."""
    places: dict[str, str] = {}
    pending: list[tuple[str, Any]] = [("", config)]
    for path, value in pending:
        if isinstance(value, str) and "{" in value:
            for word in _WORD.findall(value):
                places.setdefault(word, path)
        elif isinstance(value, dict):
            pending.extend((f"{path}.{clean(name)}", item) for name, item in value.items())
        elif isinstance(value, list):
            pending.extend((f"{path}[{index}]", item) for index, item in enumerate(value))
    return places
