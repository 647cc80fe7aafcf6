"""The rules of a graph, one by one."""

import time

import pytest

from shared.graph.model import MAX_EDGES, MAX_NODES
from shared.graph.validate import validate
from tests.graphs import CATALOGUE, chain, edge, node

START = node("t", "manual_trigger")


def found(nodes, edges):
    """The faults as ``path: code``."""
    return {f"{fault.path}: {fault.code}" for fault in validate(nodes, edges, CATALOGUE)}


def message(nodes, edges):
    """The text of the only fault."""
    (fault,) = validate(nodes, edges, CATALOGUE)
    return fault.message


def behind(*nodes):
    """These nodes, each behind the trigger by a bare edge."""
    return [START, *nodes], [edge("t", raw["id"]) for raw in nodes]


def data_faults(component="http", **data):
    """The faults of one node ``a`` with this ``data``."""
    return found(*behind(node("a", component, **data)))


def test_a_trigger_may_stand_alone():
    """A single trigger without edges is a graph."""
    assert found([START], []) == set()


def test_edges_are_needed_beside_a_trigger():
    """Empty edges with more than the trigger are one fault, not one per node."""
    assert found([START, node("a"), node("b")], []) == {"edges: required"}


@pytest.mark.parametrize("value", [None, {}, "x", 3])
def test_nodes_and_edges_are_lists(value):
    """Anything but a list is refused, both at once."""
    assert found(value, value) == {"nodes: invalid_type", "edges: invalid_type"}


def test_sizes_are_bounded():
    """No nodes, too many nodes and too many edges are refused without reading them."""
    assert found([], []) == {"nodes: invalid_size"}
    assert found([None] * (MAX_NODES + 1), []) == {"nodes: invalid_size"}
    assert found([START], [None] * (MAX_EDGES + 1)) == {"edges: invalid_size"}


def test_edges_of_nodes_that_were_not_read_are_no_faults():
    """Too many nodes are one fault: that the edges' ends are not among those read says nothing about the graph."""
    many = [START, *(node(f"n{index}") for index in range(MAX_NODES))]
    assert found(many, [edge("t", "n0"), edge("n0", "n1")]) == {"nodes: invalid_size"}


@pytest.mark.parametrize(
    ("value", "code"),
    [(None, "required"), (7, "invalid_id"), ("", "invalid_id"), ("a b", "invalid_id"), ("a" * 65, "invalid_id")]
    + [(word, "reserved_id") for word in ("vault", "run", "workflow", "nodes", "env", "trigger")],
)
def test_ids_of_nodes(value, code):
    """Ids are 1-64 of letters, digits, underscore and hyphen, and no word that templates know."""
    nodes = [START, {**node("a"), "id": value}]
    edges = [edge("t", value)] if isinstance(value, str) and value else [edge("t", "b")]
    assert f"nodes[1].id: {code}" in found(nodes, edges)


def test_the_trigger_may_be_called_trigger():
    """The word that templates use for the trigger is legal for the trigger itself."""
    assert found([node("trigger", "manual_trigger"), node("a")], [edge("trigger", "a")]) == set()


def test_type_alone_selects_the_node_type():
    """Without ``data.componentId``, or with null there, ``type`` counts; an alias is accepted."""
    bare = {"id": "t", "type": "start"}
    assert found([bare], []) == set()
    assert found([{**bare, "data": {"componentId": None}}], []) == set()
    assert found([{"id": "t"}], []) == {"nodes[0].data.componentId: required"}
    assert found([{"id": "t", "type": "x"}], []) == {"nodes[0].type: unknown_component"}


def test_an_unknown_type_is_answered_with_the_nearest():
    """The message names the node type that was likely meant."""
    assert 'no node type "htp"; did you mean "http"?' in message(*behind(node("a", "htp")))


def test_an_unknown_type_that_is_near_to_none_is_answered_with_all():
    """Where nothing was likely meant the message lists what there is."""
    text = message(*behind(node("a", "zzzzzz")))
    assert 'no node type "zzzzzz". There are: ' in text
    assert '"http"' in text
    assert text.endswith('".')


def test_there_is_exactly_one_trigger():
    """No trigger and two triggers are faults; an unknown type may have been meant as the trigger."""
    assert found([node("a")], []) == {"nodes: no_trigger"}
    assert "nodes[1]: several_triggers" in found([START, node("u", "manual_trigger")], [])
    assert found([node("a", "manual_triger")], []) == {"nodes[0].data.componentId: unknown_component"}


@pytest.mark.parametrize("place", [None, {}, {"x": 1}, {"x": True, "y": 1}, {"x": 1, "y": float("nan")}, "here"])
def test_a_position_is_two_numbers(place):
    """A position that is given has two finite numbers."""
    assert found([{**START, "position": place}], []) == {"nodes[0].position: invalid_value"}


def test_drawing_fields_are_left_alone():
    """Fields that canvas editors add to nodes and edges are no faults."""
    nodes, edges = behind({**node("a"), "width": 3, "selected": True, "measured": {}})
    assert found(nodes, [{**edges[0], "animated": True, "type": "smooth", "targetHandle": "in"}]) == set()


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (7, "edges[1]: invalid_type"),
        ({"source": "t", "target": "a"}, "edges[1].id: required"),
        ({"id": "", "source": "t", "target": "a"}, "edges[1].id: invalid_type"),
        ({"id": "e" * 256, "source": "t", "target": "a"}, "edges[1].id: invalid_id"),
        ({"id": "e", "target": "a"}, "edges[1].source: required"),
        ({"id": "e", "source": "t", "target": 4}, "edges[1].target: invalid_type"),
        ({"id": "e", "source": "t", "target": "A"}, "edges[1].target: unknown_node"),
        ({"id": "e", "source": "t", "target": "a", "sourceHandle": 1}, "edges[1].sourceHandle: invalid_type"),
        ({"id": "e", "source": "t", "target": "a", "targetHandle": []}, "edges[1].targetHandle: invalid_type"),
        ({"id": "e", "source": "a", "target": "t"}, "edges[1].target: edge_into_trigger"),
    ],
)
def test_shape_of_edges(raw, fault):
    """Each fault of an edge is found at its field."""
    nodes, edges = behind(node("a"))
    assert found(nodes, [*edges, raw]) == {fault}


def test_a_cycle_is_named():
    """The message walks the cycle, and the path is the edge that closes it."""
    nodes, edges = behind(node("a"))
    nodes += [node("b"), node("c")]
    edges += [edge("a", "b"), edge("b", "c"), edge("c", "a")]
    assert '"a" -> "b" -> "c" -> "a"' in message(nodes, edges)
    assert found(nodes, edges) == {"edges[3]: cycle"}


def test_every_disjoint_cycle_is_reported():
    """Two cycles, one of them a node that leads to itself, are two faults."""
    nodes, edges = behind(node("a"), node("b"))
    edges += [edge("a", "a"), edge("b", "c"), edge("c", "b")]
    assert found([*nodes, node("c")], edges) == {"edges[2]: cycle", "edges[4]: cycle"}


def test_a_long_cycle_is_cut_in_the_message():
    """A cycle of many nodes is named by its ends."""
    nodes, edges = chain(50)
    text = message(nodes, [*edges, edge("n49", "n0")])
    assert '"n0" -> "n1"' in text
    assert "... 39 more ..." in text
    assert text.endswith('"n49" -> "n0".')


def test_every_node_is_reachable():
    """A node that nothing leads to is a fault, and so is one behind it."""
    nodes, edges = behind(node("a"))
    assert found([*nodes, node("b"), node("c")], [*edges, edge("b", "c")]) == {
        "nodes[2]: unreachable_node",
        "nodes[3]: unreachable_node",
    }


@pytest.mark.parametrize("handle", [None, "out", "source-1", "true", ""])
def test_a_single_output_takes_any_name(handle):
    """A node without named handles takes a bare edge or any name as its output."""
    nodes, edges = behind(node("a"))
    assert found([*nodes, node("b")], [*edges, edge("a", "b", handle)]) == set()


def test_null_is_no_handle():
    """``sourceHandle: null`` is an absent one: fine on a single output, refused on a condition."""
    nodes, edges = behind(node("a", "condition"))
    bare = {**edge("a", "b"), "sourceHandle": None}
    assert found([*nodes, node("b")], [*edges, bare]) == {"edges[1].sourceHandle: handle_required"}
    assert found(nodes, [{**edges[0], "sourceHandle": None}]) == set()


def test_named_handles_are_listed():
    """An unknown handle of a switch is answered with the nearest and with all."""
    nodes, edges = behind(node("a", "switch", cases=["red", "green"]))
    text = message([*nodes, node("b")], [*edges, edge("a", "b", "gren")])
    assert 'did you mean "green"? Legal here: "red", "green", "default".' in text


def test_a_switch_without_cases_has_a_single_output():
    """With one named handle there is nothing to choose, so a bare edge will do."""
    nodes, edges = behind(node("a", "switch"))
    assert found([*nodes, node("b")], [*edges, edge("a", "b")]) == set()


@pytest.mark.parametrize(("opened", "faults"), [(True, set()), (False, {"edges[1].sourceHandle: unknown_handle"})])
def test_the_error_handle_is_opened_by_continue_on_error(opened, faults):
    """An edge named error needs ``continue_on_error`` on its source."""
    nodes, edges = behind(node("a", continue_on_error=opened))
    assert found([*nodes, node("b")], [*edges, edge("a", "b", "error")]) == faults


def test_no_handle_may_be_called_error():
    """A switch case named error would be mistaken for the error handle."""
    assert data_faults("switch", cases=["error"]) == {"nodes[1].data: reserved_handle"}


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"continue_on_error": 1}, "continue_on_error: invalid_value"),
        ({"timeout": 0}, "timeout: invalid_value"),
        ({"timeout": True}, "timeout: invalid_value"),
        ({"timeout": 31_536_001}, "timeout: invalid_value"),
        ({"retry": 3}, "retry: invalid_value"),
        ({"retry": {"max_attempts": 0}}, "retry.max_attempts: invalid_value"),
        ({"retry": {"max_attempts": 101}}, "retry.max_attempts: invalid_value"),
        ({"retry": {"backoff": "linear"}}, "retry.backoff: invalid_value"),
        ({"retry": {"delay": -1}}, "retry.delay: invalid_value"),
        ({"retry": {"max_delay": "1"}}, "retry.max_delay: invalid_value"),
        ({"retry": {"jitter": None}}, "retry.jitter: invalid_value"),
        ({"retry": {"on": ["500"]}}, "retry.on: invalid_value"),
        ({"retry": {"on": ["\ud800"]}}, "retry.on: invalid_value"),
        ({"retry": {"\ud800": 1}}, "retry.\\ud800: unknown_field"),
        ({"timeout": 10**400}, "timeout: invalid_value"),
        ({"join": "\ud800"}, "join: invalid_value"),
        ({"retry": {"attempts": 3}}, "retry.attempts: unknown_field"),
        ({"join": "some"}, "join: invalid_value"),
        ({"join": {}}, "join.count: required"),
        ({"join": {"count": 0}}, "join.count: invalid_value"),
        ({"join": {"count": 1, "of": 2}}, "join.of: unknown_field"),
        ({"join": {"count": 2}}, "join.count: invalid_value"),
        ({"disabled": "yes"}, "disabled: invalid_value"),
        ({"on_crash": "ignore"}, "on_crash: invalid_value"),
    ],
)
def test_values_of_settings(data, fault):
    """Each setting that is out of its bounds is found at its field."""
    assert data_faults("http", **data) == {f"nodes[1].data.{fault}"}


def test_all_settings_at_once():
    """Every legal setting together is no fault."""
    retry = {
        "max_attempts": 100,
        "backoff": "fixed",
        "delay": 0,
        "max_delay": 1.5,
        "jitter": False,
        "on": ["4xx", "error"],
    }
    assert data_faults("http", timeout=0.5, retry=retry, join={"count": 1}, disabled=True) == set()
    assert data_faults("http", timeout=None, retry=None, continue_on_error=True, join="any") == set()


@pytest.mark.parametrize("component", ["condition", "switch"])
@pytest.mark.parametrize("setting", [{"continue_on_error": True}, {"timeout": 1}, {"retry": {}}, {"disabled": True}])
def test_conditions_take_no_settings_of_actions(component, setting):
    """Settings that only actions have are refused on conditions."""
    assert data_faults(component, **setting) == {f"nodes[1].data.{next(iter(setting))}: setting_not_allowed"}


@pytest.mark.parametrize("component", ["delay", "sorter"])
def test_what_cannot_be_disabled(component):
    """A wait, and an action with several handles, have no single output to pass their input to."""
    assert data_faults(component, disabled=True) == {"nodes[1].data.disabled: setting_not_allowed"}


@pytest.mark.parametrize("component", ["text", "delay", "condition", "switch", "sorter"])
def test_only_effects_can_be_called_at_most_once(component):
    """``on_crash`` is for what happens outside: on anything else ``fail`` is refused, and the default harms nobody."""
    assert data_faults(component, on_crash="fail") == {"nodes[1].data.on_crash: setting_not_allowed"}
    assert data_faults(component, on_crash="retry") == set()


def test_at_most_once_goes_with_no_second_call():
    """With ``on_crash: fail`` more than one attempt is a fault of the retry, and so is disabling the node."""
    assert data_faults("http", on_crash="fail", timeout=1, continue_on_error=True) == set()
    assert data_faults("http", on_crash="fail", retry={"max_attempts": 1}) == set()
    assert data_faults("http", on_crash="fail", retry={"max_attempts": 2}) == {
        "nodes[1].data.retry.max_attempts: setting_not_allowed"
    }
    assert data_faults("http", on_crash="fail", disabled=True) == {"nodes[1].data.on_crash: setting_not_allowed"}


def test_the_trigger_takes_no_settings():
    """No setting is for triggers; one at its default harms nobody."""
    settings = {"continue_on_error": True, "timeout": 1, "retry": {}, "join": "any", "disabled": True}
    faults = {f"nodes[0].data.{name}: setting_not_allowed" for name in settings}
    assert found([node("t", "manual_trigger", **settings)], []) == faults
    assert found([node("t", "manual_trigger", disabled=False, join="all", timeout=None)], []) == set()


def test_documentation_fields_are_for_every_node():
    """What documents a node never reaches its type, and what is not a setting does."""
    documentation = {"description": "d", "label": "l", "uiId": "u", "operation": "o", "notes": ["n"]}
    assert data_faults("http", url="x", **documentation) == set()
    assert data_faults("http", **{"\ud800": 1}) == {"nodes[1].data.\\ud800: unknown_field"}
    assert data_faults("http", on_crsh="fail") == {"nodes[1].data.on_crsh: unknown_field"}


@pytest.mark.parametrize("root", ["t", "a", "trigger", "run", "workflow", "vault", "nodes"])
def test_references_that_are_legal(root):
    """Templates may name ancestors and what the context has besides."""
    nodes, edges = behind(node("a"))
    assert found([*nodes, node("b", refs=[root])], [*edges, edge("a", "b")]) == set()


@pytest.mark.parametrize("root", ["b", "c", "d", "env", "A"])
def test_references_that_are_not(root):
    """Itself, a descendant, a sibling and a stranger are no ancestors."""
    nodes, edges = behind(node("a"), node("d"))
    nodes += [node("b", nested={"deep": ["", f"{{{{ {root}.x }}}}"]}, refs=[root]), node("c")]
    fault = "nodes[3].data.nested.deep[1]: unknown_reference"
    assert found(nodes, [*edges, edge("a", "b"), edge("b", "c")]) == {fault}


def test_the_nearest_ancestor_is_suggested():
    """A misspelt reference is answered with the ancestor that was likely meant."""
    nodes, edges = behind(node("get_user"))
    text = message([*nodes, node("b", refs=["get_usr"])], [*edges, edge("get_user", "b")])
    assert 'nothing called "get_usr" that a template here could see; did you mean "get_user"?' in text


def test_the_trigger_does_not_see_itself():
    """The trigger's own templates have no trigger output yet."""
    assert found([node("t", "manual_trigger", refs=["trigger"])], []) == {"nodes[0].data: unknown_reference"}


def test_faults_are_reported_together():
    """Faults of shape, settings, handles, graph and references come in one answer."""
    nodes = [
        node("t", "manual_trigger", disabled=True),
        node("a", refs=["zz"]),
        node("b", "htp"),
        7,
        node("c", "condition"),
    ]
    edges = [edge("t", "a"), edge("a", "c"), edge("c", "a"), edge("t", "gone")]
    assert found(nodes, edges) == {
        "nodes[0].data.disabled: setting_not_allowed",
        "nodes[1].data: unknown_reference",
        "nodes[2].data.componentId: unknown_component",
        "nodes[2]: unreachable_node",
        "nodes[3]: invalid_type",
        "edges[2]: cycle",
        "edges[2].sourceHandle: handle_required",
        "edges[3].target: unknown_node",
    }


def cpu_seconds(nodes, edges):
    """Processor seconds of one validation, and its faults."""
    start = time.process_time()
    faults = validate(nodes, edges, CATALOGUE)
    return time.process_time() - start, faults


def test_the_largest_graph_is_quick():
    """2,000 nodes and 10,000 edges take well under a second of processor time."""
    nodes, edges = chain(MAX_NODES - 1)
    extra = [edge(f"n{one}", f"n{one + 5 + step}") for one in range(1, 1990) for step in range(5) if one + step < 1990]
    seconds, faults = cpu_seconds(nodes, [*edges, *extra[: MAX_EDGES - len(edges)]])
    assert faults == []
    assert seconds < 1


def test_a_hostile_graph_is_no_heavier():
    """Thousands of wrong references, handles and cycles are reported without comparing everything with everything."""
    nodes, edges = chain(MAX_NODES - 2, "http")
    for raw in nodes[1:]:
        raw["data"]["refs"] = [f"nobody{number}" for number in range(20)]
    nodes.append(node("s", "switch", cases=[f"case{number}" for number in range(5_000)]))
    edges.append(edge("t", "s"))
    edges += [edge("s", "n9", f"kase{number}") for number in range(4_000)]
    edges += [edge(f"n{1000 + number % 900}", f"n{number % 1000}", None, f"back{number}") for number in range(4_000)]
    seconds, faults = cpu_seconds(nodes, edges)
    assert sum(fault.code == "unknown_reference" for fault in faults) == 20 * (MAX_NODES - 2)
    assert seconds < 4
