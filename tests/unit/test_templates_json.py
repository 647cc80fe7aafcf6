"""JSON bodies: values are escaped inside strings and serialised outside them."""

import json
from typing import Any

import pytest

from shared.templates import TemplateError, parse

SCOPE: dict[str, Any] = {"n1": {"s": 'a"b\\c\n', "n": 5, "l": [1, "x"], "o": {"k": 'v"'}, "z": None, "t": True}}


@pytest.mark.parametrize(
    ("source", "document"),
    [
        ('{"a":"{{ n1.s }}"}', {"a": 'a"b\\c\n'}),
        ('{"a":{{ n1.s }}}', {"a": 'a"b\\c\n'}),
        (
            '{"a":{{ n1.l }},"b":{{ n1.z }},"c":{{ n1.t }},"d":{{ n1.n }}}',
            {"a": [1, "x"], "b": None, "c": True, "d": 5},
        ),
        ('{"a":{{ n1.o | json }},"b":"{{ n1.o | json }}"}', {"a": {"k": 'v"'}, "b": '{"k":"v\\""}'}),
        ('{"a":{{ n1.o | json | append: "," }}}', {"a": '{"k":"v\\""},'}),
        ('{"{{ n1.s }}":"x{{ n1.n }}y{{ n1.z }}{{ n1.t }}{{ n1.l }}"}', {'a"b\\c\n': 'x5ytrue[1,"x"]'}),
        ('[{% for i in n1.l %}"{{ i }}"{% unless forloop.last %},{% endunless %}{% endfor %}]', ["1", "x"]),
        ('[{% if n1.t %}"{{ n1.s }}{% else %}{{ n1.s }}"{% endif %}"]', ['a"b\\c\n']),
        ('["{% capture c %}<{{ n1.s }}>{% endcapture %}{{ c }}",{{ c }}]', ['<a"b\\c\n>', '<a"b\\c\n>']),
        ('["{% ifchanged %}{{ n1.s }}{% endifchanged %}",{% cycle n1.s, 1 %},"{% echo n1.s %}"]', ['a"b\\c\n'] * 3),
        ('["{% assign q = \'"\' %}{{ q }}\\"{{ q }}\\\\"]', ['"""\\']),
        ("{{ n1.o }}", {"k": 'v"'}),
    ],
)
def test_documents(source: str, document: Any) -> None:
    """The rendered text is the document that the author drew, with the values in their places."""
    assert json.loads(parse(source).json(SCOPE)) == document


@pytest.mark.parametrize("source", ['{"a":"\\{{ n1.s }}"}', '["{% if n1.t %}\\{% endif %}{{ n1.s }}"]'])
def test_a_value_after_a_backslash_fails(source: str) -> None:
    """A value behind a backslash would be read as part of an escape, so the render fails."""
    with pytest.raises(TemplateError, match="backslash"):
        parse(source).json(SCOPE)


@pytest.mark.parametrize(
    "source", ['{"a":{{ n1.n }}', "{a: {{ n1.n }}}", "[{{ n1.s }}{{ n1.s }}]", '{"a": NaN, "b": {{ n1.n }}}']
)
def test_what_is_no_document_fails(source: str) -> None:
    """Text that is no JSON document once it is rendered fails the step with a reason."""
    with pytest.raises(TemplateError, match="no JSON document"):
        parse(source).json(SCOPE)
