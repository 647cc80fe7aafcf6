"""Definitions for tests: a small catalogue, builders of raw nodes and edges, and random valid graphs."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from shared.errors import Fault
from shared.graph.catalogue import Kind, Mode

TYPES = {
    "manual_trigger": (Kind.TRIGGER, Mode.PURE),
    "text": (Kind.ACTION, Mode.PURE),
    "http": (Kind.ACTION, Mode.EFFECT),
    "delay": (Kind.ACTION, Mode.WAIT),
    "condition": (Kind.CONDITION, Mode.PURE),
    "switch": (Kind.CONDITION, Mode.PURE),
    "sorter": (Kind.ACTION, Mode.PURE),
}
ALIASES = {"start": "manual_trigger"}
LEGAL = ("refs", "cases", "url", "nested")
HANDLES = {"condition": ("true", "false"), "sorter": ("valid", "invalid")}


class SmallCatalogue:
    """Seven node types. ``data.refs`` lists the roots that a node's templates use; ``data.cases`` names handles."""

    def resolve(self, component: str) -> str | None:
        component = ALIASES.get(component, component)
        return component if component in TYPES else None

    def names(self) -> Sequence[str]:
        return list(TYPES)

    def kind(self, component: str) -> Kind | None:
        return TYPES[component][0]

    def mode(self, component: str) -> Mode:
        return TYPES[component][1]

    def operates(self, component: str) -> bool:
        return False

    def asks(self, component: str) -> bool:
        return component == "delay"

    def handles(self, component: str, data: Mapping[str, Any]) -> tuple[str, ...]:
        if component == "switch":
            cases = data.get("cases")
            names = [case for case in cases if isinstance(case, str)] if isinstance(cases, list) else []
            return (*names, "default")
        return HANDLES.get(component, ())

    def check(self, component: str, data: Mapping[str, Any], path: str) -> tuple[list[Fault], frozenset[str]]:
        faults = [
            Fault(f"{path}.{name}", "unknown_field", f"There is no field {name}.") for name in data if name not in LEGAL
        ]
        refs = data.get("refs")
        return faults, frozenset(ref for ref in refs if isinstance(ref, str)) if isinstance(refs, list) else frozenset()


CATALOGUE = SmallCatalogue()


def node(node_id: str, component: str = "text", **data: Any) -> dict[str, Any]:
    """A raw node."""
    return {
        "id": node_id,
        "type": "action",
        "position": {"x": 1, "y": 2.5},
        "data": {"componentId": component, **data},
    }


def edge(source: str, target: str, handle: str | None = None, edge_id: str | None = None) -> dict[str, Any]:
    """A raw edge, bare without ``handle``."""
    raw = {"id": edge_id or f"{source}-{handle}-{target}", "source": source, "target": target}
    return raw if handle is None else {**raw, "sourceHandle": handle}


def chain(length: int, component: str = "text") -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A trigger ``t`` and ``length`` nodes ``n0``, ``n1``... behind it."""
    names = ["t", *(f"n{index}" for index in range(length))]
    nodes = [node("t", "manual_trigger"), *(node(name, component) for name in names[1:])]
    return nodes, [edge(one, two) for one, two in pairwise(names)]


def outputs(raw: Mapping[str, Any]) -> list[str | None]:
    """The handles on which a raw node of a random graph may end."""
    data = raw["data"]
    named = CATALOGUE.handles(data["componentId"], data)
    error = ["error"] if data.get("continue_on_error") else []
    return [*(named or [None]), *error]


@st.composite
def graphs(draw: st.DrawFn, *, joins: bool = True, size: int = 12) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A valid graph: conditions, switches, error handles, dead ends, parallel edges, references, maybe counts."""
    count = draw(st.integers(1, size))
    nodes = [node("n0", "manual_trigger")]
    edges: list[dict[str, Any]] = []
    above: dict[str, set[str]] = {"n0": set()}
    for index in range(1, count):
        raw = node(f"n{index}", draw(st.sampled_from(["text", "http", "delay", "condition", "switch", "sorter"])))
        _decorate(draw, raw)
        incoming = draw(st.lists(st.integers(0, index - 1), min_size=1, max_size=4))
        above[raw["id"]] = set()
        for source in incoming:
            handle = draw(st.sampled_from(outputs(nodes[source])))
            edges.append(edge(f"n{source}", raw["id"], handle, f"e{len(edges)}"))
            above[raw["id"]] |= {f"n{source}", *above[f"n{source}"]}
        if joins:
            counted = st.integers(1, len(incoming)).map(lambda number: {"count": number})
            raw["data"]["join"] = draw(st.one_of(st.sampled_from(["all", "any"]), counted))
        raw["data"]["refs"] = draw(st.lists(st.sampled_from(sorted(above[raw["id"]])), max_size=2))
        nodes.append(raw)
    return nodes, draw(st.permutations(edges))


def _decorate(draw: st.DrawFn, raw: dict[str, Any]) -> None:
    data = raw["data"]
    if data["componentId"] == "switch":
        data["cases"] = draw(st.sampled_from([["a"], ["a", "b"], ["a", "b", "c"]]))
    if data["componentId"] in {"text", "http", "delay", "sorter"}:
        data["continue_on_error"] = draw(st.booleans())
