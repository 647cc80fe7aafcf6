"""Random workflows for the simulation, how each of their steps is fated to end, and what must come of it.

A step's fate depends on its node, its item and the seed alone, never on the schedule, so the end of a run is known
before it starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from shared.graph.catalogue import Kind, Mode
from shared.graph.plan import Plan, compile_plan, decode_plan, encode_plan
from tests.graphs import SmallCatalogue, edge, graphs, node, outputs

#: A node's end that fires none of its edges: a failure that nothing catches.
FAILS: Final = "!"
_EACH: Final = "each"
Raw = dict[str, Any]


class Catalogue(SmallCatalogue):
    """The small catalogue, and an iterator."""

    def resolve(self, component: str) -> str | None:
        return component if component == _EACH else super().resolve(component)

    def kind(self, component: str) -> Kind | None:
        return Kind.ACTION if component == _EACH else super().kind(component)

    def mode(self, component: str) -> Mode:
        return Mode.ITERATE if component == _EACH else super().mode(component)

    def handles(self, component: str, data: Mapping[str, Any]) -> tuple[str, ...]:
        return ("item", "done") if component == _EACH else super().handles(component, data)


class Fate(NamedTuple):
    """How a step ends.

    Attributes:
        handle: on which; `FAILS` for none.
        failures: attempts that fail before that; all of them for ``error`` and `FAILS`.
        terminate: what it ends the run with.
    """

    handle: str | None
    failures: int
    terminate: str | None = None


@dataclass
class Shape:
    """A workflow: raw nodes and edges, and a seed for its steps' fates.

    Attributes:
        finish_branches: whether a failure lets the other branches end.
    """

    nodes: list[Raw]
    edges: list[Raw]
    seed: int
    finish_branches: bool = False
    _fates: dict[tuple[str, str], Fate] = field(default_factory=dict)

    @cached_property
    def plan(self) -> Plan:
        """As a worker has it: read back from its stored form."""
        return decode_plan(encode_plan(compile_plan(self.nodes, self.edges, Catalogue())))

    @cached_property
    def _raw(self) -> dict[str, Raw]:
        return {raw["id"]: raw for raw in self.nodes}

    def references(self, node_id: str) -> Sequence[str]:
        """The nodes it reads."""
        found: Sequence[str] = self._raw[node_id]["data"].get("refs", ())
        return found

    def items(self, node_id: str, item: str) -> int:
        """How many items an iterator goes over."""
        return Random(f"{self.seed} {node_id} {item} items").randrange(4)

    def concurrency(self, node_id: str) -> int:
        """How many of them at once."""
        return Random(f"{self.seed} {node_id}").randint(1, 3)

    def halts(self, node_id: str) -> bool:
        """Whether a failed item stops an iterator."""
        return Random(f"{self.seed} {node_id} halts").random() < 0.5

    def fate(self, node_id: str, item: str) -> Fate:
        """How a step ends; an iterator's own failure is left aside."""
        found = self._fates.get((node_id, item))
        if found is None:
            found = self._fates[node_id, item] = self._draw(node_id, item)
        return found

    def _draw(self, node_id: str, item: str) -> Fate:
        random, raw, planned = Random(f"{self.seed} {node_id} {item}"), self._raw[node_id], self.plan.nodes[node_id]
        if planned.mode is Mode.ITERATE:
            return Fate("done", 0)
        handle = random.choice(outputs(raw))
        if planned.kind is not Kind.ACTION:
            return Fate(handle, 0)
        attempts = planned.settings.retry.max_attempts if planned.settings.retry else 1
        if handle == "error":
            return Fate(handle, attempts)
        if not planned.settings.continue_on_error and random.random() < (0.25 if item != "-" else 0.08):
            return Fate(FAILS, attempts)
        if planned.mode is Mode.PURE and not planned.scope and random.random() < 0.03:
            return Fate(handle, 0, random.choice(["completed", "failed"]))
        return Fate(handle, random.randrange(attempts) if planned.mode is Mode.EFFECT else 0)


class Expected(NamedTuple):
    """What must come of a run that nobody cancels.

    Attributes:
        runs: for each node and item, whether it runs (or is skipped) if it is settled at all.
        loose: nodes and items that may also be cut off: they lie in an item that failed, or that was stopped.
        cut: whether steps outside all items may be cut off too: the run is ended before its last step.
        endings: statuses it may end with.
    """

    runs: dict[tuple[str, str], bool]
    loose: set[tuple[str, str]]
    cut: bool
    endings: set[str]


def expected(shape: Shape) -> Expected:
    """Look at every edge again and again until nothing changes, level by level."""
    model = _Model(shape)
    failing = model.level((), "-")
    terminates = {fate for key, runs in model.runs.items() if runs and (fate := shape.fate(*key).terminate)}
    endings = {*terminates, *(["failed"] if failing else []), *([] if terminates or failing else ["completed"])}
    cut = bool(terminates) or (failing and not shape.finish_branches)
    return Expected(model.runs, model.loose, cut, endings)


class _Model:
    def __init__(self, shape: Shape) -> None:
        self.runs: dict[tuple[str, str], bool] = {}
        self.loose: set[tuple[str, str]] = set()
        self._shape = shape

    def level(self, scope: tuple[str, ...], item: str) -> bool:
        """Settle the nodes of one item (or outside all); whether a failure is left that nothing catches."""
        ends: dict[str, str | None] = {}
        names = [name for name, node in self._shape.plan.nodes.items() if node.scope == scope]
        while True:
            before = len(ends)
            for name in names:
                if name not in ends and (verdict := self._verdict(name, scope, ends)) is not None:
                    self.runs[name, item] = verdict
                    ends[name] = self._end(name, item) if verdict else ""
            if len(ends) == before:
                return FAILS in ends.values()

    def _verdict(self, name: str, scope: tuple[str, ...], ends: Mapping[str, str | None]) -> bool | None:
        """Whether a node runs; None if that is not decided."""
        planned = self._shape.plan.nodes[name]
        if planned.kind is Kind.TRIGGER:
            return True
        incoming = [raw for raw in self._shape.edges if raw["target"] == name]
        entered = [raw for raw in incoming if scope and raw["source"] == scope[-1]]
        settled = [raw for raw in incoming if raw["source"] in ends and raw not in entered]
        fired = len(entered) + sum(self._fires(raw, ends[raw["source"]]) for raw in settled)
        done = len(settled) + len(entered) == len(incoming)
        if done or (planned.need and fired >= planned.need):
            return fired >= (planned.need or 1)
        return None

    def _fires(self, raw: Raw, end: str | None) -> bool:
        handle = raw.get("sourceHandle")
        if end in {FAILS, ""} or end == "error" or handle == "error":
            return end == handle
        return end == handle or not self._shape.plan.nodes[raw["source"]].handles

    def _end(self, name: str, item: str) -> str | None:
        planned = self._shape.plan.nodes[name]
        if planned.mode is not Mode.ITERATE:
            return self._shape.fate(name, item).handle
        count = self._shape.items(name, item)
        paths = [str(place) if item == "-" else f"{item}.{place}" for place in range(count)]
        failed = {path for path in paths if self.level((*planned.scope, name), path)}
        halted = bool(failed) and self._shape.halts(name)
        cut = paths if halted else failed
        self.loose |= {key for key in self.runs if any(key[1] == path or key[1].startswith(f"{path}.") for path in cut)}
        if not halted:
            return "done"
        return "error" if planned.settings.continue_on_error else FAILS


@st.composite
def shapes(draw: st.DrawFn, *, depth: int = 2, size: int = 7) -> Shape:
    """A workflow of up to ``depth`` iterators in one another."""
    nodes, edges = _level(draw, "", depth, size)
    return Shape(nodes, edges, draw(st.integers(0, 2**32)), draw(st.booleans()))


def _level(draw: st.DrawFn, prefix: str, depth: int, size: int) -> tuple[list[Raw], list[Raw]]:
    nodes, edges = draw(graphs(size=size))
    nodes, edges = _renamed(nodes, edges, prefix)
    for raw in nodes:
        if raw["data"]["componentId"] == "http" and draw(st.booleans()):
            raw["data"]["retry"] = {"max_attempts": draw(st.integers(2, 3)), "delay": 2, "on": ["error"]}
    if depth and draw(st.integers(0, 3)):
        _add_iterator(draw, nodes, edges, prefix, depth, size)
    return nodes, edges


def _renamed(nodes: Sequence[Raw], edges: Sequence[Raw], prefix: str) -> tuple[list[Raw], list[Raw]]:
    for raw in nodes:
        raw["id"] = prefix + raw["id"]
        raw["data"]["refs"] = [prefix + name for name in raw["data"].get("refs", ())]
    named = [
        edge(prefix + raw["source"], prefix + raw["target"], raw.get("sourceHandle"), prefix + raw["id"])
        for raw in edges
    ]
    return list(nodes), named


def _add_iterator(draw: st.DrawFn, nodes: list[Raw], edges: list[Raw], prefix: str, depth: int, size: int) -> None:
    """Hang an iterator behind a node; its body is a graph of its own whose trigger's edges are its items'."""
    name = f"{prefix}w"
    behind = draw(st.sampled_from(nodes))
    each = node(name, _EACH, refs=[], continue_on_error=draw(st.booleans()))
    body, inside = _level(draw, f"{name}_", depth - 1, size // 2 + 2)
    first = f"{name}_n0"
    for raw in inside:
        if raw["source"] == first:
            raw.update(source=name, sourceHandle="item")
    for raw in body:
        raw["data"]["refs"] = [name if ref == first else ref for ref in raw["data"]["refs"]]
    reached = [raw for raw in body if raw["id"] != first]
    if not any(raw["source"] == name for raw in inside):
        reached, inside = [node(f"{name}_only", "http", refs=[])], [edge(name, f"{name}_only", "item", f"{name}_e")]
    edges.append(edge(behind["id"], name, draw(st.sampled_from(outputs(behind))), f"{prefix}to-w"))
    nodes.extend([each, *reached])
    edges.extend(inside)
    if draw(st.booleans()):
        nodes.append(node(f"{prefix}z", "http", refs=[]))
        edges.append(edge(name, f"{prefix}z", "done", f"{prefix}w-z"))
