"""The array transform: every operation, chains of them, what they refuse, and plain Python beside them."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import StepFailedError
from shared.nodes.array_operations import OPERATIONS
from shared.nodes.registry import default_registry
from tests.compiling import compile_node


def made(items: Any, *operations: dict[str, Any], **data: Any) -> Any:
    """What a transform makes of a list."""
    more = {"operations": list(operations)} if operations else {}
    return compile_node("c", "array_transform", {"input": items, **more, **data}).run({}).output["result"]


def faults(**data: Any) -> list[tuple[str, str]]:
    """(path, message) of everything wrong with this data."""
    return [(fault.path, fault.message) for fault in default_registry().check("array_transform", data, "d")[0]]


PEOPLE: list[Any] = [
    {"name": "Ada", "age": 36, "town": {"name": "London"}},
    {"name": "Bob", "age": 7, "town": {"name": "Ghent"}},
    {"name": "Cyd", "age": 36},
]
CASES: list[tuple[list[Any], dict[str, Any], Any]] = [
    (PEOPLE, {"operation": "map", "field": "town.name"}, ["London", "Ghent", None]),
    (PEOPLE[:1], {"operation": "map", "fields": {"who": "name", "at": "town.name"}}, [{"who": "Ada", "at": "London"}]),
    (PEOPLE[1:2], {"operation": "map", "fields": ["name", "age"]}, [{"name": "Bob", "age": 7}]),
    ([PEOPLE[1], 5], {"operation": "omit", "fields": ["town", "age"]}, [{"name": "Bob"}, 5]),
    (PEOPLE, {"operation": "sort", "field": "age"}, [PEOPLE[1], PEOPLE[0], PEOPLE[2]]),
    (PEOPLE, {"operation": "sort", "field": "name", "order": "desc"}, PEOPLE[::-1]),
    ([None, "b", 2, "a", True, 1.5, [0]], {"operation": "sort"}, [1.5, 2, "a", "b", [0], True, None]),
    ([1, 2], {"operation": "reverse"}, [2, 1]),
    ([1, "1", 1, True, {"a": 1, "b": 2}, {"b": 2, "a": 1}], {"operation": "unique"}, [1, "1", True, {"a": 1, "b": 2}]),
    (PEOPLE, {"operation": "unique", "field": "age"}, PEOPLE[:2]),
    ([0, None, "", [], {}, False], {"operation": "compact"}, [0, False]),
    ([1, [2, [3]]], {"operation": "flatten"}, [1, 2, [3]]),
    ([1, [2, [3]]], {"operation": "flatten", "depth": 2}, [1, 2, 3]),
    ([1, 2, 3], {"operation": "chunk", "size": 2}, [[1, 2], [3]]),
    ([1, 2, 3], {"operation": "slice", "start": 1}, [2, 3]),
    ([1, 2, 3], {"operation": "slice", "start": -2, "end": -1}, [2]),
    ([1], {"operation": "concat", "value": [2]}, [1, 2]),
    ([1, 2, 2], {"operation": "intersect", "value": [2, 3]}, [2, 2]),
    (PEOPLE, {"operation": "difference", "field": "name", "value": ["Ada", "Cyd"]}, [PEOPLE[1]]),
    ([1, "a", 1], {"operation": "group"}, {"1": [1, 1], "a": ["a"]}),
    (PEOPLE, {"operation": "group", "field": "age"}, {"36": [PEOPLE[0], PEOPLE[2]], "7": [PEOPLE[1]]}),
    (PEOPLE[:2], {"operation": "key_by", "field": "name"}, {"Ada": PEOPLE[0], "Bob": PEOPLE[1]}),
    (PEOPLE, {"operation": "count_by", "field": "age"}, {"36": 2, "7": 1}),
    (PEOPLE, {"operation": "count"}, 3),
    (PEOPLE, {"operation": "sum", "field": "age"}, 79),
    ([0.1] * 10, {"operation": "sum"}, 1.0),
    (["1", 2.5], {"operation": "sum"}, 3.5),
    ([], {"operation": "sum"}, 0),
    ([1, 2], {"operation": "average"}, 1.5),
    ([], {"operation": "average"}, None),
    ([3, None, 1], {"operation": "min"}, 1),
    (PEOPLE, {"operation": "max", "field": "name"}, "Cyd"),
    ([], {"operation": "max"}, None),
    ([1, 2], {"operation": "first"}, 1),
    ([], {"operation": "last"}, None),
    ([1, None, "x"], {"operation": "join"}, "1,,x"),
    (PEOPLE, {"operation": "join", "field": "name", "separator": " & "}, "Ada & Bob & Cyd"),
]  # fmt: skip


@pytest.mark.parametrize(("items", "operation", "expected"), CASES)
def test_operations(items: list[Any], operation: dict[str, Any], expected: Any) -> None:
    """Each operation gives the same by itself and in a list of one, and leaves its input as it was."""
    before = repr(items)
    assert faults(input=items, **operation) == []
    assert made(items, **operation) == expected
    assert repr(made(items, operation)) == repr(made(items, **operation))
    assert repr(items) == before


def test_every_operation_is_tried() -> None:
    """No operation is left out above."""
    assert {operation["operation"] for _, operation, _ in CASES} == OPERATIONS.keys()


def test_operations_follow_each_other() -> None:
    """Each operation takes the list that the one before it gives."""
    operations: list[dict[str, Any]] = [
        {"operation": "map", "field": "age"},
        {"operation": "unique"},
        {"operation": "sort"},
        {"operation": "join", "separator": "-"},
    ]
    assert faults(input=PEOPLE, operations=operations) == []
    assert made(PEOPLE, *operations) == "7-36"


@pytest.mark.parametrize(
    ("data", "paths"),
    [
        ({}, ["d.operation"]),
        ({"operation": "count", "operations": [{"operation": "count"}]}, ["d.operation"]),
        ({"operation": "shuffle"}, ["d.operation"]),
        ({"operation": "sort", "size": 2}, ["d.size"]),
        ({"operation": "map"}, ["d.field"]),
        ({"operation": "chunk"}, ["d.size"]),
        ({"operation": "chunk", "size": 0}, ["d.size"]),
        ({"operation": "flatten", "depth": 11}, ["d.depth"]),
        ({"operation": "sort", "order": "up"}, ["d.order"]),
        ({"operations": []}, ["d.operations"]),
        ({"operations": [{"operation": "count"}] * 21}, ["d.operations"]),
        ({"operations": [{"operation": "sum"}, {"operation": "sort"}]}, ["d.operations[0].operation"]),
        ({"operations": [{"operation": "sort", "size": 1}, {"operation": "chunk"}]},
         ["d.operations[0].size", "d.operations[1].size"]),
        ({"operations": [{"operation": "sort"}], "field": "x"}, ["d.field"]),
        ({"operations": [{"field": "x"}]}, ["d.operations[0].operation"]),
        ({"operation": "concat", "value": "{{ n1.more }}"}, []),
        ({"operations": ["{{ n1.operation }}", {"operation": "sort"}]}, []),
        ({"operations": "{{ n1.operations }}"}, []),
    ],
)  # fmt: skip
def test_faults(data: dict[str, Any], paths: list[str]) -> None:
    """What an operation does not take or has to have is told when saved, each fault at its path."""
    assert [path for path, _ in faults(input="{{ n1.x }}", **data)] == paths


@pytest.mark.parametrize(
    ("items", "operations", "message"),
    [
        ("text", [{"operation": "count"}], r'data\.input: "text" is no list'),
        ([1, {"a": "x"}], [{"operation": "sum", "field": "a"}], r"data\.input\[0\]\.a: null is not a number"),
        ([["x"]], [{"operation": "flatten"}, {"operation": "sum"}], r'the result of data\.operations\[0\]\[0\]: "x"'),
        ([1e308, 1e308], [{"operation": "sum"}], r"data\.operations\[0\]: the sum is larger"),
        ([10**399], [{"operation": "average"}], r"data\.operations\[0\]: the average is larger"),
        ([1], [{"operation": "concat", "value": 5}], r"data\.operations\[0\]\.value: 5 is no list"),
        ([1] * 10_001, [{"operation": "count"}], r"data\.input has 10,001 items; at most 10,000"),
        ([[1] * 6_000] * 2, [{"operation": "flatten"}], r"flat list has more than 10,000 items"),
        (["x" * 600_000] * 2, [{"operation": "join"}], r"more than 1,048,576 characters"),
    ],
)
def test_what_will_not_do_fails(items: Any, operations: list[dict[str, Any]], message: str) -> None:
    """Items that an operation cannot take fail the step, naming the item and the operation."""
    with pytest.raises(StepFailedError, match=message):
        made(items, *operations)


def test_operations_may_come_from_a_template() -> None:
    """A list of operations that only a run knows is judged then."""
    node = compile_node("c", "array_transform", {"input": [1, 2], "operations": "{{ n1.operations }}"})
    assert node.run({"n1": {"operations": [{"operation": "chunk", "size": 1}]}}).output == {"result": [[1], [2]]}
    for operations in (
        [{"operation": "chunk"}],
        [{"operation": "sum"}, {"operation": "sort"}],
        [{"operation": "x"}],
        [],
    ):
        with pytest.raises(StepFailedError):
            node.run({"n1": {"operations": operations}})


def test_what_doubles_is_bounded() -> None:
    """Objects that hold the same value many times over are refused before their text is made."""
    doubling: list[dict[str, Any]] = [{"operation": "map", "fields": {"a": "", "b": ""}}]
    items: list[Any] = [{"text": "x" * 100}] * 100
    began = time.process_time()
    with pytest.raises(StepFailedError, match=r"characters|processor time"):
        made(items, *doubling * 20)
    assert time.process_time() - began < 5


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.text("ab", max_size=2)


@settings(max_examples=60, deadline=None)
@given(st.lists(scalars, max_size=12), st.lists(scalars, max_size=5), st.integers(1, 5))
def test_agrees_with_plain_python(items: list[Any], others: list[Any], size: int) -> None:
    """What operations give is what plain Python gives, for lists of any mixture."""

    def same(one: Any, other: Any) -> bool:
        return type(one) is type(other) and one == other

    unique: list[Any] = []
    for item in items:
        if not any(same(item, known) for known in unique):
            unique.append(item)
    assert repr(made(items, operation="unique")) == repr(unique)
    shared = [item for item in items if any(same(item, other) for other in others)]
    assert repr(made(items, operation="intersect", value=others)) == repr(shared)
    chunks = made(items, operation="chunk", size=size)
    assert made(chunks, operation="flatten") == items
    assert all(len(chunk) == size for chunk in chunks[:-1])
    ordered = made(items, operation="sort")
    assert sorted(map(repr, ordered)) == sorted(map(repr, items))
    numbers = [item for item in ordered if type(item) is int]
    assert numbers == sorted(numbers) == ordered[: len(numbers)]
    groups = made(items, operation="group")
    assert sum(len(group) for group in groups.values()) == len(items)
    assert made(items, operation="count_by") == {key: len(group) for key, group in groups.items()}
