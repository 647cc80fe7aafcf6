"""The filters about dates: deterministic, in a named time zone.

``now`` is when the run was accepted, which its id tells: a step that is run again must write the same.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from liquid.exceptions import FilterArgumentError

from shared.errors import NotFoundError
from shared.ids import Prefix, decode, milliseconds_of
from shared.templates.dateforms import written
from shared.templates.moments import MomentError, elapsed, read, shifted, start_of, unit_of, zone

_WEEKDAYS: Final = (
    "is_monday", "is_tuesday", "is_wednesday", "is_thursday", "is_friday", "is_saturday", "is_sunday",
)  # fmt: skip
_WITHIN: Final = re.compile(r"(?P<kind>within|within_last|within_next|older_than)_(?P<amount>\d{1,6})_(?P<unit>[a-z]+)")
_THIS: Final = re.compile(r"is_(?P<which>current|this|last|next)_(?P<unit>[a-z]+)")
_WHICH: Final[Mapping[str, int]] = {"current": 0, "this": 0, "last": -1, "next": 1}


class Day:
    """A moment beside the present one, in a zone.

    Args:
        moment: with an offset.
        now: likewise.
        around: the zone that says which day it is.
        read_other: how the arguments of a condition are read.
    """

    def __init__(
        self, moment: datetime, now: datetime, around: ZoneInfo, read_other: Callable[[Any], datetime]
    ) -> None:
        self.moment = moment.astimezone(around)
        self.now = now.astimezone(around)
        self.around = around
        self.read_other = read_other

    def days_ahead(self) -> int:
        """Days of the calendar from today to the moment's day."""
        return (self.moment.date() - self.now.date()).days

    def ahead(self) -> timedelta:
        """How far ahead the moment is; negative if it is past."""
        return elapsed(self.now, self.moment)


Check = Callable[[Day], bool]
_PLAIN: Final[Mapping[str, Check]] = {
    "is_today": lambda day: day.days_ahead() == 0,
    "is_tomorrow": lambda day: day.days_ahead() == 1,
    "is_yesterday": lambda day: day.days_ahead() == -1,
    "is_past": lambda day: day.ahead() < timedelta(0),
    "is_future": lambda day: day.ahead() > timedelta(0),
    "is_weekend": lambda day: day.moment.weekday() >= 5,
    "is_weekday": lambda day: day.moment.weekday() < 5,
    "is_leap_year": lambda day: (day.moment.replace(month=3, day=1) - timedelta(days=1)).day == 29,
    "is_last_of_month": lambda day: (day.moment.date() + timedelta(days=1)).day == 1,
}
#: With one other date; ``is_between`` with two.
_COMPARED: Final[Mapping[str, Callable[[Day, datetime], bool]]] = {
    "is_before": lambda day, other: elapsed(other, day.moment) < timedelta(0),
    "is_after": lambda day, other: elapsed(other, day.moment) > timedelta(0),
    "is_same_day": lambda day, other: other.astimezone(day.around).date() == day.moment.date(),
    "equals": lambda day, other: elapsed(other, day.moment) == timedelta(0),
}


def date(value: Any, form: str, name: str, *, run: Any) -> str:
    """``{{ trigger.at | date: "%d %b %Y", "Europe/Berlin" }}``.

    Args:
        value: see `shared.templates.moments.read`. Without an offset it is taken as UTC.
        form: directives of strftime; ``%s`` is unix seconds. Formats without ``%`` are those of ``carbon_date``.
        name: an IANA name.
        run: the scope's ``run``.

    Raises:
        FilterArgumentError: if the value is no date or the zone is none.
    """
    try:
        moment = _accepted(run) if value == "today" else read(value, lambda: _accepted(run))
        return written(moment.astimezone(zone(name)), form)
    except (MomentError, OverflowError) as error:
        raise FilterArgumentError(f"date: {error}", token=None) from error


def carbon_date(value: Any, form: str, name: str, *, run: Any) -> str:
    """``{{ trigger.at | carbon_date: "D, d M Y H:i", "Europe/Berlin" }}``.

    Args:
        value: see `shared.templates.moments.read`. Without an offset it is taken as in the zone.
        form: see `shared.templates.dateforms`.
        name: an IANA name.
        run: the scope's ``run``.

    Raises:
        FilterArgumentError: if the value is no date, the zone is none or the format is too long.
    """
    try:
        around = zone(name)
        return written(read(value, lambda: _accepted(run), around).astimezone(around), form)
    except (MomentError, OverflowError) as error:
        raise FilterArgumentError(f"carbon_date: {error}", token=None) from error


def carbon_condition(value: Any, condition: str, *others: Any, name: str, run: Any) -> bool:
    """``{% assign soon = trigger.at | carbon_condition: "within_7_days" %}``.

    Args:
        value: see `shared.templates.moments.read`.
        condition: ``is_today``, ``is_monday``, ``is_past``, ``is_this_week``, ``is_next_month``, ``within_7_days``
            (before or after now), ``within_last_2_hours``, ``within_next_3_days``, ``older_than_1_year``,
            ``is_before``, ...; spaces stand for underscores.
        others: the dates of ``is_before``, ``is_after``, ``is_same_day``, ``equals`` (one) and ``is_between`` (two,
            which are inside).
        name: an IANA name; it says which day it is.
        run: the scope's ``run``.

    Raises:
        FilterArgumentError: if one of them is none.
    """
    try:
        around = zone(name)
        day = Day(
            read(value, lambda: _accepted(run), around),
            _accepted(run),
            around,
            lambda other: read(other, lambda: _accepted(run), around),
        )
        return _holds(day, condition.strip().lower().replace(" ", "_"), others)
    except (MomentError, OverflowError) as error:
        raise FilterArgumentError(f"carbon_condition: {error}", token=None) from error


def _holds(day: Day, condition: str, others: tuple[Any, ...]) -> bool:
    if condition in _COMPARED or condition == "is_between":
        return _compared(day, condition, others)
    if others:
        raise MomentError(f"{condition[:40]!r} takes no other date")
    if condition in _PLAIN:
        return _PLAIN[condition](day)
    if condition in _WEEKDAYS:
        return day.moment.weekday() == _WEEKDAYS.index(condition)
    within = _WITHIN.fullmatch(condition)
    if within is not None:
        return _is_within(day, within["kind"], int(within["amount"]), unit_of(within["unit"]))
    this = _THIS.fullmatch(condition)
    if this is not None:
        unit = unit_of(this["unit"])
        other = shifted(start_of(day.now, unit, day.around), _WHICH[this["which"]], unit, day.around)
        return start_of(other, unit, day.around) == start_of(day.moment, unit, day.around)
    legal = [*_PLAIN, *_WEEKDAYS, *_COMPARED, "is_between", "is_this_<unit>", "is_last_<unit>", "is_next_<unit>"]
    legal += ["within_<n>_<unit>", "within_last_<n>_<unit>", "within_next_<n>_<unit>", "older_than_<n>_<unit>"]
    raise MomentError(f"{condition[:40]!r} is no condition; legal: {', '.join(legal)}")


def _compared(day: Day, condition: str, others: tuple[Any, ...]) -> bool:
    wanted = 2 if condition == "is_between" else 1
    if len(others) != wanted:
        raise MomentError(f"{condition!r} takes {wanted} other date{'s' * (wanted - 1)}, not {len(others)}")
    dates = [day.read_other(other) for other in others]
    if condition == "is_between":
        return elapsed(dates[0], day.moment) >= timedelta(0) and elapsed(day.moment, dates[1]) >= timedelta(0)
    return _COMPARED[condition](day, dates[0])


def _is_within(day: Day, kind: str, amount: int, unit: str) -> bool:
    earliest, latest = (shifted(day.now, sign * amount, unit, day.around) for sign in (-1, 1))
    since, until = elapsed(earliest, day.moment), elapsed(day.moment, latest)
    if kind == "older_than":
        return since < timedelta(0)
    past, future = day.ahead() <= timedelta(0) <= since, day.ahead() >= timedelta(0) and until >= timedelta(0)
    return {"within_last": past, "within_next": future, "within": past or future}[kind]


def _accepted(run: Any) -> datetime:
    """When the run was accepted: its id carries the time."""
    identifier = run.get("id") if isinstance(run, Mapping) else None
    try:
        return datetime.fromtimestamp(milliseconds_of(decode(Prefix.RUN, str(identifier))) / 1000, UTC)
    except NotFoundError as error:
        raise MomentError('"now" needs the id of a run') from error
