"""``text_transform``: JSON that no value can break, and what an answer may carry."""

from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node


def faults(**data: Any) -> list[str]:
    """The paths of everything wrong with this data when it is saved."""
    return [fault.path for fault in default_registry().check("text_transform", data, "d")[0]]


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"])
def test_no_value_breaks_json(kind: str) -> None:
    """With a content type of JSON a value is escaped inside quotes and serialised outside them."""
    template = '{"name": "{{ n1.name }}", "tags": {{ n1.tags }}, "none": {{ n1.none }}}'
    data = {"template": template, "content_type": kind, "is_response": True}
    assert faults(**data) == []
    output = compile_node("n2", "text_transform", data).run({"n1": {"name": '", "x": "', "tags": ["a"], "none": None}})
    assert output.output == {"text": '{"name": "\\", \\"x\\": \\"", "tags": ["a"], "none": null}'}


def test_other_text_is_left_alone() -> None:
    """Without a content type of JSON a value stands as it is."""
    node = compile_node("n2", "text_transform", {"template": '"{{ n1.x }}"', "content_type": "text/html"})
    assert node.run({"n1": {"x": '"'}}).output == {"text": '"""'}


def test_what_becomes_no_json_fails_the_step() -> None:
    """A template that promises JSON and gives none fails, instead of answering with it."""
    node = compile_node("n2", "text_transform", {"template": "{{ n1.x }},", "content_type": "application/json"})
    with pytest.raises(StepFailedError, match=r"data\.template: the rendered text is no JSON document"):
        node.run({"n1": {"x": 1}})


@pytest.mark.parametrize(
    ("data", "at"),
    [
        ({"content_type": "application/json"}, ["d.template"]),
        ({"content_type": "text/plain\r\nX: y"}, ["d.content_type"]),
        (
            {"headers": {"X-A": "b\nc", "bad name": "x", "X-Ok": "é {{ n1.x }}"}},
            ["d.headers.X-A", "d.headers.bad name"],
        ),
        ({"headers": {"Content-Length": "5"}}, ["d.headers.Content-Length"]),
        ({"headers": [["a", "b"]]}, ["d.headers"]),
        ({"status": 199}, ["d.status"]),
        ({"status": 600}, ["d.status"]),
        ({"status": "{{ n1.x }}", "content_type": "{{ n1.x }}"}, []),
        ({"is_response": "yes"}, ["d.is_response"]),
    ],
)
def test_faults(data: dict[str, Any], at: list[str]) -> None:
    """Headers that could not be sent, a status that is none, and a constant that is no JSON are told when saved."""
    assert faults(template="no json", **data) == at


def test_an_answer_carries_no_line_breaks() -> None:
    """A value from outside cannot add headers to the answer; text that answers nothing is not looked at."""
    data = {"template": "x", "headers": {"X-Name": "{{ n1.x }}"}}
    scope = {"n1": {"x": "a\r\nSet-Cookie: b"}}
    assert compile_node("n2", "text_transform", data).run(scope).output == {"text": "x"}
    with pytest.raises(StepFailedError) as caught:
        compile_node("n2", "text_transform", {**data, "is_response": True}).run(scope)
    assert caught.value.code == "invalid_header"
    kind = {"template": "x", "content_type": "{{ n1.x }}", "is_response": True}
    with pytest.raises(StepFailedError, match="line break"):
        compile_node("n2", "text_transform", kind).run(scope)
