"""Templates: values, text, names, limits."""

import base64
from typing import Any

import pytest

from shared.ids import Prefix, encode, uuid7
from shared.templates import TemplateError, TemplateSyntaxError, limits, parse

SCOPE: dict[str, Any] = {
    "n1": {"a": 1, "text": "Zoë", "flag": True, "nothing": None, "list": [1, {"b": 2}], "size": {"x": "own"}},
    "skipped": None,
    "nodes": {"1": {"x": 5}, "skipped": None},
    "run": {"id": encode(Prefix.RUN, uuid7(1_761_912_000_123))},
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ n1.a }}", 1),
        ("{{ n1.flag }}", True),
        ("{{ n1.nothing }}", None),
        ("{{ n1.list }}", [1, {"b": 2}]),
        ("{{ n1.list[1].b }}", 2),
        ("{{ n1.a | plus: 2 }}", 3),
        ("{{ 'a,b' | split: ',' }}", ["a", "b"]),
        ("{{ (1..3) }}", [1, 2, 3]),
        ("{{ n1.missing | default: n1.list }}", [1, {"b": 2}]),
        (" {{ n1.a }}", " 1"),
        ("{{ n1.a }}{{ n1.a }}", "11"),
    ],
)
def test_value_keeps_its_type(source: str, value: Any) -> None:
    """A template that is exactly one expression gives the value itself, any other gives text."""
    rendered = parse(source).value(SCOPE)
    assert rendered == value
    assert type(rendered) is type(value)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ n1.flag }}|{{ n1.nothing }}|{{ n1.a }}", "true||1"),
        ("{{ n1.list }} {{ n1.list | json }}", '[1,{"b":2}] [1,{"b":2}]'),
        ("{{ n1.list.size }} {{ n1.size.x }}", "2 own"),
        ('{{ nodes["1"].x }} {{ nodes["1"].x | times: 2 }}', "5 10"),
        ("{% if n1.flag %}yes{% else %}no{% endif %}", "yes"),
        ("{% for i in n1.list %}{{ forloop.index }}{% cycle n1.a, 'b' %}{% endfor %}", "112b"),
        ("{% capture c %}{{ n1.text }}{% endcapture %}{{ c }}{% echo c %}", "ZoëZoë"),
        ("{% for i in (1..3) %}{% ifchanged %}{{ n1.a }}{% endifchanged %}{% endfor %}", "1"),
        ("{{ 'x' | b64 }} {{ 'aXb' | regex_replace: '[A-Z]', '-' }} {{ 'ab' | regex_match: '^a' }}", "eA== a-b true"),
    ],
)
def test_text(source: str, text: str) -> None:
    """Values stand in text as Liquid writes them, objects and lists as JSON."""
    assert parse(source).text(SCOPE) == text


def test_hmac() -> None:
    """The HMAC is that of RFC 4231's second test case, in hex or in Base64."""
    digest = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    source = "{{ 'what do ya want for nothing?' | hmac_sha256: 'Jefe' }}"
    assert parse(source).text(SCOPE) == digest
    encoded = base64.b64encode(bytes.fromhex(digest)).decode()
    assert parse(source.replace("'Jefe'", "'Jefe', 'base64'")).text(SCOPE) == encoded


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ 'now' | date: '%Y-%m-%d %H:%M' }}", "2025-10-31 12:00"),
        ("{{ '2025-07-01T00:30:00Z' | date: '%d %H:%M', 'America/New_York' }}", "30 20:30"),
        ("{{ 0 | date: '%s %Y' }}", "0 1970"),
        ("{{ '10:30' | date }}", "2025-10-31T10:30:00Z"),
    ],
)
def test_dates(source: str, text: str) -> None:
    """Dates are read as UTC and written in any zone; now is when the run was accepted, so it is the same each time."""
    assert parse(source).text(SCOPE) == text


def test_skipped_ancestor_is_nil() -> None:
    """A skipped ancestor and everything under it is nil, by either way of naming it."""
    assert parse("{{ skipped.x.y }}").value(SCOPE) is None
    assert parse('{{ nodes["skipped"].x }}').value(SCOPE) is None
    assert parse("[{{ skipped.x }}{% if skipped %}ran{% endif %}]").text(SCOPE) == "[]"


@pytest.mark.parametrize("source", ["{{ n9.x }}", "{{ n1.missing }}", "{{ n1.nothing.x }}", "{{ now }}", "a{{ n1.q }}"])
def test_undefined_names_fail(source: str) -> None:
    """A name that is not there fails the render in every way of rendering, and the error names it."""
    template = parse(source)
    for render in (template.text, template.value, template.json):
        with pytest.raises(TemplateError, match="undefined"):
            render(SCOPE)


@pytest.mark.parametrize(
    ("source", "roots"),
    [
        ("{{ n1.x }} {{ trigger.y | append: run.id }}", {"n1", "trigger", "run"}),
        ('{{ nodes["1"].x }} {{ nodes.n2 }}', {"1", "n2"}),
        ("{{ nodes[n1.x].y }}", {"nodes", "n1"}),
        ("{% for i in n1.l %}{{ i.x }}{{ forloop.index }}{% endfor %}", {"n1"}),
        ("{% assign x = n1.a %}{{ x }}{% if n2 %}{% endif %}", {"n1", "n2"}),
        ("{% raw %}{{ n1.x }}{% endraw %}", set()),
    ],
)
def test_roots(source: str, roots: set[str]) -> None:
    """The names that paths begin with are known without rendering; a template's own variables are none of them."""
    assert parse(source).roots == roots


@pytest.mark.parametrize("name", ["1", "true", "nil", "empty", "blank", "contains", "-a", "for", "12-3"])
def test_ids_that_are_no_names(name: str) -> None:
    """A bare id that Liquid cannot read is a syntax error that shows how to write it; written so, it works."""
    with pytest.raises(TemplateSyntaxError) as caught:
        parse(f"{{{{ {name}.x }}}}")
    assert f'nodes["{name}"]' in str(caught.value)
    assert parse(f'{{{{ nodes["{name}"].x }}}}').roots == {name}


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ n1.x", "expected '}}'"),
        ("{% if n1 %}", "endif"),
        ("{% include 'x' %}", "include"),
        ("{% render 'x' %}", "render"),
        ("{{ n1.x | upcas }}", 'did you mean "upcase"'),
        ("{{ [n1.x].y }}", "begins with a name"),
        ("{% raw %}" * 20_000, "not closed"),
        ("x" * (limits.SOURCE + 1), "at most"),
        ("{{ a" + "[a" * 2_000 + "]" * 2_000 + " }}", "too deep"),
        ("{% if a %}" * 40 + "{% endif %}" * 40, "nesting"),
    ],
)
def test_syntax_errors(source: str, reason: str) -> None:
    """What is no template is refused when it is parsed, with the reason."""
    with pytest.raises(TemplateSyntaxError, match=reason):
        parse(source)


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in (1..1000) %}{% for j in (1..1000) %}{% endfor %}{% endfor %}",
        "{% for i in (1..99999999) reversed %}{% endfor %}",
        "{{ (1..99999999) | join }}",
        "{% for i in (1..400) %}{% for j in (1..300) %}{% endfor %}{% endfor %}",
        "{% for i in (1..100) %}{{ big }}{% endfor %}",
        "{% assign x = 'xx' %}{% for i in (1..40) %}{% assign x = x | append: x %}{% endfor %}",
        "{{ big | replace: '', big }}",
        "{{ big | regex_replace: '.', big }}",
        "{{ many | join: big }}",
        "{{ many | uniq }}",
        "{% assign x = 2 %}{% for i in (1..100) %}{% assign x = x | times: x %}{% endfor %}",
        "{% for i in (1..99999) %}{% if big contains 'yyyyyyyyyyy' %}{% endif %}{{ big | upcase | size }}{% endfor %}",
        "{% break %}",
    ],
)
def test_limits(source: str) -> None:
    """A template that loops, writes, holds or computes too much fails soon, and takes nothing else with it."""
    with pytest.raises(TemplateError):
        parse(source).text({"big": "y" * 500_000, "many": list(range(5_000))})


@pytest.mark.parametrize(
    ("source", "size"),
    [
        ("{{ big | replace: 'y', 'z' | size }}", "900000"),
        ("{{ big | regex_replace: 'y{30}', '123456789' | size }}", "270000"),
        ("{{ big | regex_replace: '^y', 'zzzzz' | size }}", "900004"),
        ("{{ small | regex_replace: '(y+)', '[\\1]' | size }}", "400002"),
    ],
)
def test_large_texts_are_changed(source: str, size: str) -> None:
    """What a replacement may write is judged by what it replaces, not by the worst there could be."""
    assert parse(source).text({"big": "y" * 900_000, "small": "y" * 400_000}) == size


def test_a_text_is_too_long_for_a_date() -> None:
    """It is refused without being read: dateutil takes seconds for a megabyte, and nothing could interrupt it."""
    with pytest.raises(TemplateError, match="no date"):
        parse("{{ long | date: '%Y' }}").text(SCOPE | {"long": " " * 300 + "12 January 2024"})


def test_ranges_are_refused_before_they_are_made() -> None:
    """A long range is refused by its length, wherever an expression holds it."""
    for source in (
        "{% for i in (1..n) reversed %}{% endfor %}",
        "{{ (1..n) | join }}",
        "{% if a == (1..n) %}{% endif %}",
    ):
        with pytest.raises(TemplateError, match="range may have"):
            parse(source).text({"n": 99_999_999, "a": 1})


def test_a_syntax_error_is_told_once_parsed_twice() -> None:
    """Parsing is cached for good templates, and a bad one fails each time alike."""
    assert parse("{{ n1.cached }}") is parse("{{ n1.cached }}")
    for _ in range(2):
        with pytest.raises(TemplateSyntaxError):
            parse("{{ n1. }}")


def test_odd_characters_survive() -> None:
    """NUL and lone surrogates in values come through every way of rendering."""
    scope = {"n1": {"s": "\x00\ud800é"}}
    assert parse("{{ n1.s }}").value(scope) == "\x00\ud800é"
    assert parse("<{{ n1.s }}>").text(scope) == "<\x00\ud800é>"
    assert parse("{% if n1 %}{{ n1.s | upcase }}{% endif %}").text(scope) == "\x00\ud800É"
    assert (
        parse('{"a":"{{ n1.s }}","b":{{ n1.s }}}').json(scope)
        == '{"a":"\\u0000\\ud800\\u00e9","b":"\\u0000\\ud800\\u00e9"}'
    )


@pytest.mark.parametrize("filter_", ["b64", "hmac_sha256: 'k'", "regex_match: 'x'", "regex_replace: 'x', 'y'", "json"])
def test_filters_take_lone_surrogates(filter_: str) -> None:
    """A lone surrogate counts as a question mark for what takes UTF-8 alone, and fails nothing."""
    assert parse(f"{{{{ n1.s | {filter_} }}}}").text({"n1": {"s": "\ud800"}})


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' | regex_match: '(' }}",
        "{{ 'x' | regex_replace: 'x', '\\9' }}",
        "{{ 'x' | hmac_sha256: 'k', 'hexx' }}",
        "{{ 'no date' | date }}",
        "{{ 'now' | date: '%Y', 'Mars/Base' }}",
        "{{ 1 | divided_by: 0 }}",
        "{{ n1 | date }}",
        "{{ 'inf' | plus: 1 }}",
    ],
)
def test_filters_that_fail(source: str) -> None:
    """A filter that cannot do its work fails the render with a reason."""
    with pytest.raises(TemplateError, match=r"\w"):
        parse(source).value(SCOPE)
