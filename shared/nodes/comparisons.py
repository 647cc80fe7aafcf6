"""The comparisons of the conditions, by operator: those of text, of numbers, of truth, and of whatever comes.

What a condition compares with is a `Family`: dates are in `shared.nodes.date_comparisons`, lists in
`shared.nodes.list_comparisons`, and conditions made of conditions in `shared.nodes.rules`.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from shared.errors import StepFailedError
from shared.nodes.base import this_clock
from shared.nodes.operands import bounds, each_bound, number, pattern, truth
from shared.templates import is_template
from shared.templates.regexes import RegexError
from shared.templates.values import text_of

EqualityOperator = Literal["equals", "not_equals", "==", "=", "!=", "<>"]
RangeOperator = Literal[
    "greater_than", "less_than", "greater_than_or_equal", "less_than_or_equal", ">", "<", ">=", "<=", "between",
    "not_between",
]  # fmt: skip
StringOperator = Literal[
    EqualityOperator, "contains", "not_contains", "starts_with", "not_starts_with", "ends_with", "not_ends_with",
    "regex", "not_regex", "is_empty", "is_not_empty", "in", "not_in",
]  # fmt: skip
NumberOperator = Literal[EqualityOperator, RangeOperator]
BooleanOperator = Literal["is_true", "is_false", EqualityOperator, "is_empty", "is_not_empty"]
SwitchOperator = Literal[StringOperator, RangeOperator]
#: Operators that look at the input alone.
UNARY: Final = frozenset({"is_empty", "is_not_empty"})


class Terms(msgspec.Struct, frozen=True):
    """What a comparison depends on besides the two sides.

    Attributes:
        case_sensitive: whether ``a`` and ``A`` differ.
        timezone: an IANA name; where dates without an offset are, and what is today.
        unit: of ``within_last`` and the like.
        now: the present moment.
    """

    case_sensitive: bool = True
    timezone: str = "UTC"
    unit: str = "days"
    now: Callable[[], datetime] = this_clock


Comparison = Callable[[Any, Any, Terms], bool]
#: Where a condition's input stands and its other fields do; what a comparison's own errors begin with.
_PLACES: Final = ("data.input", "data")


class Family(msgspec.Struct, frozen=True):
    """The comparisons of one kind of value.

    Attributes:
        name: of the kind, as authors write it.
        comparisons: by operator.
        unary: operators that look at the input alone.
        check: takes an operator and a constant value and raises `StepFailedError` if they do not go together.
    """

    name: str
    comparisons: Mapping[str, Comparison]
    unary: frozenset[str]
    check: Callable[[str, Any], None]

    def holds(self, name: str, given: Any, value: Any, terms: Terms, places: tuple[str, str] = _PLACES) -> bool:
        """Whether a comparison holds.

        Args:
            name: the operator.
            given: the input.
            value: what it is compared with.
            terms: see `Terms`.
            places: where the input stands and where the other fields do, for errors.

        Raises:
            StepFailedError: if a side will not do; its message begins with the side's place.
        """
        try:
            return self.comparisons[name](given, value, terms)
        except StepFailedError as error:
            if places is _PLACES:
                raise
            raise relocated(error, places) from error

    def faults(self, data: Mapping[str, Any], path: str = "", default: str = "equals") -> list[tuple[str, str]]:
        """What is wrong with the constant ``value`` of a comparison, as (path, message).

        Args:
            data: the raw object that holds ``operator`` and ``value``; their types are right, or they are templates.
            path: where that object stands, with its dot.
            default: the operator of an object without one.
        """
        name = data.get("operator", default)
        if name in self.unary:
            return []
        if "value" not in data:
            return [(f"{path}value", f'"value" is required by the operator "{name}".')]
        value = data["value"]
        if isinstance(value, str) and is_template(value):
            return []
        try:
            self.check(name, value)
        except StepFailedError as error:
            return [(f"{path}value", error.message.removeprefix("data.value: "))]
        return []


def relocated(error: StepFailedError, places: tuple[str, str]) -> StepFailedError:
    """The same error of a comparison whose input and other fields stand at these places."""
    message = error.message
    for own, place in zip(_PLACES, places, strict=True):
        if message.startswith(own):
            return StepFailedError(error.code, place + message.removeprefix(own))
    return StepFailedError(error.code, message)


def folded(value: Any, terms: Terms) -> str:
    """A value as text, its case folded if case does not matter."""
    text = text_of(value)
    return text if terms.case_sensitive else text.casefold()


def _textual(compare: Callable[[str, str], bool]) -> Comparison:
    return lambda given, value, terms: compare(folded(given, terms), folded(value, terms))


def _contains(given: Any, value: Any, terms: Terms) -> bool:
    wanted = folded(value, terms)
    if isinstance(given, list):
        return any(folded(item, terms) == wanted for item in given)
    return wanted in folded(given, terms)


def _in(given: Any, value: Any, terms: Terms) -> bool:
    items = value if isinstance(value, list) else [part.strip() for part in text_of(value).split(",")]
    return _contains(items, given, terms)


def _matches(given: Any, value: Any, terms: Terms) -> bool:
    expression = pattern(text_of(value), case_sensitive=terms.case_sensitive)
    try:
        return expression.search(text_of(given)) is not None
    except RegexError as error:
        raise StepFailedError("invalid_regex", f"data.value: {error.message}.") from error


def is_empty(given: Any, _value: Any = None, _terms: Terms | None = None) -> bool:
    """Whether a value is null, or a text, a list or an object with nothing in it."""
    return given is None or (isinstance(given, (str, list, dict)) and not given)


def negated(comparison: Comparison) -> Comparison:
    """The opposite of a comparison."""
    return lambda given, value, terms: not comparison(given, value, terms)


def equality(equals: Comparison) -> dict[str, Comparison]:
    """The operators of equality, as words and as symbols."""
    return {
        **dict.fromkeys(("equals", "==", "="), equals),
        **dict.fromkeys(("not_equals", "!=", "<>"), negated(equals)),
    }


EMPTINESS: Final[Mapping[str, Comparison]] = {"is_empty": is_empty, "is_not_empty": negated(is_empty)}


def _numeric(compare: Callable[[Any, Any], bool]) -> Comparison:
    return lambda given, value, _: compare(number(given, "data.input"), number(value, "data.value"))


def _between(given: Any, value: Any, _terms: Terms) -> bool:
    low, high = bounds(value)
    return number(low, "data.value[0]") <= number(given, "data.input") <= number(high, "data.value[1]")


def _truthful(given: Any, value: Any, _terms: Terms) -> bool:
    return truth(given, "data.input") is truth(value, "data.value")


_POSITIVE: Final[Mapping[str, Comparison]] = {
    "contains": _contains,
    "starts_with": _textual(str.startswith),
    "ends_with": _textual(str.endswith),
    "regex": _matches,
    "in": _in,
}
_TEXT: Final[Mapping[str, Comparison]] = {
    **equality(_textual(operator.eq)),
    **_POSITIVE,
    **{f"not_{name}": negated(comparison) for name, comparison in _POSITIVE.items()},
    **EMPTINESS,
}
_ORDER: Final[Mapping[str, Comparison]] = {
    **dict.fromkeys(("greater_than", ">"), _numeric(operator.gt)),
    **dict.fromkeys(("less_than", "<"), _numeric(operator.lt)),
    **dict.fromkeys(("greater_than_or_equal", ">="), _numeric(operator.ge)),
    **dict.fromkeys(("less_than_or_equal", "<="), _numeric(operator.le)),
    "between": _between,
    "not_between": negated(_between),
}


def _check_text(name: str, value: Any) -> None:
    if name in ("regex", "not_regex"):
        pattern(text_of(value))


def _check_number(name: str, value: Any) -> None:
    if name in ("between", "not_between"):
        each_bound(value, lambda end: number(end, "data.value"))
    else:
        number(value, "data.value")


def _check_any(name: str, value: Any) -> None:
    (_check_number if name in _ORDER else _check_text)(name, value)


def _check_truth(value: Any) -> None:
    truth(value, "data.value")


STRING: Final = Family("string", _TEXT, UNARY, _check_text)
NUMBER: Final = Family("number", {**_ORDER, **equality(_numeric(operator.eq))}, frozenset(), _check_number)
BOOLEAN: Final = Family(
    "boolean",
    {
        "is_true": lambda given, _, __: truth(given, "data.input"),
        "is_false": lambda given, _, __: not truth(given, "data.input"),
        **equality(_truthful),
        **EMPTINESS,
    },
    UNARY | {"is_true", "is_false"},
    lambda _, value: _check_truth(value),
)
#: A switch compares whatever comes: order takes numbers, the rest is text, so 5 equals "5".
ANY: Final = Family("any", {**_TEXT, **_ORDER}, UNARY, _check_any)
