"""The direct way through plain templates gives what Liquid gives, errors word for word."""

from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.templates import TemplateError, parse
from shared.templates.arguments import taken_by
from shared.templates.environment import ENVIRONMENT
from shared.templates.limits import OUTPUT
from shared.templates.template import Template

texts = st.text(st.characters(), max_size=12) | st.sampled_from(["3", "2.5", "a,b", "<b>", "\ud800", '"\\', "é"])
leaves = st.none() | st.booleans() | st.integers(-99, 99) | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)
known = ["n1", "n1.v", "n1.w.x", "n1.l[0]", "n1.l[-1].x", "n1.l[9]", "n1.l.size", "n1.l.first", "nodes['n1'].v"]
paths = st.sampled_from([*known, "n1.v.y", "n1[n1.k]", "skipped", "skipped.x", "n1.no", "no.x"])
literals = st.sampled_from(['"v"', "'a b'", "0", "2", "-1", "1.5", "true", "false", "nil", "(1..3)"])


def _called(name: str) -> st.SearchStrategy[str]:
    """A filter with arguments that it takes."""
    taken = taken_by(ENVIRONMENT.filters[name])
    placed = st.lists(paths | literals, min_size=taken.least, max_size=2 if taken.most is None else taken.most)
    named = [literals.map(lambda value, keyword=each: f"{keyword}: {value}") for each in taken.keywords]
    more = st.lists(st.one_of(named), max_size=1) if named else st.just([])
    return (
        st.tuples(placed, more)
        .map(lambda parts: [*parts[0], *parts[1]])
        .map(lambda arguments: f"{name}: {', '.join(arguments)}" if arguments else name)
    )


filters = st.sampled_from(sorted(ENVIRONMENT.filters)).flatmap(_called)
expressions = st.tuples(paths | literals, st.lists(filters, max_size=3)).map(
    lambda pair: f"{{{{ {' | '.join((pair[0], *pair[1]))} }}}}"
)
plain = st.sampled_from([" ", '"', "\\", '{"a":', "}", "[", "]", ",", "1", "é", "{% if n1.v %}x{% endif %}"])
sources = expressions | st.lists(plain | expressions, max_size=5).map("".join)


def _attempt(render: Callable[[Any], Any], scope: Any) -> Any:
    """What a render gives, told apart by type as well, or the error it ends in."""
    try:
        return repr(render(scope))
    except TemplateError as error:
        return type(error), str(error)


def _by_liquid(template: Template) -> Template:
    """The same template without its direct way."""
    slow = Template(template._bound)
    slow._pieces = slow._json = slow._value = None
    return slow


@settings(max_examples=300)
@given(sources, values)
@example("{{ n1.v | slice: 0, 20 }} 2", "x" * 30)
@example('{"a":"{{ n1.v | upcase }}","b":{{ n1.v | json }}}', 'q"\\')
@example("{{ n1.v | round: n1.k }}", 2.567)
@example('{{ n1.no | default: "d" }}', None)
def test_direct_agrees_with_liquid(source: str, value: Any) -> None:
    """As text, as a value and as a JSON document, over every filter, with the same errors."""
    outputs: dict[str, Any] = {"n1": {"v": value, "w": {"x": value}, "l": [value, {"x": 1}], "k": "v"}, "skipped": None}
    scope = {**outputs, "nodes": outputs, "run": {"id": "run_x"}}
    template = parse(source)
    slow = _by_liquid(template)
    assert _attempt(template.text, scope) == _attempt(slow.text, scope)
    assert _attempt(template.value, scope) == _attempt(slow.value, scope)
    assert _attempt(template.json, scope) == _attempt(slow.json, scope)


PAIR: Final = "{{ n1.v | upcase | append: n1.v }}"
PLAIN: Final = [
    "a",
    "{{ n1.v }}",
    "{{ n1.v | slice: 0, 20 }} 1",
    '{{ n1.v | join: ", " }}',
    "{{ n1.l[0] | append: n1.v }}",
]


@pytest.mark.parametrize("source", [*PLAIN, "{{ n1.v }}" * 31, PAIR * 7])
def test_plain_templates_go_the_direct_way(source: str) -> None:
    """Text, paths, filters and constant arguments: Liquid is not asked, so a context of its own is never made."""
    template = Template(parse(source)._bound)
    template._bound = None  # type: ignore[assignment]
    assert template.text({"n1": {"v": "a", "l": ["b"]}})


OTHERS: Final = [
    "{{ n1[n1.k] }}",
    "{% if true %}1{% endif %}",
    "{{ n1.v | default: 1, allow_false: true }}",
    "{{ (1..3) }}",
]


@pytest.mark.parametrize("source", [*OTHERS, '{{ n1.v | date: "%Y" }}', "{{ n1.v }}" * 32, f"{PAIR} {PAIR}" * 4])
def test_others_are_left_to_liquid(source: str) -> None:
    """Tags, more than 31 look-ups, which Liquid's watch may stop, and whatever sees more than its arguments."""
    assert parse(source)._pieces is None


@pytest.mark.parametrize(("character", "size"), [("a", 1), ("é", 2), ("\ud800", 3)])
def test_the_limit_of_the_output_is_the_same(character: str, size: int) -> None:
    """To the byte of UTF-8; what is over it fails as it does by Liquid."""
    template = parse("{{ n1.v }}{{ n1.rest }}")
    scope = {"n1": {"v": character * (OUTPUT // size), "rest": "x" * (OUTPUT % size)}}
    assert len(template.text(scope).encode("utf-8", "surrogatepass")) == OUTPUT
    scope["n1"]["rest"] += "x"
    with pytest.raises(TemplateError, match="the output is over"):
        template.text(scope)


def test_a_path_gives_its_value_itself() -> None:
    """A large value that is only passed on is not copied; what filters made is."""
    value = {"a": [1]}
    assert parse("{{ n1.v }}").value({"n1": {"v": value}}) is value
    assert parse("{{ n1.v | default: 1 }}").value({"n1": {"v": value}}) == value


def test_many_large_values_are_stopped_at_the_limit() -> None:
    """2 GB of text in 2,000 look-ups of one value are never made."""
    with pytest.raises(TemplateError, match="the output is over"):
        parse("{{ n1.v }}" * 2_000).text({"n1": {"v": "x" * OUTPUT}})
