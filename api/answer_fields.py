"""Reading an answer: what somebody sent, held against the question, every fault at once."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from shared.errors import Fault, InvalidError
from shared.graph.suggest import Nearest, clean, listed, shown
from shared.questions import OUTCOME, Question, QuestionField

_TRUE: Final = frozenset({"true", "on", "yes", "1"})
_FALSE: Final = frozenset({"false", "off", "no", "0"})
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,40}(\.[0-9]{1,40})?")
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,40}")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)*")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Given(NamedTuple):
    """What somebody sent.

    Attributes:
        value: a JSON value; of a form, an object of texts (lists where a name came several times).
        is_form: whether it is a form's, whose values are all texts and empty where nothing was filled in.
    """

    value: Any
    is_form: bool


class AnswerRead(NamedTuple):
    """An answer that will do."""

    outcome: str
    data: Any


class _WrongError(Exception):
    """A value breaks its field's rule, which is the message; ``code`` is the fault's."""

    def __init__(self, message: str, code: str = "invalid_value") -> None:
        super().__init__(message)
        self.code = code


def read_answer(question: Question, given: Given) -> AnswerRead:
    """The answer that was given to a question.

    Raises:
        InvalidError: ``validation_failed`` with every fault, or ``object_expected``.
    """
    if question.takes_anything:
        return AnswerRead(question.buttons[0].name, given.value)
    if not isinstance(given.value, dict):
        raise InvalidError("object_expected", f"The answer must be a JSON object, not {shown(given.value)}.")
    faults: list[Fault] = [*_unknown(question, given.value)]
    outcome = _outcome(question, given.value, faults)
    data = {field.name: _field(field, given, faults) for field in question.fields}
    if faults:
        raise InvalidError("validation_failed", " ".join(fault.message for fault in faults), faults=faults)
    return AnswerRead(outcome, data)


def _unknown(question: Question, given: Mapping[str, Any]) -> Iterator[Fault]:
    legal = [field.name for field in question.fields]
    if len(question.buttons) > 1:
        legal.append(OUTCOME)
    nearest = Nearest()
    for name in given:
        if name not in legal:
            hint = nearest.hint(name, lambda: legal)
            message = f"Unknown field {shown(name)}{hint} Legal here: {listed(legal)}."
            yield Fault(clean(name), "unknown_field", message)


def _outcome(question: Question, given: Mapping[str, Any], faults: list[Fault]) -> str:
    names = [button.name for button in question.buttons]
    if len(names) == 1:
        return names[0]
    chosen = given.get(OUTCOME)
    if isinstance(chosen, str) and chosen in names:
        return chosen
    code, got = ("required", "") if chosen is None else ("invalid_value", f", not {shown(chosen)}")
    faults.append(Fault(OUTCOME, code, f"{OUTCOME} must be one of {listed(names)}{got}."))
    return ""


def _field(field: QuestionField, given: Given, faults: list[Fault]) -> Any:
    value = given.value.get(field.name)
    called = field.label or field.name
    try:
        if given.is_form:
            value = _of_form(field, value)
        if field.type == "boolean" and value is None:
            value = False
        _check(field, value)
    except _WrongError as error:
        faults.append(Fault(field.name, error.code, f"{shown(called)} {error}."))
    return value


def _check(field: QuestionField, value: Any) -> None:
    if field.required and (value is None or value == "" or value is False):
        raise _WrongError("must be given" if field.type != "boolean" else "must be agreed to", "required")
    if value is not None:
        _CHECKS[field.type](field, value)


def _of_form(field: QuestionField, value: Any) -> Any:
    """The value a form's text stands for; an empty one stands for none."""
    if not isinstance(value, str):
        if value is not None:
            raise _WrongError("must be given once")
        return None
    text = value.replace("\r\n", "\n")
    if not text.strip():
        return None
    if field.type == "number" and _NUMBER.fullmatch(text.strip()):
        return float(text)
    if field.type == "integer" and _WHOLE.fullmatch(text.strip()):
        return int(text)
    if field.type == "boolean" and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    return text


def _check_text(field: QuestionField, value: Any) -> None:
    if not isinstance(value, str):
        raise _WrongError("must be a text", "invalid_type")
    if not field.min_length <= len(value) <= field.max_length and not (value == "" and not field.required):
        least = f"{field.min_length} to " if field.min_length else "at most "
        raise _WrongError(f"must have {least}{field.max_length} characters, not {len(value)}")


def _check_email(field: QuestionField, value: Any) -> None:
    _check_text(field, value)
    if value and not _EMAIL.fullmatch(value):
        raise _WrongError("must be an e-mail address such as name@example.com")


def _check_url(field: QuestionField, value: Any) -> None:
    _check_text(field, value)
    if value and not _is_web_address(value):
        raise _WrongError("must be a web address such as https://example.com")


def _is_web_address(value: str) -> bool:
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and not re.search(r"[\s\x00-\x1f]", value)


def _check_date(field: QuestionField, value: Any) -> None:
    _check_text(field, value)
    try:
        if value:
            date.fromisoformat(value if _DATE.fullmatch(value) else "")
    except ValueError:
        raise _WrongError("must be a date such as 2025-10-31") from None


def _check_select(field: QuestionField, value: Any) -> None:
    if not isinstance(value, str):
        raise _WrongError("must be a text", "invalid_type")
    if value not in field.choices and not (value == "" and not field.required):
        raise _WrongError(f"must be one of {listed(field.choices)}")


def _check_boolean(_: QuestionField, value: Any) -> None:
    if not isinstance(value, bool):
        raise _WrongError("must be true or false", "invalid_type")


def _check_integer(field: QuestionField, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise _WrongError("must be a whole number", "invalid_type")
    _check_range(field, value)


def _check_number(field: QuestionField, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise _WrongError("must be a number", "invalid_type")
    _check_range(field, value)


def _is_finite(value: float) -> bool:
    return isinstance(value, int) or math.isfinite(value)


def _check_range(field: QuestionField, value: float) -> None:
    if field.minimum is not None and value < field.minimum:
        raise _WrongError(f"must be at least {field.minimum:g}")
    if field.maximum is not None and value > field.maximum:
        raise _WrongError(f"must be at most {field.maximum:g}")


_CHECKS: Final[Mapping[str, Callable[[QuestionField, Any], None]]] = {
    "text": _check_text,
    "textarea": _check_text,
    "email": _check_email,
    "url": _check_url,
    "date": _check_date,
    "select": _check_select,
    "boolean": _check_boolean,
    "integer": _check_integer,
    "number": _check_number,
}
