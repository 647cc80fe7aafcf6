"""The comparisons of dates, by operator.

Sides are read by `shared.templates.moments`: ISO 8601 and what else people write, unix seconds, ``now``, ``+3 days``.
A date without a time is its midnight in the condition's zone, and that zone says which day it is.
"""

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from shared.errors import StepFailedError
from shared.graph.suggest import listed, shown
from shared.nodes.comparisons import (
    EMPTINESS,
    UNARY,
    Comparison,
    EqualityOperator,
    Family,
    Terms,
    equality,
    negated,
)
from shared.nodes.operands import bounds, each_bound, number_of
from shared.templates import is_template
from shared.templates.moments import MomentError, read, shifted, start_of, unit_of, zone

DateOperator = Literal[
    "before", "after", "on_or_before", "on_or_after", EqualityOperator, "<", ">", "<=", ">=", "same_day",
    "not_same_day", "between", "not_between", "is_today", "is_yesterday", "is_tomorrow", "is_this_week",
    "is_this_month", "is_this_year", "is_past", "is_future", "is_weekday", "is_weekend", "within_last", "within_next",
    "not_within_last", "not_within_next", "is_empty", "is_not_empty",
]  # fmt: skip
Unit = Literal[
    "seconds", "minutes", "hours", "days", "weeks", "months", "quarters", "years", "second", "minute", "hour", "day",
    "week", "month", "quarter", "year",
]  # fmt: skip
_UNITS: Final = ("seconds", "minutes", "hours", "days", "weeks", "months", "quarters", "years")
#: The most units that ``within_last`` and ``within_next`` take.
_MOST: Final = 1_000_000_000


def moment(value: Any, terms: Terms, path: str) -> datetime:
    """The moment that a value means, in the zone of the terms.

    Raises:
        StepFailedError: ``not_a_date``, or ``invalid_timezone``.
    """
    around = checked_zone(terms.timezone)
    try:
        return read(value, terms.now, around).astimezone(around)
    except (MomentError, OverflowError) as error:
        reason = str(error) if isinstance(error, MomentError) else f"{shown(value)} is no date that can be read"
        raise StepFailedError("not_a_date", f"{path}: {reason}.") from error


def checked_zone(name: str) -> Any:
    """The time zone of an IANA name.

    Raises:
        StepFailedError: ``invalid_timezone``.
    """
    try:
        return zone(name)
    except MomentError as error:
        raise StepFailedError("invalid_timezone", f"data.timezone: {error}.") from error


def _ordered(compare: Callable[[datetime, datetime], bool]) -> Comparison:
    return lambda given, value, terms: compare(moment(given, terms, "data.input"), moment(value, terms, "data.value"))


def _on_day(given: Any, value: Any, terms: Terms) -> bool:
    return moment(given, terms, "data.input").date() == moment(value, terms, "data.value").date()


def _between(given: Any, value: Any, terms: Terms) -> bool:
    low, high = bounds(value)
    least, most = moment(low, terms, "data.value[0]"), moment(high, terms, "data.value[1]")
    return least <= moment(given, terms, "data.input") <= most


def _days_ahead(days: int) -> Comparison:
    """Whether a moment is on the day so many days after today."""

    def compare(given: Any, _value: Any, terms: Terms) -> bool:
        today = moment("now", terms, "data.input").date()
        return (moment(given, terms, "data.input").date() - today).days == days

    return compare


def _this(unit: str) -> Comparison:
    """Whether a moment is in the same week, month or year as now; weeks begin on Monday."""

    def compare(given: Any, _value: Any, terms: Terms) -> bool:
        around = checked_zone(terms.timezone)
        begins = start_of(terms.now(), unit, around)
        return start_of(moment(given, terms, "data.input"), unit, around) == begins

    return compare


def _to_now(compare: Callable[[datetime, datetime], bool]) -> Comparison:
    return lambda given, _, terms: compare(moment(given, terms, "data.input"), terms.now())


def _weekend(given: Any, _value: Any, terms: Terms) -> bool:
    return moment(given, terms, "data.input").weekday() >= 5


def span(value: Any, default: str) -> tuple[int | float, str]:
    """An amount and its unit: ``7`` with the unit given apart, or ``"7 days"``.

    Raises:
        StepFailedError: ``invalid_data`` for anything else.
    """
    text, unit = value, default
    if isinstance(value, str):
        text, _, named = value.strip().partition(" ")
        unit = named.strip() or default
    amount = number_of(text)
    if amount is None or not 0 <= amount <= _MOST:
        rule = f'takes a number from 0 to {_MOST:,} with its unit, such as 7 and "days", or "7 days"'
        raise StepFailedError("invalid_data", f"data.value: {shown(value)} is no length of time: it {rule}.")
    try:
        single = unit_of(unit)
    except MomentError:
        single = ""
    if f"{single}s" not in _UNITS:
        raise StepFailedError("invalid_data", f"data.value: {shown(unit)} is no unit; legal: {listed(_UNITS)}.")
    if single in ("month", "quarter", "year") and amount != int(amount):
        raise StepFailedError("invalid_data", f"data.value: a number of {single}s is whole, not {amount}.")
    return amount, single


def _within(sign: int) -> Comparison:
    """Whether a moment is between now and so much before it (-1) or after it (1), both inside."""

    def compare(given: Any, value: Any, terms: Terms) -> bool:
        now = terms.now()
        amount, unit = span(value, terms.unit)
        try:
            end = shifted(now, sign * amount, unit, checked_zone(terms.timezone))
        except MomentError as error:
            raise StepFailedError("invalid_data", f"data.value: {error}.") from error
        return min(now, end) <= moment(given, terms, "data.input") <= max(now, end)

    return compare


def zone_faults(data: Mapping[str, Any], path: str = "") -> list[tuple[str, str]]:
    """What is wrong with the constant ``timezone`` of raw data, as (path, message)."""
    name = data.get("timezone", "UTC")
    return [] if is_template(name) else faults_of(lambda: checked_zone(name), "timezone", path)


def faults_of(read: Callable[[], object], field: str, path: str = "") -> list[tuple[str, str]]:
    """The fault of a constant ``field`` that ``read`` raises, as (path, message); empty if it raises none."""
    try:
        read()
    except StepFailedError as error:
        return [(f"{path}{field}", error.message.removeprefix(f"data.{field}: "))]
    return []


_ORDER: Final[Mapping[str, Comparison]] = {
    **dict.fromkeys(("before", "<"), _ordered(operator.lt)),
    **dict.fromkeys(("after", ">"), _ordered(operator.gt)),
    **dict.fromkeys(("on_or_before", "<="), _ordered(operator.le)),
    **dict.fromkeys(("on_or_after", ">="), _ordered(operator.ge)),
    **equality(_ordered(operator.eq)),
    "same_day": _on_day,
    "not_same_day": negated(_on_day),
}
_RANGES: Final[Mapping[str, Comparison]] = {"between": _between, "not_between": negated(_between)}
_SPANS: Final[Mapping[str, Comparison]] = {
    "within_last": _within(-1),
    "within_next": _within(1),
    "not_within_last": negated(_within(-1)),
    "not_within_next": negated(_within(1)),
}
_ALONE: Final[Mapping[str, Comparison]] = {
    "is_today": _days_ahead(0),
    "is_yesterday": _days_ahead(-1),
    "is_tomorrow": _days_ahead(1),
    "is_this_week": _this("week"),
    "is_this_month": _this("month"),
    "is_this_year": _this("year"),
    "is_past": _to_now(operator.lt),
    "is_future": _to_now(operator.gt),
    "is_weekend": _weekend,
    "is_weekday": negated(_weekend),
}


def _check(name: str, value: Any) -> None:
    if name in _SPANS:
        span(value, "days")
    elif name in _RANGES:
        each_bound(value, _check_moment)
    else:
        _check_moment(value)


def _check_moment(value: Any) -> None:
    moment(value, Terms(), "data.value")


DATE: Final = Family("date", {**_ORDER, **_RANGES, **_SPANS, **_ALONE, **EMPTINESS}, UNARY | _ALONE.keys(), _check)
