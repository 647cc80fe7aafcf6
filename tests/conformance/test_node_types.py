"""One suite over all node types: what every one of them promises."""

import inspect
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from shared.graph.catalogue import DOCUMENTATION_FIELDS, SETTINGS_FIELDS, Catalogue
from shared.nodes.base import Kind, NodeType, TriggerContext
from shared.nodes.data_schema import settings_names
from shared.nodes.declaration import flaws
from shared.nodes.docstrings import field_docs
from shared.nodes.fields import rendering_of
from shared.nodes.registry import default_registry
from shared.nodes.schema import fields_of
from shared.states import TriggerType
from shared.templates.fields import Rendering
from tests.conformance.running import ELSEWHERE, RUN_ID, outcome_of

REGISTRY = default_registry()
CATALOGUE: Catalogue = REGISTRY
every_type = pytest.mark.parametrize("component", REGISTRY.names())
every_type_that_runs_here = pytest.mark.parametrize("component", [n for n in REGISTRY.names() if n not in ELSEWHERE])


def example_of(component: str) -> tuple[NodeType[Any], dict[str, Any]]:
    node_type = REGISTRY.type_of(component)
    return node_type, dict(node_type.example)


def templated_field(node_type: NodeType[Any]) -> str | None:
    """A field of the example that takes templates, if the type has one."""
    fields, chosen = fields_of(node_type.data_type), node_type.renderings(node_type.example)
    renderings = {name: chosen.get(name, rendering_of(fields[name].annotation)) for name in node_type.example}
    found = [name for name, rendering in renderings.items() if rendering is not Rendering.NONE]
    return found[0] if found else None


@every_type
def test_declares_itself(component: str) -> None:
    """A type and its module say what they are, and the catalogue answers for it under its name and its aliases."""
    node_type = REGISTRY.type_of(component)
    assert flaws(node_type) == []
    assert inspect.getdoc(inspect.getmodule(type(node_type)))
    assert CATALOGUE.kind(component) is node_type.kind
    assert CATALOGUE.mode(component) is node_type.mode
    assert [CATALOGUE.resolve(name) for name in (component, *node_type.aliases)] == [component] * (
        1 + len(node_type.aliases)
    )


#: Every name that the catalogue promises, with the aliases that are taken on input.
PROMISED = {
    **dict.fromkeys(["manual_trigger", "webhook_trigger", "sync_request_trigger", "workflow_trigger", "event_trigger"]),
    **dict.fromkeys(["error_trigger", "data_mapper", "json_parser", "text_transform", "string_transform"]),
    **dict.fromkeys(["date_transform", "array_filter", "array_transform", "validate", "ipv4_address", "set_variables"]),
    **dict.fromkeys(["merge", "string_condition", "number_condition", "date_condition", "boolean_condition"]),
    **dict.fromkeys(["array_condition", "logical_group_condition", "switch_condition", "terminate", "webhook"]),
    **dict.fromkeys(["delay", "iterator", "trigger_workflow", "wait_for_callback", "approval", "form"]),
    **dict.fromkeys(["send_notification", "ssh_command", "soap_request", "graphql_request", "postgres_query"]),
    **dict.fromkeys(["redis_command", "ai_text_transform", "publish_event", "markdown_to_pdf", "wireguard_keys"]),
    "python_function": None,
    "scheduled_trigger": "schedule_trigger",
    "api_call": "altostrat_api",
    "send_email": "smtp",
}


def test_every_type_that_is_promised_is_there() -> None:
    """Under its name and under the names that drawings of the original use."""
    assert {*PROMISED} <= {*REGISTRY.names()}
    for component, alias in PROMISED.items():
        assert REGISTRY.resolve(component) == component
        assert alias is None or REGISTRY.resolve(alias) == component


@every_type
def test_documents_its_fields(component: str) -> None:
    """The Struct of the data has a docstring of its own, and declares no field that belongs to the engine."""
    data_type = REGISTRY.type_of(component).data_type
    assert (data_type.__doc__ or "").strip()
    assert not {*fields_of(data_type)} & {*SETTINGS_FIELDS, *DOCUMENTATION_FIELDS}


@every_type
def test_exports_a_schema(component: str) -> None:
    """The JSON Schema is one, names every field that a node's data may have and closes the object."""
    node_type = REGISTRY.type_of(component)
    schema = REGISTRY.schema(component)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    own = {name for name, rule in schema["properties"].items() if "x-templates" in rule}
    assert own == fields_of(node_type.data_type).keys()
    assert schema["properties"].keys() - own >= {*DOCUMENTATION_FIELDS, *settings_names(node_type)}
    assert msgspec.json.decode(msgspec.json.encode(schema)) == schema


@every_type
def test_schema_and_check_agree(component: str) -> None:
    """What the check of a saved workflow takes, the schema takes: the example, settings, templates; and no more."""
    node_type, data = example_of(component)
    valid = Draft202012Validator(REGISTRY.schema(component)).is_valid
    whole = msgspec.json.decode(msgspec.json.encode({"componentId": component, **data}))
    assert valid(whole)
    assert all(valid({**whole, "componentId": alias}) for alias in node_type.aliases)
    assert not valid({**whole, "componentId": "another"})
    assert not valid({**whole, "zzz": 1})
    for name, field in fields_of(node_type.data_type).items():
        takes = field.rendering is not Rendering.NONE
        told = {fault.code for fault in CATALOGUE.check(component, {**data, name: "{{ n1.x }}"}, "d")[0]}
        assert ("no_template" in told) is not takes
        assert not takes or valid({**whole, name: "{{ n1.x }}"})


@every_type
def test_documents_each_field_once(component: str) -> None:
    """What docstrings say of fields is said of fields that exist: the catalogue shows it beside them."""
    data_type = REGISTRY.type_of(component).data_type
    assert field_docs(data_type).keys() <= fields_of(data_type).keys()


@every_type
def test_example_is_valid(component: str) -> None:
    """The example has no fault and refers to nothing but its own context."""
    node_type, data = example_of(component)
    faults, roots = CATALOGUE.check(component, data, "nodes[0].data")
    assert faults == []
    assert roots == node_type.example_context.keys()


@every_type_that_runs_here
def test_example_runs(component: str) -> None:
    """The example ends well with an object as its output, on a handle the node declares, and the same each time."""
    node_type, data = example_of(component)
    node = REGISTRY.compile("n2", component, data)
    outcome = outcome_of(node, dict(node_type.example_context))
    assert isinstance(outcome.output, dict)
    assert msgspec.json.decode(msgspec.json.encode(outcome.output)) == outcome.output
    handles = CATALOGUE.handles(component, data)
    assert outcome.handle in handles if handles else outcome.handle is None
    assert outcome_of(node, dict(node_type.example_context)) == outcome


@every_type
def test_compiled_node_says_what_it_is(component: str) -> None:
    """A compiled node carries its id, its type's kind and mode, and the names its templates begin with."""
    node_type, data = example_of(component)
    node = REGISTRY.compile("n2", component, data)
    assert (node.id, node.component_id, node.kind, node.mode) == ("n2", component, node_type.kind, node_type.mode)
    assert node.references == CATALOGUE.check(component, data, "data")[1]


@every_type_that_runs_here
def test_round_trip(component: str) -> None:
    """The example survives JSON, and what comes back compiles to a node that does the same."""
    node_type, data = example_of(component)
    again = msgspec.json.decode(msgspec.json.encode(data))
    assert again == data
    scope = dict(node_type.example_context)
    first, second = (REGISTRY.compile("n2", component, each) for each in (data, again))
    assert outcome_of(first, scope) == outcome_of(second, scope)


@every_type_that_runs_here
def test_settings_are_passed_over(component: str) -> None:
    """Settings and documentation fields beside the config change nothing about a compiled node."""
    node_type, data = example_of(component)
    beside = {"componentId": component, "description": "d", "label": "l", "timeout": 5, "retry": {"max_attempts": 2}}
    scope = dict(node_type.example_context)
    bare, full = (REGISTRY.compile("n2", component, each) for each in (data, {**data, **beside}))
    assert outcome_of(bare, scope) == outcome_of(full, scope)


@every_type
def test_unknown_field_is_refused(component: str) -> None:
    """An unknown field is a fault at its own path; a misspelt one is told the field that was meant."""
    node_type, data = example_of(component)
    faults, _ = CATALOGUE.check(component, {**data, "zzz": 1}, "nodes[3].data")
    assert [(fault.path, fault.code) for fault in faults] == [("nodes[3].data.zzz", "unknown_field")]
    for name in fields_of(node_type.data_type):
        (fault,) = CATALOGUE.check(component, {**data, f"{name}_": 1}, "d")[0]
        assert f'did you mean "{name}"?' in fault.message


@every_type
def test_bad_template_is_refused(component: str) -> None:
    """A template that cannot be read is a fault at its field; a field that takes none says so."""
    node_type, data = example_of(component)
    templated = templated_field(node_type)
    if templated is not None:
        faults, _ = CATALOGUE.check(component, {**data, templated: "{{ 1.x }}"}, "d")
        assert [(fault.path, fault.code) for fault in faults] == [(f"d.{templated}", "template_syntax")]
        assert 'nodes["1"]' in faults[0].message
    for name, field in fields_of(node_type.data_type).items():
        if field.rendering is Rendering.NONE:
            faults, _ = CATALOGUE.check(component, {**data, name: "{{ n1.x }}"}, "d")
            assert ("d." + name, "no_template") in [(fault.path, fault.code) for fault in faults]


@every_type
@pytest.mark.parametrize("value", [None, 5, "text", [], {}, [[]], {"a": {"b": [None]}}, "{{", "{% x", "\ud800\x00"])
def test_no_data_raises(component: str, value: Any) -> None:
    """Whatever stands in a field, checking it and asking for the handles gives an answer and raises nothing."""
    for name in fields_of(REGISTRY.type_of(component).data_type):
        faults, roots = CATALOGUE.check(component, {name: value}, "d")
        assert all(fault.path.startswith("d") and fault.message for fault in faults)
        assert isinstance(roots, frozenset)
        assert isinstance(CATALOGUE.handles(component, {name: value}), tuple)


@pytest.mark.parametrize("component", [n for n in REGISTRY.names() if REGISTRY.kind(n) is Kind.TRIGGER])
@pytest.mark.parametrize("trigger_type", list(TriggerType))
def test_triggers_take_any_start(component: str, trigger_type: TriggerType) -> None:
    """Whatever started the run, a trigger's output says the run's id and what started it."""
    node = REGISTRY.compile("n1", component, dict(REGISTRY.type_of(component).example))
    output = node.trigger(TriggerContext(RUN_ID, trigger_type, {"run_id": "forged", "x": 1})).output
    assert output["run_id"] == RUN_ID
    assert output["trigger_type"] == trigger_type
