"""``set_variables``: names for values."""

from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node


def paths(variables: Any) -> list[str]:
    """The paths of everything wrong with these variables when they are saved."""
    return [fault.path for fault in default_registry().check("set_variables", {"variables": variables}, "d")[0]]


@pytest.mark.parametrize(
    "variables",
    [
        {"a": "{{ n1.list }}", "b": "x{{ n1.n }}", "c": {"d": ["{{ n1.n }}"]}, "e": None},
        [
            {"name": "a", "value": "{{ n1.list }}"},
            {"name": "{{ n1.name }}", "value": "x{{ n1.n }}"},
            {"name": "c", "value": {"d": ["{{ n1.n }}"]}},
            {"name": "e"},
        ],
    ],
)
def test_values_keep_their_types(variables: Any) -> None:
    """The output is the object of the variables, from either way of writing them, each with its type."""
    assert paths(variables) == []
    node = compile_node("n2", "set_variables", {"variables": variables})
    output = node.run({"n1": {"list": [1, {"x": 2}], "n": 5, "name": "b"}}).output
    assert output == {"a": [1, {"x": 2}], "b": "x5", "c": {"d": [5]}, "e": None}


def test_all_variables_from_one_template() -> None:
    """An object of an earlier output can be the variables."""
    node = compile_node("n2", "set_variables", {"variables": "{{ n1.all }}"})
    assert paths("{{ n1.all }}") == []
    assert node.run({"n1": {"all": {"a": 1}}}).output == {"a": 1}
    with pytest.raises(StepFailedError, match=r"data\.variables: "):
        node.run({"n1": {"all": 5}})


@pytest.mark.parametrize(
    ("variables", "at"),
    [
        ({"": 1}, ["d.variables."]),
        ({"x" * 101: 1}, [f"d.variables.{'x' * 101}"]),
        ([{"name": "a", "value": 1}, {"name": "a"}], ["d.variables[0].name", "d.variables[1].name"]),
        ([{"value": 1}], ["d.variables[0].name"]),
        ([{"name": "a", "wert": 1}], ["d.variables[0].wert"]),
        ([{"name": 5}], ["d.variables[0].name"]),
        ({f"v{i}": i for i in range(501)}, ["d.variables"]),
        (None, ["d.variables"]),
        (5, ["d.variables"]),
    ],
)
def test_faults(variables: Any, at: list[str]) -> None:
    """Names are there, of a sensible length, and each once; there are at most 500."""
    assert paths(variables) == at


def test_names_from_templates_are_judged_by_the_run() -> None:
    """Two templates that give one name fail the step, which says so."""
    variables = [{"name": "{{ n1.x }}", "value": 1}, {"name": "a", "value": 2}]
    assert paths(variables) == []
    with pytest.raises(StepFailedError, match=r'data\.variables: The name "a" stands 2 times; each stands once\.'):
        compile_node("n2", "set_variables", {"variables": variables}).run({"n1": {"x": "a"}})
