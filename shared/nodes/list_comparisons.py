"""The comparisons of lists, by operator: what is in them, and how long they are.

Items are compared as the other conditions compare, by their text, so 5 is "5"; objects and lists by what is in them,
whatever order their names are written in.
"""

import json
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

from shared.errors import StepFailedError
from shared.graph.suggest import shown
from shared.nodes.comparisons import UNARY, Comparison, Family, Terms, folded, negated
from shared.nodes.operands import bounds, each_bound, number
from shared.templates import is_template

ArrayOperator = Literal[
    "contains", "not_contains", "contains_any", "contains_all", "contains_none", "any", "all", "none", "is_empty",
    "is_not_empty", "length_equals", "length_not_equals", "length_greater_than", "length_less_than",
    "length_greater_than_or_equal", "length_less_than_or_equal", "length_between", "length_not_between",
]  # fmt: skip
#: Operators that hold the items against conditions, if those are given.
QUANTIFIERS: Final = ("any", "all", "none")


def items_of(value: Any, path: str) -> list[Any]:
    """A list.

    Raises:
        StepFailedError: ``not_a_list``.
    """
    if isinstance(value, list):
        return value
    raise StepFailedError("not_a_list", f"{path}: {shown(value)} is no list.")


def identity(value: Any, terms: Terms) -> str:
    """A text that two values share if they are the same."""
    if isinstance(value, (dict, list)):
        text = json.dumps(value, sort_keys=True, separators=(",", ":"))
        return text if terms.case_sensitive else text.casefold()
    return folded(value, terms)


def _counted(judge: Callable[[int, int], bool]) -> Comparison:
    """Judge how many of the values are in the list: ``judge`` gets how many are, and how many there are in all."""

    def compare(given: Any, value: Any, terms: Terms) -> bool:
        held = {identity(item, terms) for item in items_of(given, "data.input")}
        wanted = {identity(item, terms) for item in items_of(value, "data.value")}
        return judge(len(wanted & held), len(wanted))

    return compare


def _contains(given: Any, value: Any, terms: Terms) -> bool:
    wanted = identity(value, terms)
    return any(identity(item, terms) == wanted for item in items_of(given, "data.input"))


def _length(compare: Callable[[Any, Any], bool]) -> Comparison:
    return lambda given, value, _: compare(len(items_of(given, "data.input")), number(value, "data.value"))


def _length_between(given: Any, value: Any, _terms: Terms) -> bool:
    low, high = bounds(value)
    return number(low, "data.value[0]") <= len(items_of(given, "data.input")) <= number(high, "data.value[1]")


def _empty(given: Any, _value: Any, _terms: Terms) -> bool:
    return given is None or not items_of(given, "data.input")


_MEMBERS: Final[Mapping[str, Comparison]] = {
    **dict.fromkeys(("any", "contains_any"), _counted(lambda found, _: found > 0)),
    **dict.fromkeys(("all", "contains_all"), _counted(operator.eq)),
    **dict.fromkeys(("none", "contains_none"), _counted(lambda found, _: found == 0)),
}
_RANGES: Final[Mapping[str, Comparison]] = {
    "length_between": _length_between,
    "length_not_between": negated(_length_between),
}
_LENGTHS: Final[Mapping[str, Comparison]] = {
    "length_equals": _length(operator.eq),
    "length_not_equals": _length(operator.ne),
    "length_greater_than": _length(operator.gt),
    "length_less_than": _length(operator.lt),
    "length_greater_than_or_equal": _length(operator.ge),
    "length_less_than_or_equal": _length(operator.le),
}


def _check(name: str, value: Any) -> None:
    if name in _LENGTHS:
        number(value, "data.value")
    elif name in _RANGES:
        each_bound(value, lambda end: number(end, "data.value"))
    elif name in _MEMBERS and not (isinstance(value, str) and is_template(value)):
        items_of(value, "data.value")


ARRAY: Final = Family(
    "array",
    {
        **_MEMBERS,
        **_RANGES,
        **_LENGTHS,
        "contains": _contains,
        "not_contains": negated(_contains),
        "is_empty": _empty,
        "is_not_empty": negated(_empty),
    },
    UNARY,
    _check,
)
