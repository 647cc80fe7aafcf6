"""Reading answers: every type of field, from JSON and from forms, and every fault at once."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.answer_fields import AnswerRead, Given, read_answer
from api.answer_page import question_page
from shared.errors import InvalidError
from shared.jsontext import encode
from shared.questions import Button, Question, QuestionField

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.just("'\"><script>"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TYPES: tuple[Any, ...] = ("text", "textarea", "email", "url", "number", "integer", "boolean", "date", "select")
SENT = Button("sent")
FIELDS = [QuestionField(f"f_{name}", name, choices=["a", "b"] if name == "select" else []) for name in TYPES]
ALL = Question("All", fields=FIELDS, buttons=[SENT])


def question(kind: str, **rules: Any) -> Question:
    """A question with one field, ``x``."""
    return Question("Q", fields=[QuestionField("x", kind, **rules)], buttons=[SENT])  # type: ignore[arg-type]


def read(asked: Question, value: Any, *, is_form: bool = False) -> Any:
    """The value of ``x``."""
    return read_answer(asked, Given({"x": value}, is_form=is_form)).data["x"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("text", "a"),
        ("textarea", "a\nb"),
        ("email", "a.b+c@example.co.uk"),
        ("url", "https://example.com/a?b#c"),
        ("number", 1.5),
        ("number", -3),
        ("integer", 10**30),
        ("boolean", False),
        ("date", "2024-02-29"),
        ("select", "a"),
        ("text", ""),
        ("select", None),
    ],
)
def test_legal_values_stay_as_they_are(kind: str, value: Any) -> None:
    """JSON values of the field's type are the data."""
    assert read(question(kind, **({"choices": ["a"]} if kind == "select" else {})), value) == value


@pytest.mark.parametrize(
    ("kind", "typed", "value"),
    [
        ("text", " a ", " a "),
        ("textarea", "a\r\nb", "a\nb"),
        ("number", " 1.5 ", 1.5),
        ("integer", "+7", 7),
        ("boolean", "on", True),
        ("boolean", "false", False),
        ("boolean", "", False),
        ("date", "", None),
        ("text", "  ", None),
    ],
)
def test_texts_of_forms_become_values(kind: str, typed: str, value: Any) -> None:
    """What a browser sends for a field means the value that JSON would hold; nothing typed is nothing."""
    assert read(question(kind), typed, is_form=True) == value


@pytest.mark.parametrize(
    ("kind", "value", "rules"),
    [
        ("text", 1, {}),
        ("text", "abc", {"max_length": 2}),
        ("text", "a", {"min_length": 2}),
        ("text", "", {"required": True}),
        ("email", "a@b@c", {}),
        ("email", "a b@example.com", {}),
        ("url", "javascript:alert(1)", {}),
        ("url", "https://", {}),
        ("url", "http://[", {}),
        ("number", "1", {}),
        ("number", True, {}),
        ("number", float("inf"), {}),
        ("integer", 1.0, {}),
        ("integer", 6, {"maximum": 5}),
        ("number", 0.5, {"minimum": 1}),
        ("boolean", "true", {}),
        ("boolean", False, {"required": True}),
        ("boolean", None, {"required": True}),
        ("date", "2023-02-29", {}),
        ("date", "20240101", {}),
        ("date", "2024-W01-1", {}),
        ("select", "c", {"choices": ["a", "b"]}),
        ("select", ["a"], {"choices": ["a", "b"]}),
    ],
)
def test_illegal_values_are_faults_of_their_field(kind: str, value: Any, rules: dict[str, Any]) -> None:
    """One fault, at the field, with a sentence."""
    with pytest.raises(InvalidError) as caught:
        read(question(kind, **rules), value)
    (fault,) = caught.value.faults
    assert fault.path == "x"
    assert fault.message.startswith('"x" must ')


@pytest.mark.parametrize(
    ("kind", "typed"),
    [("number", "1e5"), ("number", "1,5"), ("integer", "1.0"), ("integer", "9" * 41), ("text", ["a", "b"])],
)
def test_texts_that_are_no_values_are_faults(kind: str, typed: Any) -> None:
    """A form's field that means nothing, or comes twice, is told like any other fault."""
    with pytest.raises(InvalidError):
        read(question(kind), typed, is_form=True)


@given(JSON, st.booleans())
def test_no_answer_breaks_the_reading_or_the_page(value: Any, is_form: bool) -> None:
    """Whatever is sent, it is taken or refused with faults; the page shows it again; what is taken can be stored."""
    for sent in (value, {f"f_{name}": value for name in TYPES}):
        given = Given(sent, is_form=is_form)
        try:
            stored = encode(read_answer(ALL, given).data)
        except InvalidError as error:
            stored = question_page(ALL, sent if isinstance(sent, dict) else {}, error.faults).decode()
        assert stored
        assert "<script" not in stored


def test_what_takes_anything_takes_it_as_it_is() -> None:
    """A callback's answer is its data."""
    asked = Question("C", buttons=[Button("received")], takes_anything=True)
    assert read_answer(asked, Given([1], is_form=False)) == AnswerRead("received", [1])
