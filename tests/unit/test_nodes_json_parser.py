"""``json_parser``: reading, taking out, checking, and what it refuses."""

import time
from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.json_schemas import SchemaFaultError, schema_of
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

ORDERS = {"orders": [{"id": "A-1", "total": 120}, {"id": "A-2", "total": 80}]}


def result(**data: Any) -> Any:
    """What the node gives."""
    return compile_node("n2", "json_parser", data).run({}).output["result"]


def failure(**data: Any) -> StepFailedError:
    """What the node fails with."""
    with pytest.raises(StepFailedError) as caught:
        result(**data)
    return caught.value


def faults(**data: Any) -> list[tuple[str, str]]:
    """The paths and messages of what is wrong with this data when it is saved."""
    return [(fault.path, fault.message) for fault in default_registry().check("json_parser", data, "d")[0]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}),
        ("\ufeff[1]", [1]),
        (' "x" ', "x"),
        ('{"a": "\\ud800"}', {"a": "\ud800"}),
        ({"a": 1}, {"a": 1}),
        ([1], [1]),
        (None, None),
    ],
)
def test_reads_json(text: Any, value: Any) -> None:
    """Text is read as JSON, a byte order mark passed over; what is no text is taken as it is."""
    assert result(input=text) == value


def test_reads_what_a_template_gives() -> None:
    """The text, or the object, comes out of the context."""
    node = compile_node("n2", "json_parser", {"input": "{{ n1.body }}", "path": "{{ n1.key }}.b"})
    assert node.run({"n1": {"body": '{"a": {"b": 5}}', "key": "a"}}).output == {"result": 5}
    assert node.run({"n1": {"body": {"a": {"b": [1]}}, "key": "a"}}).output == {"result": [1]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("orders[?total > `100`].id", ["A-1"]),
        ("orders[0].{name: id, cost: total}", {"name": "A-1", "cost": 120}),
        ("sum(orders[].total)", 200),
        ("orders[1:].id | [0]", "A-2"),
        ("nothing.here", None),
        ("orders[9]", None),
        ("orders[0].id == 'A-1' && orders[1].total != `120`", True),
        ("sort_by(orders, &total)[0].id", "A-2"),
        ("join(', ', orders[].id)", "A-1, A-2"),
        ("to_string(orders[0].total)", "120"),
        ("contains(orders[].id, 'A-2')", True),
    ],
)
def test_takes_out_what_the_path_says(path: str, value: Any) -> None:
    """JMESPath picks, filters and computes; where nothing is there it gives null."""
    assert result(input=ORDERS, path=path) == value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "line 1"),
        ('{"a": 1,\n "b": }', "line 2, column 7"),
        ("[NaN]", "NaN is not JSON"),
        ("", "line 1, column 1"),
        ("[1] [2]", "line 1"),
        ("[" * 100_000, "nests too deep"),
        ("x" * (1024 * 1024 + 1), "at most 1048576"),
    ],
)
def test_what_is_no_json_fails_with_its_place(text: str, reason: str) -> None:
    """The step fails, and when the text is a constant the save does, with where it goes wrong."""
    error = failure(input=text)
    assert (error.code, error.message[:12]) == ("invalid_json", "data.input: ")
    assert reason in error.message
    ((path, message),) = faults(input=text)
    assert path == "d.input"
    assert reason in message


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("orders[", "column 8"),
        ("nosuch(orders)", "there is no function nosuch(); legal: abs, "),
        ("length(a, b)", "length() takes 1 argument, not 2"),
        ("", "empty"),
        ("a." * 3_000 + "a", "at most 4096 characters"),
        ("!" * 4_000 + "a", "nests too deep"),
    ],
)
def test_a_bad_path_is_refused_when_saved(path: str, reason: str) -> None:
    """What is no JMESPath, or calls what is not there, is a fault at the path, and fails a step that comes to it."""
    ((at, message),) = faults(input={}, path=path)
    assert at == "d.path"
    assert reason in message
    assert failure(input={}, path=path).code == "invalid_path"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("sum(orders[].id)", "sum() takes array-number, not str"),
        ("orders[::0]", "step cannot be zero"),
        ("to_number('1e999')", "no JSON number"),
    ],
)
def test_a_path_that_cannot_be_followed_fails_the_step(path: str, reason: str) -> None:
    """A function that does not take what is there says what it takes."""
    assert faults(input=ORDERS, path=path) == []
    assert reason in failure(input=ORDERS, path=path).message


@pytest.mark.parametrize(
    "path",
    [
        "|".join(["[@,@]"] * 60),
        "|".join(["[@,@][]"] * 60),
        "|".join(["{a:@,b:@}"] * 60),
        f"map(&`{[*range(500)]}`, @)[]",
        f"map(&`{[*range(500)]}`, @)",
        f"join('', map(&'{'x' * 1000}', @))",
        f"map(&sort(`{[*range(500)]}`), @)",
        f"to_string(map(&`{[*range(500)]}`, @))",
    ],
)
def test_no_path_makes_much_out_of_little(path: str) -> None:
    """An expression that would make or visit millions of things fails within two seconds of processor time."""
    began = time.thread_time()
    assert failure(input=[*range(100_000)], path=path).code == "invalid_path"
    assert time.thread_time() - began < 2


def test_the_schema_lists_every_fault() -> None:
    """The result is held to the schema, and the step fails with the place of everything that is wrong with it."""
    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {
            "id": {},
            "n": {"type": "integer"},
            "tags": {"items": {"pattern": "^[a-z]+$"}, "uniqueItems": True},
        },
        "additionalProperties": False,
    }
    assert faults(input={}, schema=schema) == []
    assert result(input={"id": 1, "n": 2, "tags": ["a"]}, schema=schema) == {"id": 1, "n": 2, "tags": ["a"]}
    error = failure(input={"n": "x", "tags": ["A", "A"], "more": 1}, schema=schema)
    assert error.code == "schema_mismatch"
    places = sorted(fault["path"] for fault in error.body)
    assert places == ["result", "result", "result.n", "result.tags", "result.tags[0]", "result.tags[1]"]
    assert "'id' is a required property" in error.message
    assert "'more' is no property that is allowed here" in error.message


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "strange"}, "schema.type"),
        ({"pattern": "(?=x)"}, "RE2"),
        ({"patternProperties": {"(": {}}}, "RE2"),
        ({"$ref": "https://elsewhere.example/x.json"}, "nothing is fetched"),
        ({"$schema": "https://json-schema.org/draft/1999/schema"}, "no draft"),
        ({"enum": ["x" * 70_000]}, "at most 65536"),
        ({"unevaluatedProperties": False, "patternProperties": {"a": {}}}, "unevaluatedProperties"),
    ],
)
def test_a_bad_schema_is_refused_when_saved(schema: Any, reason: str) -> None:
    """What is no schema, or one that would work outside its limits, is a fault at the schema."""
    ((path, message),) = faults(input={}, schema=schema)
    assert path == "d.schema"
    assert reason in message


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"format": "email"}, "a@b.example", "a@b"),
        ({"format": "date-time"}, "2025-10-31T12:00:00Z", "2025-10-31T12:00:00"),
        ({"format": "date"}, "2025-10-31", "2025-13-01"),
        ({"format": "ipv4"}, "192.0.2.1", "192.0.2.256"),
        ({"format": "ipv6"}, "2001:db8::1", "::g"),
        ({"format": "uuid"}, "0193a0de-7c2b-7e66-8b7e-0242ac120002", "x"),
        ({"format": "uri"}, "https://example.com/a?b", "no uri"),
        ({"pattern": "^\\pL+$"}, "é", "1"),
        ({"patternProperties": {"^x": {"type": "integer"}}, "additionalProperties": False}, {"x1": 1}, {"y": 1}),
        ({"patternProperties": {"^x": {"type": "integer"}}}, {"y": "z"}, {"x": "z"}),
        ({"additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "b"}),
        ({"uniqueItems": True}, [1, True, "1", [1], [True]], [{"a": 1}, {"a": 1.0}]),
        ({"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}, [1], ["a"]),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}, [1, "a"], ["a"]),
        (False, None, None),
    ],
)
def test_schemas_say_what_is_right(schema: Any, good: Any, bad: Any) -> None:
    """Formats, patterns, references and drafts do what their standard says."""
    if schema is not False:
        assert schema_of(schema).faults(good) == []
    assert schema_of(schema).faults(bad) != []


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"$ref": "#/$defs/nowhere"},
        {
            "$defs": {
                **{f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 2} for i in range(40)},
                "a40": {"type": "string"},
            },
            "$ref": "#/$defs/a0",
        },
        {"items": {"pattern": "(?:a?){200}(?:[a-j]?){800}z"}},
    ],
)
def test_no_schema_works_for_long(schema: Any) -> None:
    """A schema that refers to itself, to nothing, or doubles its work ends with a reason, within two seconds."""
    began = time.thread_time()
    with pytest.raises(SchemaFaultError, match=r"\w"):
        schema_of(schema).faults(["a" * 1_000_000])
    assert time.thread_time() - began < 2
