"""Nodes and edges as the graph core sees them, read from the raw lists of a definition.

The raw lists are never changed: they are what is stored and given back, drawing fields and all.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from shared.errors import Fault
from shared.graph.catalogue import (
    DOCUMENTATION_FIELDS,
    LINK_ROOT,
    OPERATION_FIELD,
    SETTINGS_FIELDS,
    Catalogue,
    Kind,
    Mode,
)
from shared.graph.settings import DEFAULT, NodeSettings, read_settings
from shared.graph.suggest import Nearest, clean, listed, shown

MAX_NODES: Final = 2_000
MAX_EDGES: Final = 10_000
MAX_EDGE_ID: Final = 255
RESERVED_IDS: Final = ("vault", "run", "workflow", "nodes", "env")
TRIGGER_ID: Final = "trigger"
ERROR_HANDLE: Final = "error"
#: The handles of an iterator: the body behind the first runs once per item, the second fires when all have ended.
ITEM_HANDLE: Final = "item"
DONE_HANDLE: Final = "done"
_NODE_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
_ENGINE_FIELDS: Final = frozenset((*SETTINGS_FIELDS, *DOCUMENTATION_FIELDS))


@dataclass(slots=True)
class Node:
    """One node of a definition, as far as it could be read.

    Attributes:
        path: where it stands: ``nodes[2]``.
        id: empty when it has no usable one.
        component: the canonical component id, or None when unknown; then kind and mode mean nothing.
        config: ``data`` without the engine's and the documentation fields.
        handles: its named handles if it has several, else empty: a single output takes any name.
        named: the same, to look one up in.
        roots: names its templates start with.
        links: the nodes whose links its templates name.
        asks: whether its own steps have links: they wait for answers.
    """

    path: str
    id: str
    component: str | None = None
    kind: Kind = Kind.ACTION
    mode: Mode = Mode.PURE
    config: dict[str, Any] = field(default_factory=dict)
    settings: NodeSettings = DEFAULT
    handles: tuple[str, ...] = ()
    named: frozenset[str] = frozenset()
    roots: frozenset[str] = frozenset()
    links: frozenset[str] = frozenset()
    asks: bool = False


@dataclass(slots=True)
class Edge:
    """One edge whose ends are both named. ``handle`` is None for a bare edge."""

    path: str
    id: str
    source: str
    target: str
    handle: str | None


class Reader:
    """Reads raw nodes and edges, collecting the faults of their shape.

    Attributes:
        complete: whether the nodes were read, so that an edge's end that is none of them is a fault.
    """

    def __init__(self, catalogue: Catalogue, faults: list[Fault], nearest: Nearest) -> None:
        self._catalogue = catalogue
        self._faults = faults
        self._nearest = nearest
        self.complete = True

    def nodes(self, raw: Any) -> list[Node]:
        """Every element that is an object; a list of the wrong size is not read at all."""
        self.complete = self._sized(raw, "nodes", 1, MAX_NODES)
        if not self.complete:
            return []
        read = (self.node(item, f"nodes[{index}]") for index, item in enumerate(raw))
        return [node for node in read if node is not None]

    def edges(self, raw: Any) -> list[Edge]:
        """Every element that names both its ends; a list of the wrong size is not read at all."""
        if not self._sized(raw, "edges", 0, MAX_EDGES):
            return []
        read = (self._edge(item, f"edges[{index}]") for index, item in enumerate(raw))
        return [edge for edge in read if edge is not None]

    def _fault(self, path: str, code: str, message: str) -> None:
        self._faults.append(Fault(path, code, message))

    def _sized(self, raw: Any, name: str, least: int, most: int) -> bool:
        if not isinstance(raw, list):
            self._fault(name, "invalid_type", f"{name} must be a list, not {shown(raw)}.")
            return False
        if not least <= len(raw) <= most:
            self._fault(name, "invalid_size", f"{name} must have {least} to {most} elements, not {len(raw)}.")
            return False
        return True

    def node(self, raw: Any, path: str) -> Node | None:
        """One node; None if it is no object."""
        if not isinstance(raw, dict):
            self._fault(path, "invalid_type", f"A node must be an object, not {shown(raw)}.")
            return None
        self._position(raw, path)
        node = Node(path, self._node_id(raw.get("id"), f"{path}.id"))
        data = raw.get("data", {})
        if not isinstance(data, dict):
            self._fault(f"{path}.data", "invalid_type", f"data must be an object, not {shown(data)}.")
            return node
        node.settings, faults = read_settings(data, f"{path}.data", self._nearest)
        self._faults.extend(faults)
        node.config = {name: value for name, value in data.items() if name not in _ENGINE_FIELDS}
        self._component(node, raw, data)
        return node

    def _position(self, raw: Mapping[str, Any], path: str) -> None:
        place = raw.get("position", {"x": 0, "y": 0})
        if not isinstance(place, dict) or not all(_is_number(place.get(axis)) for axis in "xy"):
            message = f'position must be an object {{"x": number, "y": number}}, not {shown(place)}.'
            self._fault(f"{path}.position", "invalid_value", message)

    def _node_id(self, value: Any, path: str) -> str:
        rule = "1-64 letters, digits, underscores or hyphens"
        if value is None:
            self._fault(path, "required", f"A node needs an id: {rule}.")
        elif not isinstance(value, str) or not _NODE_ID.fullmatch(value):
            self._fault(path, "invalid_id", f"A node's id must be {rule}, not {shown(value)}.")
        elif value in RESERVED_IDS:
            words = ", ".join(RESERVED_IDS)
            self._fault(path, "reserved_id", f"{shown(value)} means something in templates; no node may be: {words}.")
        return value if isinstance(value, str) else ""

    def _component(self, node: Node, raw: Mapping[str, Any], data: Mapping[str, Any]) -> None:
        stands = f"{node.path}.type" if data.get("componentId") is None else f"{node.path}.data.componentId"
        name = raw.get("type") if data.get("componentId") is None else data["componentId"]
        if name is None:
            path = f"{node.path}.data.componentId"
            self._fault(path, "required", "A node needs a node type: data.componentId, or type alone.")
        elif not isinstance(name, str):
            self._fault(stands, "invalid_type", f"The name of a node type must be a string, not {shown(name)}.")
        elif (component := self._catalogue.resolve(name)) is None:
            hint = self._nearest.hint(name, self._catalogue.names)
            known = f" There are: {listed(self._catalogue.names())}." if hint == "." else ""
            self._fault(stands, "unknown_component", f"There is no node type {shown(name)}{hint}{known}")
        else:
            self._typed(node, component)

    def _typed(self, node: Node, component: str) -> None:
        catalogue, path = self._catalogue, f"{node.path}.data"
        node.component = component
        node.kind = catalogue.kind(component) or Kind.ACTION
        node.mode = catalogue.mode(component)
        if not catalogue.operates(component):
            node.config.pop(OPERATION_FIELD, None)
        named = catalogue.handles(component, node.config)
        node.handles = named if len(named) > 1 else ()
        node.named = frozenset(node.handles)
        if ERROR_HANDLE in named:
            message = 'No handle may be called "error": it is the one that continue_on_error opens.'
            self._fault(path, "reserved_handle", message)
        node.asks = catalogue.asks(component)
        faults, roots = catalogue.check(component, node.config, path)
        node.links = frozenset(root.removeprefix(LINK_ROOT) for root in roots if root.startswith(LINK_ROOT))
        node.roots = frozenset(root for root in roots if not root.startswith(LINK_ROOT))
        # Names of fields stand in paths, and a caller may call a field anything.
        self._faults.extend(Fault(clean(fault.path), fault.code, clean(fault.message)) for fault in faults)

    def _edge(self, raw: Any, path: str) -> Edge | None:
        if not isinstance(raw, dict):
            self._fault(path, "invalid_type", f"An edge must be an object, not {shown(raw)}.")
            return None
        edge_id = self._end(raw, "id", path)
        if len(edge_id) > MAX_EDGE_ID:
            self._fault(f"{path}.id", "invalid_id", f"An edge's id must be at most {MAX_EDGE_ID} characters.")
        source, target = self._end(raw, "source", path), self._end(raw, "target", path)
        for name in ("sourceHandle", "targetHandle"):
            if not isinstance(raw.get(name), str | None):
                self._fault(
                    f"{path}.{name}", "invalid_type", f"{name} must be a string or null, not {shown(raw[name])}."
                )
                return None
        return Edge(path, edge_id, source, target, raw.get("sourceHandle")) if source and target else None

    def _end(self, raw: Mapping[str, Any], name: str, path: str) -> str:
        value = raw.get(name)
        if value is None:
            self._fault(f"{path}.{name}", "required", f"An edge needs {name}, a string.")
        elif not isinstance(value, str) or not value:
            self._fault(
                f"{path}.{name}", "invalid_type", f"{name} must be a string with something in it, not {shown(value)}."
            )
        return value if isinstance(value, str) else ""


def _is_number(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)
