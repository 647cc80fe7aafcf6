"""No value changes the structure of a JSON body, and the quick way of rendering agrees with Liquid."""

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from shared.templates import TemplateError, TemplateSyntaxError, parse
from shared.templates.buffers import TextBuffer
from shared.templates.values import text_of

text = st.text(st.characters(), max_size=20) | st.sampled_from(
    ['"', "\\", '\\"', '","x":"', "}", "\ud800", "\x00", "{{ n1 }}", "\\u0022"]
)
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3), max_leaves=6
)

DOCUMENT = (
    '{"inside": "<{{ n1.v }}>", "outside": {{ n1.v }}, "loop": [{% for i in n1.l %}"{{ i }}", {% endfor %}1],'
    ' "either": {% if n1.v %}"y{{ n1.v }}"{% else %}{{ n1.v }}{% endif %},'
    ' "held": "{% capture c %}{{ n1.v }}{% endcapture %}{{ c }}", "cycle": {% cycle n1.v, 2 %},'
    ' "same": "{% ifchanged %}{{ n1.v }}!{% endifchanged %}", "raw": {{ n1.v | json }}, "end": 0}'
)


@given(values, st.lists(text, max_size=3))
def test_no_value_changes_the_document(value: Any, items: list[str]) -> None:
    """Every value comes back in its own place, and the document has the members that its author gave it."""
    shown = text_of(value)
    made = json.loads(parse(DOCUMENT).json({"n1": {"v": value, "l": items}}))
    assert made == {
        "inside": f"<{shown}>",
        "outside": value,
        "loop": [*items, 1],
        "either": value if value is None or value is False else f"y{shown}",
        "held": shown,
        "cycle": value,
        "same": f"{shown}!",
        "raw": value,
        "end": 0,
    }


pieces = st.sampled_from(
    ['"', "\\", "{", "}", "[", "]", ":", ",", "1", "a", "{{ n1.v }}", "{% if n1.b %}", "{% endif %}"]
)


frames = st.sampled_from(['["{}"]', "[{}]", '{{"a":"{}"}}', '{{"{}":1}}', "{}"])
# Most of what is put together of pieces is no document; of these most are.
parts = st.sampled_from(["a", "{{ n1.v }}", "{% if true %}{{ n1.v }}{% endif %}", '","{{ n1.v }}', ",[{{ n1.v }}]"])
contents = st.one_of(*[st.lists(parts, min_size=1, max_size=2)] * 2, st.lists(pieces, max_size=6)).map("".join)
# Where one of these is not written as a text it ends its own and goes on with another.
hostile = st.sampled_from(['","', '","x":"', '":1,"x', "\\"])
sources = st.tuples(frames, contents).map(lambda pair: pair[0].format(pair[1]))


@example('{"a":"{{ n1.v }}"}', '","x":"', "a", True)
@example('["{% if true %}{{ n1.v }}{% endif %}"]', '","', "a", True)
@given(sources, st.one_of(hostile, hostile, text), text | st.just("a"), st.booleans())
def test_any_template_gives_one_structure(source: str, one: str, other: str, branch: bool) -> None:
    """Whatever the author wrote, two texts give documents that differ in texts alone, or none at all."""
    made = []
    for value in (one, other):
        try:
            made.append(_structure(parse(source).json({"n1": {"v": value, "b": branch}})))
        except (TemplateError, TemplateSyntaxError):
            continue
    assert len(made) < 2 or made[0] == made[1]


def _structure(document: str) -> Any:
    """A document with every text as one and the same, members with equal names kept apart."""
    return _without_texts(json.loads(document, object_pairs_hook=lambda members: ("object", [v for _, v in members])))


def _without_texts(value: Any) -> Any:
    if isinstance(value, tuple):
        return ("object", _without_texts(value[1]))
    if isinstance(value, list):
        return [_without_texts(item) for item in value]
    return "text" if isinstance(value, str) else value


paths = st.sampled_from(
    ["n1.v", "n1.w.x", "n1.l", "n1.l.size", "n1.w.first", 'nodes["n1"].v', "skipped.x", "n1.no", "no.x"]
)


@given(st.lists(paths | text.map(lambda plain: plain.replace("{", "")), max_size=5), values)
def test_the_quick_way_agrees_with_liquid(parts: list[str], value: Any) -> None:
    """Templates of text and plain paths render as they do when Liquid walks them itself."""
    known = {"n1.v", "n1.w.x", "n1.l", "n1.l.size", "n1.w.first", 'nodes["n1"].v', "skipped.x", "n1.no", "no.x"}
    source = "".join(f"{{{{ {part} }}}}" if part in known else part for part in parts)
    outputs: dict[str, Any] = {"n1": {"v": value, "w": {"x": value}, "l": [value]}, "skipped": None}
    scope = {**outputs, "nodes": outputs}
    template = parse(source)
    assert _attempt(lambda: template.text(scope)) == _attempt(lambda: template._write(scope, TextBuffer(1 << 20)))
    if len(parts) == 1 and parts[0] in known:
        slow = _attempt(lambda: template._evaluate(scope))
        assert _attempt(lambda: template.value(scope)) == slow


def _attempt(render: Any) -> Any:
    """What a render gives, or that it fails."""
    try:
        return render()
    except TemplateError:
        return TemplateError
    except Exception as error:
        if type(error).__module__ != "liquid.exceptions":
            raise
        return TemplateError
