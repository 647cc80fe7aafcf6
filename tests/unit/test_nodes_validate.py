"""The validate node: rules and schemas, every fault listed, and what is refused when saved."""

from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node


def errors(value: Any, **data: Any) -> list[tuple[str, str]]:
    """(path, code) of everything wrong with a value."""
    outcome = compile_node("c", "validate", {"input": value, **data}).run({})
    found = outcome.output["errors"]
    assert outcome.output["valid"] is (not found)
    assert outcome.handle == ("invalid" if found else "valid")
    return [(error["path"], error["code"]) for error in found]


def faults(**data: Any) -> list[tuple[str, str]]:
    """(path, message) of everything wrong with this data."""
    return [(fault.path, fault.message) for fault in default_registry().check("validate", data, "d")[0]]


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        ("required", [0, False, "x", [0]], [None, "", " ", [], {}]),
        ("string", ["x"], [5, None, []]),
        ("integer", [5, "5", 5.0], [5.5, "x", True]),
        ("numeric", [5, "5.5"], ["x", True]),
        ("boolean", [True, 0, "1"], ["yes", 2]),
        ("array", [[], {}], ["x"]),
        ("email", ["ada@example.com"], ["ada@", "a b@example.com", "@example.com", "ada@localhost", 5]),
        ("url", ["https://example.com/x"], ["ftp://example.com", "example.com", "http://"]),
        ("uuid", ["01234567-89ab-cdef-0123-456789abcdef"], ["x"]),
        ("ip", ["10.0.0.1", "::1"], ["10.0.0.256"]),
        ("ipv4", ["10.0.0.1"], ["::1"]),
        ("mac_address", ["00:11:22:aa:bb:cc"], ["00:11:22:aa:bb"]),
        ("timezone", ["Europe/Berlin"], ["Mars/Phobos"]),
        ("json", ["[1]"], ["[1", 1]),
        ("alpha", ["añ"], ["a1"]),
        ("alpha_dash", ["a-1_"], ["a b"]),
        ("lowercase", ["ab"], ["aB"]),
        ("min:3", ["abc", 3, [1, 2, 3]], ["ab", 2, [1, 2]]),
        ("numeric|min:3", ["3"], ["2"]),
        ("max:3", ["abc", 3], ["abcd", 4]),
        ("size:2", ["ab", 2], ["a"]),
        ("between:1,3", [2, "ab"], [4, "abcd"]),
        ("multiple_of:0.1", [0.3, 1], [0.35]),
        ("digits:3", ["012", 123], ["12", "1x3"]),
        ("in:a,b", ["a", ["a", "b"]], ["c", ["a", "c"]]),
        ("not_in:a,b", ["c"], ["a"]),
        ("regex:/^(a|b)+$/i", ["AB"], ["c"]),
        ("not_regex:^a", ["b"], ["ab"]),
        ("starts_with:a,b", ["bc"], ["c"]),
        ("ends_with:c", ["bc"], ["cb"]),
        ("contains:a", ["bab", ["a"]], ["b", ["b"]]),
        ("distinct", [[1, "1"]], [[1, 1]]),
        ("date", ["2025-10-31"], ["x"]),
        ("after:2025-01-01", ["2025-01-02"], ["2025-01-01", "x"]),
        ("before_or_equal:2025-01-01", ["2025-01-01"], ["2025-01-02"]),
        ("nullable|string", [None, "x"], [5]),
        ("accepted", [True, "yes"], [False, None]),
    ],
)
def test_rules(rule: str, good: list[Any], bad: list[Any]) -> None:
    """Each rule takes what it should and lists what it should not, for the input itself and for a field."""
    assert faults(input="{{ n1 }}", rules={"x": rule}) == []
    for value in good:
        assert errors(value, rules=rule) == []
    last = rule.rsplit("|", maxsplit=1)[-1] if "regex" not in rule else rule
    for value in bad:
        assert errors({"x": value}, rules={"x": rule}) == [("x", last.partition(":")[0])]


def test_every_fault_is_listed() -> None:
    """All fields and all their rules are told, each at its own place; paths reach into lists."""
    value = {"email": "x", "items": [{"price": 1}, {"price": "y"}, {}]}
    rules = {"email": "required|email|min:3", "items.*.price": ["required", "numeric"], "town.name": "required"}
    assert errors(value, rules=rules) == [
        ("email", "email"),
        ("email", "min"),
        ("items[1].price", "numeric"),
        ("items[2].price", "required"),
        ("town.name", "required"),
    ]
    assert errors(value, rules={"email": "bail|email|min:3"}) == [("email", "email")]


def test_a_schema_lists_every_fault() -> None:
    """A JSON Schema tells all faults, with their paths."""
    schema = {"type": "object", "required": ["a"], "properties": {"b": {"items": {"type": "integer"}}}}
    assert faults(input="{{ n1 }}", schema=schema) == []
    assert errors({"a": 1, "b": [1]}, schema=schema) == []
    assert sorted(errors({"b": ["x", 1, None]}, schema=schema)) == [
        ("", "schema"),
        ("b[0]", "schema"),
        ("b[2]", "schema"),
    ]


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({}, "d.schema", "exactly one"),
        ({"schema": {}, "rules": "required"}, "d.schema", "exactly one"),
        ({"schema": {"type": "strin"}}, "d.schema", "strin"),
        ({"schema": {"$ref": "https://example.com/x"}}, "d.schema", "nothing is fetched"),
        ({"schema": {"pattern": "(?=x)"}}, "d.schema", "RE2"),
        (
            {"schema": {"unevaluatedProperties": False, "allOf": [{"patternProperties": {"(a+)+$": {}}}]}},
            "d.schema",
            "patternProperties",
        ),
        ({"rules": {"a": "requird"}}, "d.rules.a", 'did you mean "required"'),
        ({"rules": {"a": "min"}}, "d.rules.a", '"min" takes 1'),
        ({"rules": {"a": "min:x"}}, "d.rules.a", "not a number"),
        ({"rules": {"a": "regex:(?=x)"}}, "d.rules.a", "RE2"),
        ({"rules": {}}, "d.rules", "1 to 200"),
    ],
)
def test_faults(data: dict[str, Any], path: str, message: str) -> None:
    """Schemas and rules that will not do are refused when saved, with the path and what is legal."""
    ((at, text),) = faults(input="{{ n1 }}", **data)
    assert at == path
    assert message in text


def test_too_much_is_refused() -> None:
    """Rules that mean too many values fail the step."""
    with pytest.raises(StepFailedError, match="more than 10,000 values"):
        errors([[0] * 200] * 200, rules={"*.*": "integer"})
