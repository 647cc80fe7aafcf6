r"""JSON text with everything that JSON allows, \u0000 and lone surrogates too."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.jsontext import decode, encode

texts = st.text(st.characters(exclude_categories=[]), max_size=8)  # with surrogates
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


@given(values)
def test_every_value_comes_back(value):
    """Through a text that UTF-8 and a column of Postgres can hold: no NUL and no surrogate stands in it bare."""
    text = encode(value)
    assert decode(text) == value
    assert "\0" not in text
    text.encode()
    assert json.loads(text) == value


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("beside", ["", "\ud800"])
def test_what_is_no_number_of_json_is_null(number, beside):
    """On the slow way too: a text that nobody can decode would be stored."""
    value = {"x": [number, (number,), {"y": number}, 1.5], "z": beside}
    assert decode(encode(value)) == {"x": [None, [None], {"y": None}, 1.5], "z": beside}


@pytest.mark.parametrize("text", ["", "{", "nul", "[1,]", "NaN", '{"x": NaN, "y": "\\ud800"}', "\ud800"])
def test_what_is_not_json_is_a_value_error(text):
    """Whichever decoder finds out."""
    with pytest.raises(ValueError):  # noqa: PT011 — msgspec's and json's errors have no more in common
        decode(text)


@pytest.mark.parametrize("value", [object(), {"x": object()}, {"x": object(), "y": "\ud800"}])
def test_what_json_has_no_type_for_is_refused(value):
    """On both ways alike."""
    with pytest.raises(TypeError):
        encode(value)
