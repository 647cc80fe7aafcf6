"""``merge``: joining what branches gave."""

from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

USERS = [{"id": 1, "name": "Ada"}, {"id": 2, "name": "Alan"}]
SCORES = [{"id": 2, "score": 9, "name": "Alan T."}, {"id": "1", "score": 5}]


def merged(mode: str, *inputs: Any, **data: Any) -> Any:
    """What the node makes of these inputs."""
    return compile_node("n2", "merge", {"mode": mode, "inputs": list(inputs), **data}).run({}).output["result"]


def faults(**data: Any) -> list[str]:
    """The paths of everything wrong with this data when it is saved."""
    return [fault.path for fault in default_registry().check("merge", data, "d")[0]]


def test_append_puts_lists_one_behind_the_other() -> None:
    """Lists in their order; what is none is one item; null counts for nothing."""
    assert merged("append", [1, 2], None, {"a": 1}, [], [[3]]) == [1, 2, {"a": 1}, [3]]
    assert merged("append", None) == []


def test_first_is_the_first_that_there_is() -> None:
    """The first input that is not null, even if it is empty or false; null if all are."""
    assert merged("first", None, False, 1) is False
    assert merged("first", None, [], 1) == []
    assert merged("first", None, None) is None


def test_by_key_makes_one_object_of_those_with_the_same() -> None:
    """Later fields win, the order is that of the first sight, and 1 is not "1"."""
    assert merged("by_key", USERS, SCORES, key="id") == [
        {"id": 1, "name": "Ada"},
        {"id": 2, "name": "Alan T.", "score": 9},
        {"id": "1", "score": 5},
    ]
    matched = [{"id": 2, "name": "Alan T.", "score": 9}]
    assert merged("by_key", USERS, None, SCORES, key="id", unmatched="drop") == matched
    assert USERS[1] == {"id": 2, "name": "Alan"}


def test_by_key_follows_a_path() -> None:
    """The key may lie in objects inside the items, and may be an object itself; one object stands for a list of it."""
    first, second = {"a": {"k": [1, {"x": 2}]}, "p": 1}, {"a": {"k": [1, {"x": 2}]}, "q": 2}
    assert merged("by_key", [first], second, key="a.k") == [{**first, **second}]


def test_a_skipped_branch_counts_for_nothing() -> None:
    """A branch that did not run is nil in templates, and so is what lies in it."""
    node = compile_node("n3", "merge", {"mode": "append", "inputs": ["{{ n1.items }}", "{{ n2.items }}"]})
    assert node.run({"n1": {"items": [1]}, "n2": None}).output == {"result": [1]}


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({"mode": "zip", "inputs": [1]}, ["d.mode"]),
        ({"mode": "append", "inputs": []}, ["d.inputs"]),
        ({"mode": "append", "inputs": [1] * 51}, ["d.inputs"]),
        ({"mode": "append"}, ["d.inputs"]),
        ({"mode": "append", "inputs": [1], "key": "id"}, ["d.key"]),
        ({"mode": "first", "inputs": [1], "unmatched": "drop"}, ["d.unmatched"]),
        ({"mode": "by_key", "inputs": [1]}, ["d.key"]),
        ({"mode": "by_key", "inputs": [1], "key": "id"}, []),
    ],
)
def test_faults(data: dict[str, Any], at: list[str]) -> None:
    """A key is for by_key alone, which needs one; there are 1 to 50 inputs."""
    assert faults(**data) == at


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ([[{"id": 1}], [{"name": "x"}]], r'data\.inputs\[1\]\[0\]: there is no field "id" in an object\.'),
        ([None, [5]], r'data\.inputs\[1\]\[0\]: there is no field "id" in 5\.'),
        ([[1] * 60_000, [1] * 60_000], r"data\.inputs: they have 120000 items; legal: at most 100000\."),
    ],
)
def test_failures_of_the_step(inputs: list[Any], reason: str) -> None:
    """What has no such key, or is too much, fails the step with its place."""
    with pytest.raises(StepFailedError, match=reason):
        merged("by_key", *inputs, key="id")
