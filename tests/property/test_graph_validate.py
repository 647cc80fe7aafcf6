"""Validation and compilation over random graphs, planted faults and garbage."""

import copy
from collections.abc import Callable
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from shared.graph.catalogue import Mode
from shared.graph.plan import compile_plan, decode_plan, encode_plan
from shared.graph.validate import validate
from tests.graphs import CATALOGUE, TYPES, edge, graphs, node

Raw = list[dict[str, Any]]
Plant = Callable[[Raw, Raw], str]

TEXTS = st.one_of(st.text(st.characters(), max_size=8), st.sampled_from(["n0", "n1", "error", "true", "all", *TYPES]))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.just(10**400), st.floats(), TEXTS)
NODE_FIELDS = ["id", "type", "position", "data", "x"]
DATA_FIELDS = ["componentId", "refs", "cases", "retry", "join", "timeout", "disabled", "continue_on_error", "on_crash"]
EDGE_FIELDS = ["id", "source", "target", "sourceHandle", "targetHandle"]
NAMES = st.one_of(TEXTS, st.sampled_from([*NODE_FIELDS, *DATA_FIELDS, *EDGE_FIELDS, "count", "delay", "on"]))
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4))


def loosely(names: list[str], inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of these fields and any values."""
    return st.dictionaries(st.sampled_from(names), inner, max_size=len(names))


DATA = st.one_of(JSON, loosely(DATA_FIELDS, JSON))
NODES = st.lists(st.one_of(JSON, loosely(NODE_FIELDS, st.one_of(TEXTS, DATA))), max_size=5)
EDGES = st.lists(st.one_of(JSON, loosely(EDGE_FIELDS, st.one_of(TEXTS, JSON))), max_size=5)


@given(st.one_of(JSON, NODES), st.one_of(JSON, EDGES))
def test_garbage_gives_faults_and_never_an_exception(nodes, edges):
    """Whatever JSON comes in, nothing is raised, and the faults point into it and can be sent."""
    faults = validate(nodes, edges, CATALOGUE)
    assert msgspec.json.decode(msgspec.json.encode(faults)) == [msgspec.to_builtins(fault) for fault in faults]
    assert all(fault.path.startswith(("nodes", "edges")) for fault in faults)


@given(graphs())
def test_a_valid_graph_has_no_faults_and_compiles(graph):
    """A graph that keeps the rules is accepted untouched, and its plan survives storage."""
    before = copy.deepcopy(graph)
    assert validate(*graph, CATALOGUE) == []
    plan = compile_plan(*graph, CATALOGUE)
    assert decode_plan(encode_plan(plan)) == plan
    assert graph == before


@given(graphs())
def test_a_plan_says_what_a_slow_look_at_the_graph_says(graph):
    """Order, in-degrees, effects ahead and needs are those found by following every edge."""
    nodes, edges = graph
    plan = compile_plan(nodes, edges, CATALOGUE)
    place = {name: index for index, name in enumerate(plan.nodes)}
    behind = {raw["id"]: descendants(raw["id"], edges) for raw in nodes}
    assert plan.trigger == next(iter(plan.nodes)) == "n0"
    assert sorted(place) == sorted(behind)
    for item in edges:
        assert place[item["source"]] < place[item["target"]]
    for name, compiled in plan.nodes.items():
        onward = [plan.nodes[other] for other in (name, *behind[name])]
        wanted = {other for step in onward for other in step.references if name in behind[other]}
        assert compiled.in_degree == sum(item["target"] == name for item in edges)
        assert compiled.effect_ahead == any(step.mode is not Mode.PURE for step in onward)
        assert plan.needs(name) == sorted(wanted, key=place.__getitem__)


def descendants(name: str, edges: Raw) -> set[str]:
    """Every node behind this one."""
    found = {item["target"] for item in edges if item["source"] == name}
    return found.union(*(descendants(other, edges) for other in found))


def second_trigger(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("extra", "manual_trigger"))
    return f"nodes[{len(nodes) - 1}]: several_triggers"


def duplicate_node(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("n0"))
    return f"nodes[{len(nodes) - 1}].id: duplicate_id"


def reserved_word(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("vault"))
    return f"nodes[{len(nodes) - 1}].id: reserved_id"


def unknown_type(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("extra", "webhok"))
    return f"nodes[{len(nodes) - 1}].data.componentId: unknown_component"


def lonely_node(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("extra"))
    edges.append(edge("extra", "extra2"))
    nodes.append(node("extra2"))
    return f"nodes[{len(nodes) - 1}]: unreachable_node"


def cycle(nodes: Raw, edges: Raw) -> str:
    nodes += [node("extra"), node("extra2")]
    edges += [edge("n0", "extra"), edge("extra", "extra2"), edge("extra2", "extra")]
    return f"edges[{len(edges) - 1}]: cycle"


def into_trigger(nodes: Raw, edges: Raw) -> str:
    edges.append(edge("n0", "n0"))
    return f"edges[{len(edges) - 1}].target: edge_into_trigger"


def duplicate_edge(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("extra"))
    edges += [edge("n0", "extra", None, "same"), edge("n0", "extra", None, "same")]
    return f"edges[{len(edges) - 1}].id: duplicate_id"


def nowhere(nodes: Raw, edges: Raw) -> str:
    edges.append(edge("n0", "nobody"))
    return f"edges[{len(edges) - 1}].target: unknown_node"


def bare_edge_from_condition(nodes: Raw, edges: Raw) -> str:
    nodes += [node("extra", "condition"), node("extra2")]
    edges += [edge("n0", "extra"), edge("extra", "extra2")]
    return f"edges[{len(edges) - 1}].sourceHandle: handle_required"


def unknown_handle(nodes: Raw, edges: Raw) -> str:
    nodes += [node("extra", "condition"), node("extra2")]
    edges += [edge("n0", "extra"), edge("extra", "extra2", "tru")]
    return f"edges[{len(edges) - 1}].sourceHandle: unknown_handle"


def closed_error_handle(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("extra"))
    edges.append(edge("n0", "extra", "error"))
    return f"edges[{len(edges) - 1}].sourceHandle: unknown_handle"


def no_ancestor(nodes: Raw, edges: Raw) -> str:
    nodes += [node("extra"), node("extra2", refs=["{{ extra.x }}", "extra"])]
    edges += [edge("n0", "extra"), edge("n0", "extra2")]
    return f"nodes[{len(nodes) - 1}].data.refs[0]: unknown_reference"


def too_great_a_count(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("extra", join={"count": 2}))
    edges.append(edge("n0", "extra"))
    return f"nodes[{len(nodes) - 1}].data.join.count: invalid_value"


def retried_condition(nodes: Raw, edges: Raw) -> str:
    nodes.append(node("extra", "condition", retry={"max_attempts": 2}))
    edges.append(edge("n0", "extra"))
    return f"nodes[{len(nodes) - 1}].data.retry: setting_not_allowed"


PLANTS: list[Plant] = [
    second_trigger,
    duplicate_node,
    reserved_word,
    unknown_type,
    lonely_node,
    cycle,
    into_trigger,
    duplicate_edge,
    nowhere,
    bare_edge_from_condition,
    unknown_handle,
    closed_error_handle,
    no_ancestor,
    too_great_a_count,
    retried_condition,
]


@given(graphs(size=8), st.sampled_from(PLANTS))
def test_a_planted_fault_is_reported_with_its_path(graph, plant):
    """Each kind of fault is reported at its path in whatever graph it is planted."""
    nodes, edges = graph
    edges.append(edge("n0", "first"))
    nodes.append(node("first"))
    expected = plant(nodes, edges)
    assert expected in [f"{fault.path}: {fault.code}" for fault in validate(nodes, edges, CATALOGUE)]
