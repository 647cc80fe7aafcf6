"""Conditions made of conditions: groups, lists held against rules, and the filter."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from shared.nodes.rules import MAX_DEPTH, MAX_RULES
from tests.compiling import compile_node

NOW = datetime(2025, 9, 12, 12, tzinfo=UTC)


def handle(component: str, **data: Any) -> str | None:
    """Where a condition goes with this data."""
    return compile_node("c", component, data).run({}, lambda: NOW).handle


def kept(items: list[Any], *conditions: Any, **data: Any) -> list[Any]:
    """What a filter keeps."""
    node = compile_node("c", "array_filter", {"input": items, "conditions": list(conditions), **data})
    result: list[Any] = node.run({}, lambda: NOW).output["result"]
    return result


def faults(component: str, **data: Any) -> list[tuple[str, str]]:
    """(path, message) of everything wrong with this data."""
    return [(fault.path, fault.message) for fault in default_registry().check(component, data, "d")[0]]


TRUE = {"input": 1, "value": 1}
FALSE = {"input": 1, "value": 2}


@pytest.mark.parametrize(
    ("logic", "rules", "expected"),
    [
        ("AND", [TRUE], True),
        ("AND", [TRUE, FALSE], False),
        ("OR", [FALSE, TRUE], True),
        ("or", [FALSE, FALSE], False),
        ("AND", [TRUE, {"logic": "OR", "rules": [FALSE, TRUE]}], True),
        ("OR", [FALSE, {"logic": "and", "conditions": [TRUE, {"logic": "OR", "rules": [FALSE]}]}], False),
        ("AND", [{"input": "2025-09-12", "operator": "is_today"}], True),
        ("AND", [{"input": "3 days ago", "operator": "within_last", "value": 72, "unit": "hours"}], True),
        ("AND", [{"input": "yes", "operator": "is_true"}], True),
        ("AND", [{"type": "boolean", "input": "yes", "operator": "equals", "value": True}], True),
        ("AND", [{"type": "number", "input": "5.0", "operator": "==", "value": 5}], True),
        ("AND", [{"input": "5.0", "operator": "==", "value": 5}], False),
        ("AND", [{"input": [1, 2], "operator": "length_greater_than", "value": 1}], True),
        ("AND", [{"input": "A", "operator": "equals", "value": "a", "case_sensitive": False}], True),
        ("AND", [{"type": "date", "input": "2025-01-01", "operator": "<", "value": "2025-01-02"}], True),
    ],
)
def test_groups(logic: str, rules: list[Any], expected: bool) -> None:
    """AND and OR join rules of every type, and groups of them."""
    assert faults("logical_group_condition", logic=logic, rules=rules) == []
    assert handle("logical_group_condition", logic=logic, rules=rules) == ("true" if expected else "false")


def test_a_rule_protects_those_behind_it() -> None:
    """Rules are judged in their order and no further than need be."""
    item: dict[str, Any] = {"field": "price", "operator": ">", "value": 5}
    filled = {"field": "price", "operator": "is_not_empty"}
    assert kept([{}, {"price": 6}], filled, item) == [{"price": 6}]
    with pytest.raises(StepFailedError, match=r"^data\.input\[0\]\.price: null is not a number"):
        kept([{}, {"price": 6}], item, filled)


def test_errors_name_the_rule() -> None:
    """What only a run knows to be wrong is told with the place of the rule, however deep."""
    bad = {"input": 5, "operator": ">", "value": "{{ n1.x }}"}
    node = compile_node("c", "logical_group_condition", {"rules": [TRUE, {"logic": "OR", "rules": [FALSE, bad]}]})
    with pytest.raises(StepFailedError, match=r'^data\.rules\[1\]\.rules\[1\]\.value: "many" is not a number'):
        node.run({"n1": {"x": "many"}})
    rule = {"input": "now", "operator": "is_past", "timezone": "{{ n1.x }}"}
    with pytest.raises(StepFailedError, match=r"^data\.rules\[0\]\.timezone: "):
        compile_node("c", "logical_group_condition", {"rules": [rule]}).run({"n1": {"x": "Mars"}})


def test_rules_may_come_from_a_template() -> None:
    """A whole list of rules may be what a template gives; it is held to the same limits."""
    node = compile_node("c", "logical_group_condition", {"rules": "{{ n1.rules }}"})
    assert node.run({"n1": {"rules": [TRUE, {"logic": "OR", "rules": [FALSE, TRUE]}]}}).handle == "true"
    deep: dict[str, Any] = TRUE
    for _ in range(MAX_DEPTH):
        deep = {"logic": "AND", "rules": [deep]}
    for rules, message in [
        ([], "empty"),
        ([deep], "at most 10 deep"),
        ([TRUE] * (MAX_RULES + 1), "at most 100"),
        ([{"type": "number", "operator": "contains"}], "no operator"),
        ([{"operator": "about"}], "about"),
    ]:
        with pytest.raises(StepFailedError, match=message) as caught:
            node.run({"n1": {"rules": rules}})
        assert caught.value.code == "invalid_data"


def nested(depth: int) -> dict[str, Any]:
    """A rule inside so many groups."""
    rule: dict[str, Any] = {"input": 1, "value": 1}
    for _ in range(depth):
        rule = {"logic": "AND", "rules": [rule]}
    return rule


@pytest.mark.parametrize(
    ("rules", "paths"),
    [
        ([], ["d.rules"]),
        ([{}], ["d.rules[0].input", "d.rules[0].value"]),
        ([{"input": 1, "operator": "abov", "value": 1}], ["d.rules[0].operator"]),
        ([{"input": 1, "type": "number", "operator": "before", "value": 1}], ["d.rules[0].operator"]),
        ([{"logic": "XOR", "rules": [TRUE]}], ["d.rules[0].logic"]),
        ([{"logic": "OR", "rules": []}], ["d.rules[0].rules"]),
        ([{"logic": "OR", "rules": [TRUE], "input": 1}], ["d.rules[0].input"]),
        ([{"rules": [TRUE], "conditions": [TRUE]}], ["d.rules[0]"]),
        (
            [TRUE, {"logic": "OR", "rules": [{"input": 1, "operator": ">", "value": "x"}]}],
            ["d.rules[1].rules[0].value"],
        ),
        ([{"input": 1, "value": 1, "timezone": "Mars"}], ["d.rules[0].timezone"]),
        ([{"field": "x", "value": 1}], ["d.rules[0].field"]),
        ([nested(MAX_DEPTH)], ["d" + ".rules[0]" * MAX_DEPTH + ".rules"]),
        ([TRUE] * (MAX_RULES + 1), ["d.rules"]),
        ("{{ n1.rules }}", []),
        (["{{ n1.rule }}", TRUE], []),
        ([nested(MAX_DEPTH - 1)], []),
    ],
)
def test_faults(rules: Any, paths: list[str]) -> None:
    """Everything wrong with rules is found when a workflow is saved, each at its path."""
    assert sorted(path for path, _ in faults("logical_group_condition", rules=rules)) == sorted(paths)


def test_faults_name_what_is_legal() -> None:
    """An operator of another type is answered with those of the type; a misspelt field with the field meant."""
    rule = {"input": 1, "type": "boolean", "operator": "contains", "value": 1}
    ((_, message),) = faults("logical_group_condition", rules=[rule])
    assert '"is_true"' in message
    ((_, message),) = faults("array_filter", input=[], conditions=[{"feild": "x", "operator": "is_empty"}])
    assert 'did you mean "field"' in message


ORDERS = [{"id": 1, "total": 80, "tags": ["a"]}, {"id": 2, "total": 120, "tags": []}]


@pytest.mark.parametrize(
    ("given", "operator", "more", "expected"),
    [
        (["a", 5], "contains", {"value": "5"}, True),
        (["A"], "contains", {"value": "a", "case_sensitive": False}, True),
        ([{"a": 1, "b": 2}], "contains", {"value": {"b": 2, "a": 1}}, True),
        ([["x"]], "contains", {"value": ["x"]}, True),
        (["ab"], "contains", {"value": "a"}, False),
        ([1], "not_contains", {"value": 2}, True),
        ([1, 2], "contains_any", {"value": [2, 3]}, True),
        ([1, 2], "contains_all", {"value": [2, 3]}, False),
        ([1, 2], "contains_none", {"value": [3]}, True),
        ([1, 2], "any", {"value": [2, 3]}, True),
        ([1, 2], "all", {"value": [2, 2, 1]}, True),
        ([1, 2], "none", {"value": [2]}, False),
        ([], "is_empty", {}, True),
        (None, "is_empty", {}, True),
        ([0], "is_not_empty", {}, True),
        ([1, 2], "length_equals", {"value": "2"}, True),
        ([1, 2], "length_not_equals", {"value": 2}, False),
        ([1, 2], "length_greater_than", {"value": 1}, True),
        ([1, 2], "length_less_than", {"value": 2}, False),
        ([1, 2], "length_greater_than_or_equal", {"value": 2}, True),
        ([1, 2], "length_less_than_or_equal", {"value": 1}, False),
        ([1, 2], "length_between", {"value": [1, 2]}, True),
        ([1, 2], "length_not_between", {"value": {"min": 0, "max": 1}}, True),
        (ORDERS, "any", {"conditions": [{"field": "total", "operator": ">", "value": 100}]}, True),
        (ORDERS, "all", {"conditions": [{"field": "total", "operator": ">", "value": 100}]}, False),
        (ORDERS, "none", {"conditions": [{"field": "total", "operator": ">", "value": 200}]}, True),
        ([3, 4], "all", {"conditions": [{"operator": "between", "value": [3, 4]}]}, True),
        ([], "all", {"conditions": [{"operator": "is_empty"}]}, True),
        ([], "any", {"conditions": [{"operator": "is_empty"}]}, False),
    ],
)
def test_lists(given: Any, operator: str, more: dict[str, Any], expected: bool) -> None:
    """Each operator of lists: what is in them, how long they are, and how many items meet conditions."""
    data = {"input": given, "operator": operator, **more}
    assert faults("array_condition", **data) == []
    assert handle("array_condition", **data) == ("true" if expected else "false")


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"operator": "any"}, "d.value"),
        ({"operator": "any", "value": "x"}, "d.value"),
        ({"operator": "length_equals", "value": "x"}, "d.value"),
        ({"operator": "length_between", "value": 5}, "d.value"),
        ({"operator": "contains", "value": 1, "conditions": [{"operator": "is_empty"}]}, "d.conditions"),
        ({"operator": "any", "value": [], "conditions": [{"operator": "is_empty"}]}, "d.value"),
        ({"operator": "any", "conditions": []}, "d.conditions"),
        ({"operator": "length"}, "d.operator"),
    ],
)
def test_list_faults(data: dict[str, Any], path: str) -> None:
    """What does not go together in an array condition is refused when saved."""
    assert [at for at, _ in faults("array_condition", input="{{ n1.x }}", **data)] == [path]


@pytest.mark.parametrize("given", ["text", 5, None, {"a": 1}])
def test_what_is_no_list_fails(given: Any) -> None:
    """An input that is no list fails the step, naming the field and the value."""
    data = {"input": "{{ n1.x }}", "conditions": [{"operator": "is_empty"}]}
    for component, more in [
        ("array_filter", {}),
        ("array_condition", {"operator": "any"}),
    ]:
        with pytest.raises(StepFailedError, match=r"^data\.input: .* is no list") as caught:
            compile_node("c", component, {**data, **more}).run({"n1": {"x": given}})
        assert caught.value.code == "not_a_list"


def test_fields_are_paths() -> None:
    """A field is a path through objects and lists; a name with dots goes before it, and nothing there is null."""
    items: list[Any] = [{"a": {"b": [{"c": "x"}]}}, {"a.b[0].c": "x"}, {"a": {"b": "xyz"}}, "text", None]
    assert kept(items, {"field": "a.b[0].c", "value": "x"}) == items[:2]
    assert kept(items, {"field": "a.b.0.c", "value": "x"}) == items[:1]
    assert kept(items, {"field": "a", "operator": "is_empty"}) == [items[1], "text", None]
    assert kept(items, {"operator": "is_empty"}) == [None]


def test_a_group_may_stand_for_the_list() -> None:
    """Conditions may be one group; its faults are told where it stands."""
    group = {"logic": "OR", "rules": [{"value": 1}, {"value": 3}]}
    node = compile_node("c", "array_filter", {"input": [1, 2, 3], "conditions": group, "mode": "exclude"})
    assert node.run({}).output == {"result": [2]}
    assert [at for at, _ in faults("array_filter", input=[], conditions={"logic": "OR", "rules": [{}]})] == [
        "d.conditions.rules[0].value"
    ]


def test_too_much_is_refused() -> None:
    """Lists that are too long, and conditions that take too long on long ones, fail the step in bounded time."""
    with pytest.raises(StepFailedError, match="at most 10,000") as caught:
        kept([0] * 10_001, {"value": 1})
    assert caught.value.code == "too_many_items"
    values = [f"value {number}" for number in range(20_000)]
    began = time.process_time()
    with pytest.raises(StepFailedError, match="processor time") as caught:
        kept(["x" * 50] * 10_000, *[{"operator": "not_in", "value": values}] * 25)
    assert caught.value.code == "too_much_work"
    assert time.process_time() - began < 5


leaves = st.builds(
    lambda field, operator, value: {"field": field, "operator": operator, "value": value},
    st.sampled_from(["a", "b"]),
    st.sampled_from(["==", "!=", "<", ">=", "contains"]),
    st.integers(0, 5),
)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        lambda logic, rules: {"logic": logic, "rules": rules},
        st.sampled_from(["AND", "OR"]),
        st.lists(inner, min_size=1, max_size=3),
    ),
    max_leaves=8,
)


def reference(rule: dict[str, Any], item: dict[str, Any]) -> bool:
    """The obvious way to judge a rule."""
    if "rules" in rule:
        results = [reference(inner, item) for inner in rule["rules"]]
        return all(results) if rule["logic"] == "AND" else any(results)
    given, value = item[rule["field"]], rule["value"]
    return {
        "==": given == value,
        "!=": given != value,
        "<": given < value,
        ">=": given >= value,
        "contains": str(value) in str(given),
    }[rule["operator"]]


@settings(max_examples=60, deadline=None)
@given(trees, st.lists(st.fixed_dictionaries({"a": st.integers(0, 55), "b": st.integers(0, 5)}), max_size=6))
def test_agrees_with_the_obvious(tree: dict[str, Any], items: list[dict[str, Any]]) -> None:
    """Including and excluding part a list in two as plain Python does, in its order."""
    included = [item for item in items if reference(tree, item)]
    excluded = [item for item in items if not reference(tree, item)]
    assert kept(items, tree) == included
    assert kept(items, tree, mode="exclude") == excluded
    quantified = {"all": not excluded, "any": bool(included), "none": not included}
    for operator, wanted in quantified.items():
        assert handle("array_condition", input=items, operator=operator, conditions=[tree]) == str(wanted).lower()
