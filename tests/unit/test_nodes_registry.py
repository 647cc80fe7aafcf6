"""The registry: discovery, plugins, and what it says about types it does not have."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, cast

import msgspec
import pytest

from shared.egress.interface import Egress
from shared.errors import NotFoundError, StepFailedError
from shared.nodes import plugins as module
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.registry import Registry, default_registry
from tests.compiling import compile_node


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration of a type from elsewhere."""

    n: int = 1


class Doubler(NodeType[Data]):
    """Doubles a number."""

    component_id = "acme_double"
    aliases = ("double",)
    title = "Double"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"n": 2}

    def run(self, data: Data) -> Outcome:
        return Outcome({"result": data.n * 2})


def test_finds_the_types_of_the_package() -> None:
    """Every file of the package that holds a type is found, and an alias leads to its type."""
    registry = default_registry()
    assert {"manual_trigger", "webhook", "string_condition", "delay", "terminate"} <= {*registry.names()}
    assert registry.resolve("schedule_trigger") == "scheduled_trigger"
    assert registry.resolve("no_such_type") is None
    assert registry.kind("no_such_type") is None


def test_takes_types_from_installed_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry point of the group adds its type beside the built-in ones."""
    entry = EntryPoint("double", f"{__name__}:Doubler", module.GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda _: Doubler)
    monkeypatch.setattr(module, "entry_points", lambda group: [entry] if group == "edgewise.nodes" else [])
    default_registry.cache_clear()
    try:
        assert compile_node("n", "double", {"n": 4}).run({}).output == {"result": 8}
        assert "webhook" in default_registry().names()
    finally:
        default_registry.cache_clear()


def test_names_are_unique() -> None:
    """Two types of one name are refused when the process starts, by id and by alias."""
    with pytest.raises(ValueError, match="acme_double"):
        Registry([Doubler(), Doubler()])


def test_unknown_type_is_an_error_of_its_own() -> None:
    """A type that is not here can be told apart from a node that fails."""
    with pytest.raises(NotFoundError) as caught:
        compile_node("n", "from_a_newer_version", {})
    assert caught.value.code == "unknown_component"


@pytest.mark.parametrize(
    "data", [{}, {"method": "GET", "url": "{{"}, {"method": "GET", "url": "x", "new": 1}, {"method": 5, "url": "x"}]
)
async def test_data_that_the_type_does_not_take_fail_the_step(data: dict[str, Any]) -> None:
    """A version saved under other code compiles all the same; the step itself fails, with the reason."""
    node = compile_node("n", "webhook", data)
    assert (node.id, node.component_id, node.mode) == ("n", "webhook", Mode.EFFECT)
    context = StepContext("r", "n", "-", 1, "r:n:-", datetime(2025, 1, 1, tzinfo=UTC), 1.0, cast(Egress, None))
    with pytest.raises(StepFailedError) as caught:
        await node.call({}, context)
    assert caught.value.code == "invalid_data"


def test_templates_in_typed_fields_are_taken() -> None:
    """A template stands where a number should; its value is converted when it is there."""
    registry = Registry([Doubler()])
    assert registry.check("acme_double", {"n": "{{ n1.x }}"}, "d") == ([], frozenset({"n1"}))
    assert registry.compile("n", "acme_double", {"n": "{{ n1.x }}"}).run({"n1": {"x": "21"}}).output == {"result": 42}


def test_data_that_nests_too_deep_is_a_fault() -> None:
    """Data without a bottom is answered with a fault and raises nothing."""
    deep: Any = "{{ n1.x }}"
    for _ in range(5_000):
        deep = {"a": deep}
    faults, roots = default_registry().check("data_mapper", {"mapping": deep}, "nodes[0].data")
    assert [(fault.path, roots) for fault in faults] == [("nodes[0].data", frozenset())]


def test_every_fault_at_once() -> None:
    """Unknown fields, wrong types, missing fields and bad templates of one node are told together."""
    data = {
        "methd": "GET",
        "url": "{{ 1.x }}",
        "body": "{{ vault.k }}",
        "verify_tls": "{{ vault.k }}",
        "follow_redirects": 1,
        "query": {"q": "{{ true.x }}"},
    }
    faults, _ = default_registry().check("webhook", data, "d")
    assert {(fault.path, fault.code) for fault in faults} == {
        ("d.methd", "unknown_field"),
        ("d.method", "required"),
        ("d.follow_redirects", "invalid_value"),
        ("d.url", "template_syntax"),
        ("d.query.q", "template_syntax"),
        ("d.verify_tls", "secret_not_allowed"),
    }
