"""What hostile templates and data found, kept as examples."""

import time
from typing import Any

import msgspec
import pytest

from shared import jsontext
from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from shared.templates import TemplateError, limits, parse
from tests.compiling import compile_node
from tests.outward import fault_codes, step


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<p>a &amp; <b class='x'>b</b></p>", "a &amp; b"),
        ("a < b and c > d", "a < b and c > d"),
        ("x<script>var a = '<b>';</script >y<!-- <i> -->z<STYLE a>q</style>", "xyz"),
        ("a<br/>b<!DOCTYPE html>c", "abc"),
        ("open <b", "open <b"),
        ("a<script>b", "a<script>b"),
        ("", ""),
    ],
)
def test_strip_html(text: str, left: str) -> None:
    """Tags, comments, scripts and styles go; text stays, and what is never closed."""
    assert parse("{{ a | strip_html }}").text({"a": text}) == left


@pytest.mark.parametrize("text", ["<a b>&" * 150_000, "<a" * 400_000 + ">", "<!--" * 200_000 + ">", "<script" * 99_000])
def test_strip_html_is_linear(text: str) -> None:
    """Nearly a megabyte of nothing but openings takes a fraction of a second."""
    began = time.thread_time()
    parse("{{ a | strip_html | size }}").text({"a": text})
    assert time.thread_time() - began < 0.6


@pytest.mark.parametrize(
    ("component", "data", "found"),
    [
        ("switch_condition", {"input": 1, "cases": ["{{ a.x }}"]}, [("data.cases[0]", "invalid_value")]),
        ("switch_condition", {"input": 1, "cases": "{{ a.x }}"}, [("data.cases", "invalid_value")]),
        ("webhook", {"method": "GET", "url": "http://a.test", "headers": "{{ a.x }}"}, []),
        ("webhook", {"method": "GET", "url": "http://a.test", "headers": ["{{ a.x }}"]}, []),
        ("graphql_request", {"url": "http://a.test", "query": "{ a }", "headers": "{{ a.x }}"}, []),
    ],
)
def test_templates_in_place_of_objects(component: str, data: dict[str, Any], found: list[tuple[str, str]]) -> None:
    """Where a template stands for what a check would look into, the check says so or leaves it to the run."""
    assert fault_codes(component, data) == found


def test_a_surrogate_where_no_text_should_be() -> None:
    """Fails the step as any other wrong value does."""
    with pytest.raises(StepFailedError) as caught:
        compile_node("n", "terminate", {"status": "{{ a }}"}).run({"a": "\ud800"})
    assert caught.value.code == "invalid_data"


def test_no_number_is_infinite() -> None:
    """Numbers that no JSON reader could take back are none."""
    for text in ("1e400", '{"a": [-1e999]}'):
        with pytest.raises(ValueError, match="out of range"):
            jsontext.decode(text)
    with pytest.raises(StepFailedError, match="out of range"):
        compile_node("n", "json_parser", {"input": "{{ a }}"}).run({"a": "1e400"})


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ l | upcase }}", '["A",NULL,TRUE]'),
        ("{{ 'x' | append: l }}", 'x["a",null,true]'),
        ("{{ o | replace: '1', '2' }}", '{"k":2}'),
        ("{{ t | upcase }}{{ t | append: t }}", "TRUEtruetrue"),
        ("{{ l | split: ',' | size }}", "3"),
        ("{{ m | map: 'k' | json }}", "[1,null]"),
    ],
)
def test_text_filters_take_json(source: str, text: str) -> None:
    """Lists, objects and booleans stand in text as everywhere in templates, never as Python writes them."""
    scope = {"l": ["a", None, True], "o": {"k": 1}, "t": True, "m": [{"k": 1}, {}]}
    assert parse(source).text(scope) == text


def test_values_are_measured_before_anything_is_made_of_them() -> None:
    """What holds the same text many times takes no memory until it is written down, and then it is not."""
    double = "{% for i in (1..14) %}{% assign l = l | concat: l %}{% endfor %}"
    began = time.thread_time()
    for source in (f"{double}{{{{ l }}}}", f"{double}{{{{ l | json }}}}", f"{double}{{{{ l | upcase }}}}"):
        with pytest.raises(TemplateError, match="over 1048576"):
            parse(source).text({"l": ["x" * 100_000]})
    node = compile_node("n", "data_mapper", {"mapping": {f"k{number}": "{{ a.l }}" for number in range(100)}})
    with pytest.raises(StepFailedError) as caught:
        node.run({"a": {"l": ["x" * 1_000_000]}})
    assert caught.value.code == "output_too_large"
    assert time.thread_time() - began < 0.5


def test_nodes_take_no_value_for_text_that_is_too_long_as_one() -> None:
    """A list that a comparison would write down is measured before: a fault of a constant, a failure of a value."""
    large = [["x" * 100_000] * 20]
    data = {"input": "a", "operator": "regex", "value": large}
    assert [fault.code for fault in default_registry().check("string_condition", data, "d")[0]] == ["invalid_value"]
    node = compile_node("n", "string_transform", {"input": "{{ a.l }}", "operations": ["upper"]})
    with pytest.raises(StepFailedError) as caught:
        node.run({"a": {"l": {"k": large}}})
    assert caught.value.code == "value_too_large"


@pytest.mark.parametrize(
    ("component", "data"),
    [
        ("scheduled_trigger", {"schedule_type": "</style " * 200_000}),
        ("date_condition", {"input": "a", "operator": "before", "value": "b", "timezone": "a/" * 500_000}),
        ("send_email", {"host": "h", "sender": "<a b>&;" * 200_000, "to": ["b" * 10**6], "subject": "s", "text": "t"}),
        ("text_transform", {"template": "{{ a | " + "x" * 200_000 + " }}"}),
    ],
)
def test_long_names_are_cut_before_they_are_compared(component: str, data: dict[str, Any]) -> None:
    """A megabyte where a name should be is refused at once, in a message of a readable length."""
    began = time.thread_time()
    found = default_registry().check(component, data, "d")[0]
    assert found
    assert all(len(fault.message) < 600 for fault in found)
    assert time.thread_time() - began < 0.2


def test_errors_name_no_class_of_python() -> None:
    """An author reads what is wrong with a number, not how Python calls that."""
    with pytest.raises(TemplateError) as caught:
        parse("{{ a | sum }}").text({"a": ["abc", "-"]})
    assert "<class" not in str(caught.value)


def test_a_type_that_breaks_over_data_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a type's check does, saving is answered; the log has the reason."""
    registry = default_registry()

    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(type(registry.type_of("merge")), "check", broken)
    monkeypatch.setattr(type(registry.type_of("merge")), "handles", broken)
    example = dict(registry.type_of("merge").example)
    assert [fault.code for fault in registry.check("merge", example, "d")[0]] == ["broken_component"]
    assert registry.handles("merge", example) == ()


_SLOW = "{% for a in (1..300) %}{% for b in (1..300) %}{% endfor %}{% endfor %}{{ vault.key }}"


async def test_what_a_node_exposes_has_one_allowance() -> None:
    """Hundreds of slow templates that read the vault fail the step after the time of one, not of each."""
    many = {str(place): f"{place}{_SLOW}" for place in range(100)}
    node = compile_node("n", "webhook", {"method": "POST", "url": "http://a.test", "body_type": "form", "body": many})
    began = time.thread_time()
    with pytest.raises(StepFailedError, match="read the vault take more than") as caught:
        await node.exposes({"vault": {"key": "secret-of-the-test"}})
    assert caught.value.code == "template_error"
    assert time.thread_time() - began < 2 * limits.SECONDS


async def test_exposing_and_rendering_share_their_time() -> None:
    """What finding out took is not there for rendering; what is over when the call begins renders nothing."""
    body = "{{ vault.key }}{% if 1 %}{% endif %}"
    node = compile_node("n", "webhook", {"method": "POST", "url": "http://a.test", "body_type": "text", "body": body})
    scope = {"vault": {"key": "secret-of-the-test"}}
    exposed = await node.exposes(scope)
    assert exposed.texts == ["secret-of-the-test"]
    assert 0 < exposed.seconds < limits.SECONDS
    with pytest.raises(StepFailedError) as caught:
        await node.call(scope, msgspec.structs.replace(step(), rendered=limits.SECONDS))
    assert caught.value.code == "template_error"
