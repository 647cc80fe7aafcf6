"""The compiled form of a graph: everything a walk needs, so that the engine never looks at a definition again."""

import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

import msgspec

from shared.errors import EdgewiseError, InvalidError
from shared.graph.catalogue import Catalogue, Kind, Mode
from shared.graph.model import ERROR_HANDLE, ITEM_HANDLE, TRIGGER_ID, Edge, Node
from shared.graph.settings import JoinCount, NodeSettings
from shared.graph.topology import ancestors, members
from shared.graph.validate import Graph, analyse

#: Rises with every change that older code would misread. A plan of another format is compiled again from its source.
PLAN_FORMAT: Final = 3
UNNAMED: Final = ""
_TIMEOUT: Final = 300.0
_WAIT_TIMEOUT: Final = 7 * 24 * 3600.0


class PlanFormatError(EdgewiseError):
    """A stored plan has another format than this code reads, or none."""


class PlanNode(msgspec.Struct, frozen=True):
    """One node of a plan.

    Attributes:
        component: the canonical component id.
        mode: how the engine runs it; a disabled node is pure, since all it does is pass its input on.
        data: its configuration, without the fields of the engine and the documentation.
        timeout: seconds an attempt may take.
        handles: its named handles if it has several; empty for the single unnamed output.
        in_degree: how many edges lead here.
        need: 0: runs once all of them are settled and one fired; n: at the n-th that fires.
        outgoing: targets by handle, ``""`` for the unnamed output; two edges to one target are two entries.
        effect_ahead: this node or one behind it is an effect or a wait.
        references: ids of the ancestors its own templates name.
        reads_all: its templates look up ``nodes`` by a computed id, so any ancestor may be meant.
        scope: the iterators it lies in, outermost first.
    """

    id: str
    component: str
    kind: Kind
    mode: Mode
    data: dict[str, Any]
    settings: NodeSettings
    timeout: float
    handles: tuple[str, ...]
    in_degree: int
    need: int
    outgoing: dict[str, tuple[str, ...]]
    effect_ahead: bool
    references: tuple[str, ...]
    reads_all: bool
    scope: tuple[str, ...] = ()


class Group(NamedTuple):
    """The targets of one handle: ``singles`` have one incoming edge, ``joins`` several (beside it: edges from here)."""

    handle: str
    singles: tuple[str, ...]
    joins: tuple[tuple[str, int], ...]


class Plan(msgspec.Struct, frozen=True, dict=True):
    """A compiled graph; ``nodes`` by id, each before what it leads to, the trigger first."""

    format: int
    trigger: str
    nodes: dict[str, PlanNode]

    @cached_property
    def groups(self) -> dict[str, tuple[Group, ...]]:
        """For each node but for iterators' bodies, its targets by handle, split for `shared.graph.advance`."""
        return {name: _groups(node, self.nodes, of_items=False) for name, node in self.nodes.items()}

    @cached_property
    def item_groups(self) -> dict[str, tuple[Group, ...]]:
        """For each iterator, what an item begins with."""
        return {name: _groups(self.nodes[name], self.nodes, of_items=True) for name in self.bodies}

    @cached_property
    def bodies(self) -> dict[str, tuple[str, ...]]:
        """For each iterator, the nodes inside it, those of iterators in it included."""
        inside: dict[str, list[str]] = {name: [] for name, node in self.nodes.items() if node.mode is Mode.ITERATE}
        for name, node in self.nodes.items():
            for iterator in node.scope:
                inside[iterator].append(name)
        return {iterator: tuple(names) for iterator, names in inside.items()}

    @cached_property
    def leaves(self) -> dict[str, tuple[str, ...]]:
        """For each iterator, the nodes of its body proper that nothing follows: what they give out are its results."""
        return {
            iterator: tuple(name for name in names if self._is_leaf(name, iterator))
            for iterator, names in self.bodies.items()
        }

    def _is_leaf(self, name: str, iterator: str) -> bool:
        node = self.nodes[name]
        return node.scope[-1] == iterator and _is_last(node)

    @cached_property
    def ends(self) -> tuple[str, ...]:
        """The nodes behind the trigger, outside iterators, that nothing follows: what they give out is the run's."""
        return tuple(
            name for name, node in self.nodes.items() if name != self.trigger and not node.scope and _is_last(node)
        )

    @cached_property
    def read_iterators(self) -> frozenset[str]:
        """The iterators whose results a node behind them reads, or an iterator around them gives out."""
        read: set[str] = set()
        for node in self.nodes.values():
            read.update(other for other in self.bodies if self._reads_results(node, other))
        return frozenset(read)

    def _reads_results(self, node: PlanNode, iterator: str) -> bool:
        if iterator in node.scope:
            return False
        return iterator in node.references or (
            (node.reads_all or node.settings.disabled) and iterator in self.ancestors_of(node.id)
        )

    def ancestors_of(self, node_id: str) -> list[str]:
        """The ids of a node's ancestors, in the order of the plan."""
        return members(self._above[node_id], self._order)

    @cached_property
    def _above(self) -> dict[str, int]:
        return ancestors(self._order, {name: _targets(node) for name, node in self.nodes.items()})

    @cached_property
    def _order(self) -> list[str]:
        return list(self.nodes)

    @cached_property
    def _wanted(self) -> dict[str, int]:
        """For each node, the ancestors it or a node behind it reads or passes on, as bits by their place."""
        place = {name: index for index, name in enumerate(self._order)}
        successors = {name: _targets(node) for name, node in self.nodes.items()}
        above = self._above
        passed_on = self._passed_on(place)
        read: dict[str, int] = {}
        for name in reversed(self._order):
            node = self.nodes[name]
            mask = above[name] if node.reads_all else sum(1 << place[other] for other in node.references)
            mask |= passed_on.get(name, 0)
            for target in successors[name]:
                mask |= read[target]
            read[name] = mask
        return {name: mask & above[name] for name, mask in read.items()}

    def _passed_on(self, place: Mapping[str, int]) -> dict[str, int]:
        """For each disabled node, the nodes before it: it passes the output of one of them on."""
        masks = {name: 0 for name, node in self.nodes.items() if node.settings.disabled}
        if masks:
            for name, node in self.nodes.items():
                for target in _targets(node):
                    if target in masks:
                        masks[target] |= 1 << place[name]
        return masks

    def needs(self, node_id: str) -> list[str]:
        """The ancestors whose outputs a walk from this node on can read, in the order of the plan.

        Kept as bits until asked for: written out for all nodes they could be 2,000 times 2,000 ids.
        """
        return members(self._wanted[node_id], self._order)


def compile_plan(nodes: Any, edges: Any, catalogue: Catalogue) -> Plan:
    """Compile a graph.

    Raises:
        InvalidError: with every fault, if the graph may not be saved.
    """
    graph = analyse(nodes, edges, catalogue)
    trigger = graph.trigger
    if graph.faults or trigger is None:
        raise InvalidError("invalid_graph", "The graph breaks rules; see errors.", faults=graph.faults)
    outgoing, in_degree = _wire(graph)
    ahead = _effects_ahead(graph, outgoing)
    compiled = {
        name: _plan_node(
            graph.nodes[name], trigger.id, in_degree[name], outgoing[name], graph.scopes[name], effect_ahead=ahead[name]
        )
        for name in graph.order
    }
    return Plan(PLAN_FORMAT, trigger.id, compiled)


def encode_plan(plan: Plan) -> bytes:
    """The plan as JSON text in UTF-8; lone surrogates in ``data`` stand as escapes."""
    try:
        return msgspec.json.encode(plan)
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(plan), separators=(",", ":")).encode()


def decode_plan(text: bytes | str) -> Plan:
    """The plan of a stored text.

    Raises:
        PlanFormatError: if it is of another format; compile the definition again.
    """
    try:
        return _checked(msgspec.json.decode(text, type=Plan))
    except msgspec.DecodeError as error:
        return _decode_slowly(text, error)


def _decode_slowly(text: bytes | str, cause: msgspec.DecodeError) -> Plan:
    # The standard library reads the lone surrogates that msgspec refuses.
    try:
        return _checked(msgspec.convert(json.loads(text), Plan))
    except (ValueError, msgspec.ValidationError):
        message = f"This is no plan of format {PLAN_FORMAT}: {cause}."
        raise PlanFormatError("plan_format", message) from cause


def _checked(plan: Plan) -> Plan:
    if plan.format != PLAN_FORMAT:
        raise PlanFormatError("plan_format", f"The plan has format {plan.format}; this process reads {PLAN_FORMAT}.")
    return plan


def _wire(graph: Graph) -> tuple[dict[str, dict[str, list[str]]], dict[str, int]]:
    """Targets by handle for each node, and how many edges lead to each."""
    outgoing: dict[str, dict[str, list[str]]] = {name: {} for name in graph.nodes}
    in_degree = dict.fromkeys(graph.nodes, 0)
    for edge in graph.edges:
        key = _handle_key(edge, graph.nodes[edge.source])
        outgoing[edge.source].setdefault(key, []).append(edge.target)
        in_degree[edge.target] += 1
    return outgoing, in_degree


def _handle_key(edge: Edge, source: Node) -> str:
    return (
        edge.handle
        if edge.handle is not None and (edge.handle == ERROR_HANDLE or edge.handle in source.named)
        else UNNAMED
    )


def _effects_ahead(graph: Graph, outgoing: Mapping[str, Mapping[str, Sequence[str]]]) -> dict[str, bool]:
    ahead: dict[str, bool] = {}
    for name in reversed(graph.order):
        behind = any(ahead[target] for targets in outgoing[name].values() for target in targets)
        ahead[name] = behind or _mode(graph.nodes[name]) is not Mode.PURE
    return ahead


def _plan_node(
    node: Node,
    trigger: str,
    in_degree: int,
    outgoing: Mapping[str, Sequence[str]],
    scope: tuple[str, ...],
    *,
    effect_ahead: bool,
) -> PlanNode:
    default = _WAIT_TIMEOUT if node.mode is Mode.WAIT else _TIMEOUT
    references = {trigger if root == TRIGGER_ID else root for root in node.roots}
    return PlanNode(
        id=node.id,
        component=node.component or "",
        kind=node.kind,
        mode=_mode(node),
        data=node.config,
        settings=node.settings,
        timeout=node.settings.timeout or default,
        handles=node.handles,
        in_degree=in_degree,
        need=_need(node.settings),
        outgoing={handle: tuple(targets) for handle, targets in outgoing.items()},
        effect_ahead=effect_ahead,
        references=tuple(sorted(references - {"run", "workflow", "vault", "nodes"})),
        reads_all="nodes" in references,
        scope=scope,
    )


def _mode(node: Node) -> Mode:
    return Mode.PURE if node.settings.disabled else node.mode


def _need(settings: NodeSettings) -> int:
    if isinstance(settings.join, JoinCount):
        return settings.join.count
    return 1 if settings.join == "any" else 0


def _is_last(node: PlanNode) -> bool:
    return not node.outgoing.keys() - {ITEM_HANDLE if node.mode is Mode.ITERATE else None}


def _targets(node: PlanNode) -> list[str]:
    return [target for targets in node.outgoing.values() for target in targets]


def _groups(node: PlanNode, nodes: Mapping[str, PlanNode], *, of_items: bool) -> tuple[Group, ...]:
    groups = []
    for handle, targets in node.outgoing.items():
        if (node.mode is Mode.ITERATE and handle == ITEM_HANDLE) is not of_items:
            continue
        singles = tuple(target for target in targets if nodes[target].in_degree == 1)
        joins = {target: targets.count(target) for target in targets if nodes[target].in_degree > 1}
        groups.append(Group(handle, singles, tuple(joins.items())))
    return tuple(groups)
