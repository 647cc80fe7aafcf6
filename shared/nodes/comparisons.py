"""The comparisons of the conditions, by operator. Each takes the input, the value, and whether case matters."""

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from liquid.exceptions import FilterArgumentError

from shared.errors import StepFailedError
from shared.templates import is_template
from shared.templates.filters import compiled, encodable
from shared.templates.values import text_of

Comparison = Callable[[Any, Any, bool], bool]
StringOperator = Literal[
    "equals", "not_equals", "contains", "not_contains", "starts_with", "not_starts_with", "ends_with", "not_ends_with",
    "regex", "not_regex", "is_empty", "is_not_empty", "in", "not_in",
]  # fmt: skip
NumberOperator = Literal[
    "equals", "not_equals", "greater_than", "less_than", "greater_than_or_equal", "less_than_or_equal", "between",
    "not_between", "==", "=", "!=", "<>", ">", "<", ">=", "<=",
]  # fmt: skip
SwitchOperator = Literal[
    "equals", "not_equals", "contains", "not_contains", "starts_with", "not_starts_with", "ends_with", "not_ends_with",
    "regex", "not_regex", "is_empty", "is_not_empty", "in", "not_in", "greater_than", "less_than",
    "greater_than_or_equal", "less_than_or_equal", "between", "not_between", "==", "=", "!=", "<>", ">", "<",
    ">=", "<=",
]  # fmt: skip
#: Operators that look at the input alone.
UNARY: Final = frozenset({"is_empty", "is_not_empty"})
_DELIMITED: Final = re.compile(r"/(.*)/([imsu]*)", re.DOTALL)
#: Characters of a text that is read as a number; Python refuses integers of thousands of digits.
_DIGITS: Final = 400
_NUMBER: Final = re.compile(r"[+-]?(\d+)(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+([eE][+-]?\d+)?", re.ASCII)


def pattern(text: str, *, case_sensitive: bool = True) -> Any:
    """The RE2 expression of ``/pattern/i``, or of a bare pattern; the flags are i, m and s (u is the rule anyway).

    Raises:
        StepFailedError: ``invalid_regex`` if RE2 does not take it.
    """
    found = _DELIMITED.fullmatch(text)
    body, flags = found.groups() if found else (text, "")
    wanted = sorted({*flags.replace("u", ""), *("" if case_sensitive else "i")})
    try:
        return compiled(body, "".join(wanted))
    except FilterArgumentError as error:
        raise StepFailedError("invalid_regex", f"{error.message}.") from error


def number(value: Any, path: str) -> int | float:
    """A number, or the number that a text is.

    Raises:
        StepFailedError: ``not_a_number``.
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if isinstance(value, str):
        found = _NUMBER.fullmatch(value.strip())
        if found is not None and len(value) <= _DIGITS:
            return int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
    raise StepFailedError("not_a_number", f"{path}: {_described(value)} is not a number.")


def _described(value: Any) -> str:
    text = text_of(value)[:60]
    return f'"{text}"' if isinstance(value, str) else (text or "null")


def _folded(value: Any, case_sensitive: bool) -> str:
    text = text_of(value)
    return text if case_sensitive else text.casefold()


def _textual(compare: Callable[[str, str], bool]) -> Comparison:
    return lambda given, value, case: compare(_folded(given, case), _folded(value, case))


def _contains(given: Any, value: Any, case_sensitive: bool) -> bool:
    wanted = _folded(value, case_sensitive)
    if isinstance(given, list):
        return any(_folded(item, case_sensitive) == wanted for item in given)
    return wanted in _folded(given, case_sensitive)


def _in(given: Any, value: Any, case_sensitive: bool) -> bool:
    items = value if isinstance(value, list) else [part.strip() for part in text_of(value).split(",")]
    return _contains(items, given, case_sensitive)


def _matches(given: Any, value: Any, case_sensitive: bool) -> bool:
    found = pattern(text_of(value), case_sensitive=case_sensitive).search(encodable(text_of(given)))
    return found is not None


def _is_empty(given: Any, _value: Any, _case_sensitive: bool) -> bool:
    return given is None or given in ("", [], {})


def _not(comparison: Comparison) -> Comparison:
    return lambda given, value, case: not comparison(given, value, case)


def _numeric(compare: Callable[[Any, Any], bool]) -> Comparison:
    return lambda given, value, _: compare(number(given, "data.input"), number(value, "data.value"))


def _between(given: Any, value: Any, _case_sensitive: bool) -> bool:
    low, high = bounds(value)
    return number(low, "data.value[0]") <= number(given, "data.input") <= number(high, "data.value[1]")


def bounds(value: Any) -> tuple[Any, Any]:
    """The two ends of a ``between``: ``[min, max]`` or ``{"min", "max"}``; both are inside.

    Raises:
        StepFailedError: ``invalid_data`` for anything else.
    """
    if isinstance(value, list) and len(value) == 2:
        return value[0], value[1]
    if isinstance(value, dict) and value.keys() == {"min", "max"}:
        return value["min"], value["max"]
    raise StepFailedError("invalid_data", 'data.value: between takes [min, max] or {"min", "max"}.')


_POSITIVE: Final[Mapping[str, Comparison]] = {
    "equals": _textual(operator.eq),
    "contains": _contains,
    "starts_with": _textual(str.startswith),
    "ends_with": _textual(str.endswith),
    "regex": _matches,
    "in": _in,
}
STRING: Final[Mapping[str, Comparison]] = {
    **_POSITIVE,
    **{f"not_{name}": _not(comparison) for name, comparison in _POSITIVE.items()},
    "is_empty": _is_empty,
    "is_not_empty": _not(_is_empty),
}
_ORDER: Final[Mapping[str, Comparison]] = {
    "greater_than": _numeric(operator.gt),
    "less_than": _numeric(operator.lt),
    "greater_than_or_equal": _numeric(operator.ge),
    "less_than_or_equal": _numeric(operator.le),
    ">": _numeric(operator.gt),
    "<": _numeric(operator.lt),
    ">=": _numeric(operator.ge),
    "<=": _numeric(operator.le),
    "between": _between,
    "not_between": _not(_between),
}
NUMBER: Final[Mapping[str, Comparison]] = {
    **_ORDER,
    **dict.fromkeys(("equals", "==", "="), _numeric(operator.eq)),
    **dict.fromkeys(("not_equals", "!=", "<>"), _numeric(operator.ne)),
}
#: A switch compares whatever comes: order takes numbers, the rest is text, so 5 equals "5".
SWITCH: Final[Mapping[str, Comparison]] = {
    **_ORDER,
    **STRING,
    **dict.fromkeys(("==", "="), STRING["equals"]),
    **dict.fromkeys(("!=", "<>"), STRING["not_equals"]),
}


_NUMERIC: Final = frozenset(_ORDER)


def value_faults(data: Mapping[str, Any], path: str = "", *, numeric: bool = False) -> list[tuple[str, str]]:
    """What is wrong with the constant ``value`` of a comparison, as (path, message).

    Args:
        data: the raw object that holds ``operator`` and ``value``; their types are right, or they are templates.
        path: where that object stands, with its dot.
        numeric: whether every operator takes numbers, not only those of order.
    """
    name = data.get("operator", "equals")
    if name in UNARY:
        return []
    if "value" not in data:
        return [(f"{path}value", f'"value" is required by the operator "{name}".')]
    value = data["value"]
    if isinstance(value, str) and is_template(value):
        return []
    try:
        _check_constant(name, value, numeric=numeric or name in _NUMERIC)
    except StepFailedError as error:
        return [(f"{path}value", error.message.removeprefix("data.value: "))]
    return []


def _check_constant(name: str, value: Any, *, numeric: bool) -> None:
    if name in ("regex", "not_regex"):
        pattern(text_of(value))
    elif name in ("between", "not_between"):
        for end in bounds(value):
            if not (isinstance(end, str) and is_template(end)):
                number(end, "data.value")
    elif numeric:
        number(value, "data.value")
