"""The conditions: every operator, and what they refuse."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

REGISTRY = default_registry()


def handle(component: str, **data: Any) -> str | None:
    """Where a condition goes with this data."""
    return compile_node("c", component, data).run({}).handle


def faults(component: str, **data: Any) -> list[tuple[str, str]]:
    """(path, message) of everything wrong with this data."""
    return [(fault.path, fault.message) for fault in REGISTRY.check(component, data, "d")[0]]


@pytest.mark.parametrize(
    ("given", "operator", "value", "expected"),
    [
        ("abc", "equals", "abc", True),
        (5, "equals", "5", True),
        (True, "equals", "true", True),
        (None, "equals", "", True),
        ("abc", "equals", "ABC", False),
        ("abcd", "contains", "bc", True),
        (["a", "bc"], "contains", "bc", True),
        (["a", "bcd"], "contains", "bc", False),
        ("abcd", "starts_with", "ab", True),
        ("abcd", "ends_with", "ab", False),
        ("order 66", "regex", r"/\d+$/", True),
        ("ORDER", "regex", "/order/i", True),
        ("ORDER", "regex", "order", False),
        ("a\nb", "regex", "/^b$/m", True),
        ("\ud800x", "regex", "x", True),
        ("", "is_empty", None, True),
        ([], "is_empty", None, True),
        (0, "is_empty", None, False),
        (" ", "is_empty", None, False),
        ("b", "in", ["a", "b"], True),
        ("b", "in", "a, b", True),
        ("c", "in", "a, b", False),
        (2, "in", [1, 2], True),
    ],
)
def test_string_operators(given: Any, operator: str, value: Any, expected: bool) -> None:
    """Each operator of text, and its opposite."""
    opposite = "is_not_empty" if operator == "is_empty" else f"not_{operator}"
    for name, goes in ((operator, expected), (opposite, not expected)):
        data = {"input": given, "operator": name, "value": value}
        assert handle("string_condition", **data) == ("true" if goes else "false")


def test_case_is_ignored_on_request() -> None:
    """With case_sensitive false, every comparison folds case, those by expression too."""
    for operator, value in [
        ("equals", "STRASSE"),
        ("contains", "ASS"),
        ("in", ["Straße"]),
        ("regex", "^strasse|STRASSE$"),
    ]:
        data = {"input": "strasse", "operator": operator, "value": value, "case_sensitive": False}
        assert handle("string_condition", **data) == "true"


@pytest.mark.parametrize(
    ("given", "operator", "value", "expected"),
    [
        (5, "equals", "5.0", True),
        ("5", "==", 5, True),
        ("1e3", "=", 1000, True),
        (5, "not_equals", 6, True),
        (5, "!=", 5, False),
        (5, "<>", 6, True),
        ("10", "greater_than", 9, True),
        (9.5, ">", "9.5", False),
        (-1, "less_than", 0, True),
        (1, "<", 0, False),
        (2, "greater_than_or_equal", 2, True),
        (2, ">=", 2.1, False),
        (2, "less_than_or_equal", 2, True),
        (" 2 ", "<=", 1, False),
        (5, "between", [1, 5], True),
        (5.1, "between", {"min": 1, "max": "5"}, False),
        (0, "not_between", [1, 5], True),
        (2**70 + 1, ">", 2**70, True),
    ],
)
def test_number_operators(given: Any, operator: str, value: Any, expected: bool) -> None:
    """Each operator of numbers, as a word and as a symbol, for numbers and for text that is one."""
    data = {"input": given, "operator": operator, "value": value}
    assert handle("number_condition", **data) == ("true" if expected else "false")


@pytest.mark.parametrize("given", ["five", "", None, True, [], "1_000", "٥", "nan", "inf", "9" * 5000])
def test_what_is_no_number_fails(given: Any) -> None:
    """An input that is no number fails the step, naming the field and the value."""
    with pytest.raises(StepFailedError, match=r"data\.input: .* is not a number") as caught:
        handle("number_condition", input=given, operator=">", value=1)
    assert caught.value.code == "not_a_number"


def test_templates_keep_numbers() -> None:
    """A number that a template gives is compared as a number."""
    node = compile_node("c", "number_condition", {"input": "{{ n1.x }}", "operator": ">", "value": "{{ n1.y }}"})
    assert node.run({"n1": {"x": 10, "y": "9"}}).handle == "true"
    with pytest.raises(StepFailedError, match=r"data\.value"):
        node.run({"n1": {"x": 10, "y": "many"}})


def test_switch_takes_the_first_case_that_matches() -> None:
    """Cases are tried in order; none matching takes the default; text and order mix."""
    cases = [
        {"name": "big", "operator": ">", "value": 100},
        {"name": "five", "value": 5},
        {"name": "also five", "operator": "==", "value": "5"},
        {"name": "odd", "operator": "regex", "value": "[13579]$"},
    ]
    goes = {given: handle("switch_condition", input=given, cases=cases) for given in (500, 5, 7, 8)}
    assert goes == {500: "big", 5: "five", 7: "odd", 8: "default"}
    assert REGISTRY.handles("switch_condition", {"cases": cases}) == ("big", "five", "also five", "odd", "default")


def test_switch_case_names_are_checked() -> None:
    """Names that repeat or are handles of their own are faults, each at its path; so is a template for a name."""
    cases = [
        {"name": "a", "value": 1},
        {"name": "a", "value": 2},
        {"name": "default", "value": 3},
        {"name": "error", "value": 4},
    ]
    assert [path for path, _ in faults("switch_condition", input=1, cases=cases)] == [
        "d.cases[1].name",
        "d.cases[2].name",
        "d.cases[3].name",
    ]
    assert faults("switch_condition", input=1, cases=[{"name": "{{ x }}", "value": 1}])[0][0] == "d.cases[0].name"


@pytest.mark.parametrize("name", ["a\x00", "\ud800", "a\nb"])
def test_a_switch_case_is_named_by_what_can_be_stored(name: str) -> None:
    """A control character or half of a surrogate pair in a name is a fault when saved, not a run that breaks."""
    ((path, message),) = faults("switch_condition", input=1, cases=[{"name": name, "value": 1}])
    assert path == "d.cases[0].name"
    message.encode()  # the fault itself can be sent and stored


@pytest.mark.parametrize(
    ("component", "data", "paths"),
    [
        ("string_condition", {"input": "x", "operator": "equal", "value": "x"}, ["d.operator"]),
        ("string_condition", {"input": "x", "operator": "equals"}, ["d.value"]),
        ("string_condition", {"input": "x", "operator": "is_empty"}, []),
        ("string_condition", {"input": "x", "operator": "regex", "value": "(/"}, ["d.value"]),
        ("string_condition", {"input": "x", "operator": "regex", "value": "(?=x)"}, ["d.value"]),
        ("string_condition", {"input": "x", "operator": "regex", "value": "{{ n1.pattern }}"}, []),
        ("string_condition", {"operator": 5, "case_sensitive": "no"}, ["d.input", "d.operator", "d.case_sensitive"]),
        ("number_condition", {"input": "x", "operator": ">", "value": "many"}, ["d.value"]),
        ("number_condition", {"input": "x", "operator": "between", "value": [1]}, ["d.value"]),
        ("number_condition", {"input": "x", "operator": "between", "value": [1, "{{ n1.max }}"]}, []),
        ("switch_condition", {"input": 1, "cases": []}, ["d.cases"]),
        ("switch_condition", {"input": 1, "cases": [{"name": "a"}]}, ["d.cases[0].value"]),
        (
            "switch_condition",
            {"input": 1, "cases": [{"nam": "a", "operator": "~"}]},
            ["d.cases[0].nam", "d.cases[0].name", "d.cases[0].operator"],
        ),
    ],
)
def test_faults(component: str, data: dict[str, Any], paths: list[str]) -> None:
    """Everything that is wrong is found when a workflow is saved, all at once and each at its path."""
    assert sorted(path for path, _ in faults(component, **data)) == sorted(paths)


def test_a_fault_lists_the_legal_values() -> None:
    """An operator that does not exist is answered with those that do."""
    ((_, message),) = faults("string_condition", input="x", operator="equal", value="x")
    assert '"equals"' in message
    assert '"is_not_empty"' in message


def test_a_bad_expression_from_a_template_fails_the_step() -> None:
    """An expression that only a run knows is judged then."""
    node = compile_node("c", "string_condition", {"input": "x", "operator": "regex", "value": "{{ n1.p }}"})
    with pytest.raises(StepFailedError) as caught:
        node.run({"n1": {"p": "(((("}})
    assert caught.value.code == "invalid_regex"


@pytest.mark.parametrize(
    ("given", "operator", "value", "expected"),
    [
        (True, "is_true", None, True),
        ("no", "is_true", None, False),
        (0, "is_false", None, True),
        ("ON", "equals", 1, True),
        (False, "==", "false", True),
        (True, "!=", True, False),
        (None, "is_empty", None, True),
        (False, "is_not_empty", None, True),
    ],
)
def test_boolean_operators(given: Any, operator: str, value: Any, expected: bool) -> None:
    """Each operator of booleans, for booleans and for what stands for one."""
    data = {"input": given, "operator": operator, "value": value}
    assert handle("boolean_condition", **data) == ("true" if expected else "false")


@pytest.mark.parametrize("given", ["perhaps", 2, None, [], {}])
def test_what_is_no_boolean_fails(given: Any) -> None:
    """An input that is no boolean fails the step, naming the legal values."""
    with pytest.raises(StepFailedError, match=r"^data\.input: .* legal: true, false") as caught:
        handle("boolean_condition", input=given)
    assert caught.value.code == "not_a_boolean"
    assert [path for path, _ in faults("boolean_condition", input=1, operator="equals", value="perhaps")] == ["d.value"]


def test_symbols_compare_text_too() -> None:
    """Equality has its symbols for text as for numbers; a switch names the case whose value will not do."""
    for operator, expected in (("==", "true"), ("=", "true"), ("!=", "false"), ("<>", "false")):
        assert handle("string_condition", input="a", operator=operator, value="a") == expected
    cases = [{"name": "a", "operator": ">", "value": "{{ n1.x }}"}]
    node = compile_node("c", "switch_condition", {"input": 5, "cases": cases})
    with pytest.raises(StepFailedError, match=r"^data\.cases\[0\]\.value: "):
        node.run({"n1": {"x": "many"}})


@settings(max_examples=60, deadline=None)
@given(st.text("aAbß", max_size=6), st.text("aAbß", max_size=3), st.integers(-9, 9), st.integers(-9, 9))
def test_agrees_with_plain_python(text: str, part: str, one: int, other: int) -> None:
    """Text and numbers compare as they do in Python."""
    texts = {
        "equals": text == part,
        "contains": part in text,
        "starts_with": text.startswith(part),
        "ends_with": text.endswith(part),
        "is_empty": not text,
    }
    for operator, expected in texts.items():
        assert handle("string_condition", input=text, operator=operator, value=part) == str(expected).lower()
    numbers = {">": one > other, "<=": one <= other, "==": one == other, "!=": one != other}
    for operator, expected in numbers.items():
        assert handle("number_condition", input=str(one), operator=operator, value=other) == str(expected).lower()
