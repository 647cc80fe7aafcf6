"""The nodes that wait for answers: what is refused when a workflow is saved, and the handles they have."""

from typing import Any

import pytest

from shared.db import Clock
from shared.graph.validate import validate
from shared.nodes.base import StepContext
from shared.nodes.registry import default_registry
from tests.graphs import edge, node

REGISTRY = default_registry()


def faults(component: str, **data: Any) -> list[tuple[str, str]]:
    """Paths and codes of what is wrong with a node's data."""
    return [(fault.path, fault.code) for fault in REGISTRY.check(component, data, "d")[0]]


def test_buttons_are_the_handles() -> None:
    """In their order, the time-out behind them; without buttons there are two."""
    buttons = [{"name": "yes"}, {"name": "no", "label": "{{ n1.no }}"}]
    assert faults("approval", text="?", buttons=buttons) == []
    assert REGISTRY.handles("approval", {"buttons": buttons}) == ("yes", "no", "timeout")
    assert REGISTRY.handles("approval", {}) == ("approved", "rejected", "timeout")
    assert REGISTRY.handles("form", {}) == ("submitted", "timeout")
    assert REGISTRY.handles("wait_for_callback", {}) == ("received", "timeout")


@pytest.mark.parametrize(
    ("buttons", "path"),
    [
        ([], "d.buttons"),
        ([{"name": "x"}] * 11, "d.buttons"),
        ([{"name": "timeout"}], "d.buttons[0].name"),
        ([{"name": "error"}], "d.buttons[0].name"),
        ([{"name": "a"}, {"name": "a"}], "d.buttons[1].name"),
        ([{"name": "\x00"}], "d.buttons[0].name"),
        ([{"name": "{{ x }}"}], "d.buttons[0].name"),
        ("{{ n1.buttons }}", "d.buttons"),
        (["{{ n1.button }}"], "d.buttons"),
    ],
)
def test_buttons_have_names_of_their_own(buttons: Any, path: str) -> None:
    """1-10, none that means something already, none twice, all of them known when the workflow is saved."""
    assert {found for found, _ in faults("approval", text="?", buttons=buttons)} == {path}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ([], "d.fields"),
        ("{{ n1.fields }}", "d.fields"),
        ([{"name": "a b"}], "d.fields[0].name"),
        ([{"name": "a"}, {"name": "a"}], "d.fields[1].name"),
        ([{"name": "a", "type": "file"}], "d.fields[0].type"),
        ([{"name": "a", "type": "select"}], "d.fields[0].choices"),
        ([{"name": "a", "choices": ["x"]}], "d.fields[0].choices"),
        ([{"name": "a", "type": "select", "choices": ["x", "x"]}], "d.fields[0].choices"),
        ([{"name": "a", "min_length": 3, "max_length": 2}], "d.fields[0].min_length"),
        ([{"name": "a", "type": "number", "minimum": 3, "maximum": 2}], "d.fields[0].minimum"),
        ([{"name": "a", "required": "{{ n1.x }}"}], "d.fields[0].required"),
    ],
)
def test_fields_are_settled_when_a_workflow_is_saved(fields: Any, path: str) -> None:
    """Their names, types and rules are checked; only texts and defaults hold templates."""
    assert [found for found, _ in faults("form", fields=fields)] == [path]


def test_numbers_in_texts_are_rendered_as_text() -> None:
    """A label that is one expression shows its value, whatever type that has."""
    node = REGISTRY.compile("w", "form", {"fields": [{"name": "a", "label": "{{ n1.n }}", "default": "{{ n1.n }}"}]})
    context = StepContext("fl_run_x", "w", "-", 1, "k", Clock().now(), 60.0, None)  # type: ignore[arg-type]
    question = node.begin({"n1": {"n": 7}}, context).question
    assert question is not None
    assert (question.fields[0].label, question.fields[0].default) == ("7", "7")


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ run.links.W }}", 'There is no node "W" that waits for an answer.'),
        ('{{ run.links["t"] }}', 'There is no node "t" that waits for an answer.'),
        (
            "{% if run.links.v %}{% endif %}",
            '"v" has a link for each item of its iterator, and "a" is in none of them.',
        ),
    ],
)
def test_links_are_those_of_nodes_that_ask(template: str, told: str) -> None:
    """A link that no node has, or that has many for the node that names it, is a fault where it stands."""
    nodes = [
        node("t", "manual_trigger"),
        node("a", "text_transform", template=template),
        node("b", "text_transform", template="{{ run.links.w }} {{ run.links[t.name] }} {{ run.id }}"),
        node("w", "wait_for_callback"),
        node("i", "iterator", items=[1]),
        node("c", "text_transform", template="{{ run.links.v }} {{ run.links.w }}"),
        node("v", "approval", text="{{ i.item }}"),
    ]
    edges = [edge("t", "a"), edge("t", "b"), edge("b", "w"), edge("t", "i"), edge("i", "c", "item"), edge("c", "v")]
    found = [(fault.path, fault.code, fault.message) for fault in validate(nodes, edges, REGISTRY)]
    assert found == [("nodes[1].data.template", "unknown_reference", told)]
