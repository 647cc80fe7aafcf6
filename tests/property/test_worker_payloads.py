"""Reading only what templates see of a payload changes nothing that a template gives."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import StepFailedError
from shared.graph.plan import compile_plan
from shared.jsontext import decode
from shared.nodes.base import TriggerContext
from tests.engine import graph, registry
from worker.payloads import payload_reader

REGISTRY = registry()
FRAGMENTS = (
    "{{ t.webhook_payload.name }}",
    "{{ t.body.a.name | default: 'none' }}",
    '{{ nodes["t"].webhook_payload["b c"] }}',
    '{{ trigger.body["name"].size }}',
    "{{ t.webhook_payload.size }}",
    "{{ t.body.first }}{{ t.body.last }}",
    "{{ t.body[0] }}",
    "{{ t.body[t.body.name] }}",
    "{{ t }}",
    "{{ t.webhook_payload | json }}",
    "{{ t.headers.x }}{{ t.method }}{{ t.query | size }}{{ t.size }}",
    "{% assign x = t.webhook_payload %}{{ x.a }}",
    "{% assign x = 'name' %}{{ t.body[x] }}",
    "{% for r in t.body.a %}{{ r }}{{ forloop.index }}{{ t.body.name }}{% endfor %}",
    "{% if t.body contains 'a' %}yes{% endif %}",
    "{% assign x = 't' %}{{ nodes[x].body.name }}",
    "{% for n in nodes %}{{ n }}{% endfor %}",
    "{% assign t = nodes['t'] %}{{ t.body }}",
    "{{ t['web' | append: 'hook_payload'] }}",
)
names = st.sampled_from(["name", "a", "b c", "size", "first", "0", "\ud800"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["name", "a", "\ud800", "\0"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)


def reader_of(*templates: str, concurrency_key: str | None = None, **more: Any) -> Callable[[str], Any]:
    """What reads the payloads of a workflow of a webhook and a node for each template."""
    known = {f"n{number}": {"template": template} | more for number, template in enumerate(templates)}
    plan = compile_plan(*graph(" ".join(f"t>{name}" for name in known), **nodes_of(known)), REGISTRY)
    return payload_reader(plan, REGISTRY, concurrency_key)


def nodes_of(known: dict[str, Any]) -> dict[str, Any]:
    """The data of the nodes, the trigger's among them."""
    texts = {name: {"component": "text_transform", **data} for name, data in known.items()}
    return {"t": {"component": "webhook_trigger"}, **texts}


def rendered(template: str, payload: Any) -> str:
    """What a template gives for a payload, or how it fails."""
    trigger = REGISTRY.compile("t", "webhook_trigger", {})
    output = trigger.trigger(TriggerContext("fl_run_1", "webhook", payload)).output
    node = REGISTRY.compile("n", "text_transform", {"template": template})
    try:
        return str(node.run({"t": output, "trigger": output, "nodes": {"t": output}}).output)
    except StepFailedError as error:
        return f"{error.code}: {error.message}"


@given(st.lists(st.sampled_from(FRAGMENTS), min_size=1, max_size=3), values)
def test_templates_give_the_same_of_what_is_read_as_of_the_whole(templates: list[str], body: Any) -> None:
    """Texts and errors are equal, whatever the body is and however the templates look at it."""
    try:
        read = reader_of(*templates)
    except StepFailedError:  # no template
        return
    text = json.dumps({"webhook_payload": body, "headers": {"x": "y"}, "query": {}, "method": "POST"})
    for template in templates:
        assert rendered(template, read(text)) == rendered(template, decode(text))


BODY = (
    '{"webhook_payload":{"name":1,"a":[2],"name":3,"b":{}},"headers":{},"query":{},"method":"PUT","received_at":"now"}'
)


@pytest.mark.parametrize(
    ("templates", "left"),
    [
        (["{{ t.webhook_payload.name }}"], {"name": 3}),
        (["{{ t.body.name }}", "{{ trigger.body.a.first }}"], {"name": 3, "a": [2]}),
        (['{{ nodes["t"].body.b.c.d }}'], {"b": {}}),
        (["plain"], {}),
        (["{{ t.method }}"], {}),
        (["{{ t.body.name }}", "{{ t.body }}"], None),
        (["{{ t.body.size }}"], None),
        (["{{ t.body.name }}{{ nodes[t.method].body.x }}"], None),
    ],
)
def test_members_that_no_template_names_are_passed_over(templates: list[str], left: Any) -> None:
    """Of the body only what is named is made, all of it where a template could see more; the rest stays as it was."""
    read = reader_of(*templates)(BODY)
    whole = decode(BODY)
    assert read["webhook_payload"] == (whole["webhook_payload"] if left is None else left)
    assert {**read, "webhook_payload": None} == {**whole, "webhook_payload": None}


def test_what_is_no_template_of_a_node_is_read_too() -> None:
    """The key that runs are serialised by counts, and a disabled node passes on whatever comes."""
    assert reader_of("{{ t.body.name }}", concurrency_key="{{ t.body.a }}")(BODY)["webhook_payload"] == {
        "name": 3,
        "a": [2],
    }
    assert reader_of("{{ t.body.name }}", disabled=True)(BODY) == decode(BODY)


@pytest.mark.parametrize("body", ["null", "[1]", '"text"', '{"name":"\\ud800"}', '{"other":"\\ud800"}'])
def test_a_body_of_another_shape_is_read_whole(body: str) -> None:
    """What is no object, or holds what msgspec refuses, comes as it always did."""
    text = f'{{"webhook_payload":{body}}}'
    assert reader_of("{{ t.body.name }}")(text) == decode(text)


def test_a_number_out_of_range_is_no_json() -> None:
    """It is refused as it is when a request brings it, whether a template looks at it or not."""
    for body in ('{"name":1e999}', '{"other":1e999}'):
        with pytest.raises(ValueError, match="1e999 is out of range"):
            decode(f'{{"webhook_payload":{body}}}')
    with pytest.raises(ValueError, match="1e999 is out of range"):
        reader_of("{{ t.body.name }}")('{"webhook_payload":{"name":1e999}}')
