"""What the compiled form of a graph says, and how it is stored."""

import msgspec
import pytest

from shared.errors import InvalidError
from shared.graph.catalogue import Kind, Mode
from shared.graph.plan import PLAN_FORMAT, PlanFormatError, compile_plan, decode_plan, encode_plan
from shared.graph.settings import Retry
from tests.graphs import CATALOGUE, chain, edge, node


def small_plan(**data):
    """A trigger ``t`` and an http node ``a`` with this ``data``."""
    return compile_plan([node("t", "start"), node("a", "http", **data)], [edge("t", "a")], CATALOGUE)


def test_a_node_carries_what_the_engine_needs():
    """Canonical type, stripped configuration, settings with defaults and the graph around it."""
    plan = small_plan(url="u", description="d", label="l", retry={"max_attempts": 3}, refs=["trigger", "run"])
    trigger, action = plan.nodes["t"], plan.nodes["a"]
    assert (plan.format, plan.trigger, list(plan.nodes)) == (PLAN_FORMAT, "t", ["t", "a"])
    assert (trigger.component, trigger.kind, trigger.outgoing) == ("manual_trigger", Kind.TRIGGER, {"": ("a",)})
    assert action.data == {"url": "u", "refs": ["trigger", "run"]}
    assert action.settings.retry == Retry(max_attempts=3)
    assert (action.in_degree, action.need, action.references) == (1, 0, ("t",))
    assert plan.needs("a") == ["t"]


@pytest.mark.parametrize(("join", "need"), [("all", 0), ("any", 1), ({"count": 1}, 1)])
def test_need_of_a_join(join, need):
    """``all`` is 0, ``any`` is 1, a count is itself."""
    assert small_plan(join=join).nodes["a"].need == need


@pytest.mark.parametrize(("component", "timeout"), [("http", 300.0), ("delay", 604_800.0)])
def test_timeouts_have_defaults(component, timeout):
    """Five minutes for an action, seven days for a wait, or what the node says."""
    graph = [node("t", "start"), node("a", component), node("b", component, timeout=2)]
    plan = compile_plan(graph, [edge("t", "a"), edge("a", "b")], CATALOGUE)
    assert (plan.nodes["a"].timeout, plan.nodes["b"].timeout) == (timeout, 2.0)


def test_a_disabled_effect_is_pure():
    """A disabled node does nothing outside, so nothing must be committed before it."""
    plan = small_plan(disabled=True)
    assert plan.nodes["a"].mode is Mode.PURE
    assert plan.nodes["a"].settings.disabled
    assert not plan.nodes["t"].effect_ahead


def test_handles_are_kept_where_they_choose():
    """Names on a single output collapse to the unnamed one; those of a switch, and error, stay."""
    nodes = [node("t", "start"), node("a", "text", continue_on_error=True), node("s", "switch", cases=["x"]), node("b")]
    edges = [edge("t", "a", "whatever"), edge("a", "s", "out"), edge("a", "b", "error"), edge("s", "b", "x")]
    plan = compile_plan(nodes, edges, CATALOGUE)
    assert plan.nodes["t"].outgoing == {"": ("a",)}
    assert plan.nodes["a"].outgoing == {"": ("s",), "error": ("b",)}
    assert plan.nodes["s"].handles == ("x", "default")
    assert plan.nodes["s"].outgoing == {"x": ("b",)}


def test_a_computed_look_up_needs_every_ancestor():
    """``nodes[expression]`` may mean any ancestor, so all of them are loaded."""
    nodes, edges = chain(3)
    nodes[3]["data"]["refs"] = ["nodes"]
    plan = compile_plan(nodes, edges, CATALOGUE)
    assert plan.needs("n2") == ["t", "n0", "n1"]
    assert plan.needs("n0") == ["t"]


def test_a_faulty_graph_is_not_compiled():
    """Compiling reports every fault instead of making a plan of what is left."""
    with pytest.raises(InvalidError) as caught:
        compile_plan([node("a", "htp"), node("a")], [], CATALOGUE)
    assert {fault.code for fault in caught.value.faults} >= {"unknown_component", "duplicate_id"}


@pytest.mark.parametrize("text", ["\u0000", "\ud800", "é"])
def test_any_text_survives_storage(text):
    """NUL and lone surrogates in a node's data come back as they were."""
    plan = small_plan(url=text)
    assert decode_plan(encode_plan(plan)) == plan
    assert decode_plan(encode_plan(plan).decode()).nodes["a"].data == {"url": text}


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b"\xff"])
def test_what_is_no_plan_is_refused(text):
    """Text that is not a plan of this format is named as such."""
    with pytest.raises(PlanFormatError):
        decode_plan(text)


def test_another_format_is_refused():
    """A plan of newer code is not misread."""
    later = msgspec.structs.replace(small_plan(), format=PLAN_FORMAT + 1)
    with pytest.raises(PlanFormatError, match=f"has format {PLAN_FORMAT + 1}"):
        decode_plan(encode_plan(later))


def test_a_plan_grows_with_its_graph():
    """2,000 nodes that may read everything before them do not make a plan of millions of ids."""
    nodes, edges = chain(1_999)
    for raw in nodes[1:]:
        raw["data"]["refs"] = ["nodes"]
    assert len(encode_plan(compile_plan(nodes, edges, CATALOGUE))) < 1_000_000
