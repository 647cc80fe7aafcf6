"""Moments: read from whatever people write, moved by calendar units, cut at the borders of them; in a time zone.

Calendar units (days and longer) are counted on the wall clock of the zone, so a day across a clock change has 23 or 25
hours; hours and shorter are time that passes. A wall time that a change leaves out is read with the offset before it,
so 02:30 becomes 03:30; of one that comes twice the first is meant.
"""

import re
from calendar import monthrange
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from dateutil import parser  # type: ignore[import-untyped]

#: Characters of a date. dateutil reads a megabyte for seconds, and nothing can interrupt it.
LONGEST: Final = 200
#: Unix times from here on are milliseconds; as seconds they would lie behind the year 5138.
_MILLISECONDS: Final = 100_000_000_000
#: Units of the calendar that are counted in months.
_MONTHS: Final[Mapping[str, int]] = {"month": 1, "quarter": 3, "year": 12}
_DAYS: Final[Mapping[str, int]] = {"day": 1, "week": 7}
_SECONDS: Final[Mapping[str, float]] = {"millisecond": 0.001, "second": 1, "minute": 60, "hour": 3_600}
#: Every unit, the shortest first.
UNITS: Final = (*_SECONDS, *_DAYS, *_MONTHS)
#: Hours of the zones that RFC 5322 names; others mean different things in different places.
_ABBREVIATIONS: Final[Mapping[str, int]] = {
    "UTC": 0, "GMT": 0, "UT": 0, "Z": 0, "EST": -5, "EDT": -4, "CST": -6, "CDT": -5, "MST": -7, "MDT": -6, "PST": -8,
    "PDT": -7,
}  # fmt: skip
#: What dateutil raises on texts that are no dates, besides its own error, which is a ValueError.
_BREAKS: Final = (ValueError, OverflowError, OSError, ArithmeticError, TypeError, AttributeError, IndexError)
_NUMBER: Final = re.compile(r"[+-]?\d{1,17}(\.\d{1,9})?", re.ASCII)
_SHIFT: Final = re.compile(
    r"(?:(?P<sign>[+-])\s*|in\s+)?(?P<amount>\d{1,9})\s*(?P<unit>[a-z]{3,12}?)s?(?P<ago>\s+ago)?", re.IGNORECASE
)
_NEAR: Final[Mapping[str, int]] = {"today": 0, "midnight": 0, "tomorrow": 1, "yesterday": -1}


#: Characters of the name of a zone. The longest there is has 32; zoneinfo recurses through the parts of a path.
_LONGEST_ZONE: Final = 64


class MomentError(ValueError):
    """What should be a moment, a unit or a zone is none; the text says why."""


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name.

    Raises:
        MomentError: if there is none.
    """
    try:
        return _zone(name if len(name) <= _LONGEST_ZONE else "")
    except (KeyError, OSError, ValueError) as error:
        raise MomentError(f"{name[:60]!r} is no time zone; legal: an IANA name such as UTC or Europe/Berlin") from error


@lru_cache(maxsize=64)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def read(value: Any, now: Callable[[], datetime], assumed: tzinfo = UTC) -> datetime:
    """The moment that a value means; it has an offset.

    Args:
        value: ISO 8601 or another text that dateutil reads, unix seconds or milliseconds, ``now``, ``today``,
            ``tomorrow``, ``yesterday``, ``+3 days``, ``in 2 weeks`` or ``1 month ago``.
        now: what relative texts are counted from, and what fills in parts that a text leaves out.
        assumed: the zone of a text without an offset, and of what is today.

    Raises:
        MomentError: if it is none.
    """
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return _unix(value)
        if isinstance(value, str) and len(value) <= LONGEST:
            return _read(value.strip(), now, assumed)
    except MomentError:
        raise
    except _BREAKS as error:
        raise MomentError(f"{str(value)[:60]!r} is no date that can be read") from error
    if isinstance(value, str):
        raise MomentError(f"a text of {len(value)} characters is no date; a date has at most {LONGEST}")
    raise MomentError(f"a date is text or unix seconds, not {_word(value)}")


def _word(value: Any) -> str:
    words = {type(None): "null", bool: "true or false", list: "a list", dict: "an object"}
    return words.get(type(value), type(value).__name__)


def _unix(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds / 1000 if abs(seconds) >= _MILLISECONDS else seconds, UTC)


def _read(text: str, now: Callable[[], datetime], assumed: tzinfo) -> datetime:
    if _NUMBER.fullmatch(text) and not (len(text) == 8 and text.isdecimal()):  # 20251031 is a date
        return _unix(float(text))
    relative = _relative(text.lower(), now, assumed)
    if relative is not None:
        return relative
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        # What the text leaves out, such as the day of "10:30", is filled from today.
        today = now().astimezone(assumed).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        moment = parser.parse(text, default=today, tzinfos=_named_offset)
    return (moment if moment.utcoffset() is not None else moment.replace(tzinfo=assumed)).astimezone(UTC)


def _named_offset(name: str | None, seconds: int | None) -> tzinfo | None:
    """The zone of an offset or an abbreviation in a text; None if there is neither."""
    if seconds is not None:
        return timezone(timedelta(seconds=seconds))
    if name is None:
        return None
    if name not in _ABBREVIATIONS:
        raise ValueError(f"the zone {name[:20]!r} is ambiguous")
    return timezone(timedelta(hours=_ABBREVIATIONS[name]))


def _relative(text: str, now: Callable[[], datetime], assumed: tzinfo) -> datetime | None:
    """The moment of ``now``, ``tomorrow``, ``+3 days`` and the like; None for any other text."""
    if text == "now":
        return now()
    if text in _NEAR:
        return shifted(start_of(now(), "day", assumed), _NEAR[text], "day", assumed)
    found = _SHIFT.fullmatch(text)
    if found is None or found["unit"] not in UNITS or not (found["sign"] or found["ago"] or text.startswith("in")):
        return None
    back = (found["sign"] == "-") != bool(found["ago"])
    return shifted(now(), -int(found["amount"]) if back else int(found["amount"]), found["unit"], assumed)


def unit_of(name: str) -> str:
    """A unit by its name, in the singular or the plural.

    Raises:
        MomentError: if there is none such.
    """
    single = name.lower().removesuffix("s")
    if single not in UNITS:
        raise MomentError(f"{name[:40]!r} is no unit; legal: {', '.join(UNITS)}, and their plurals")
    return single


def shifted(moment: datetime, amount: float, unit: str, around: tzinfo) -> datetime:
    """A moment moved by some units; months and longer end on their last day where the day does not exist.

    Args:
        moment: with an offset.
        amount: negative for the past; whole for months and longer.
        unit: one of `UNITS`.
        around: the zone whose wall clock the calendar units are counted on.

    Raises:
        MomentError: if the amount is not whole, or the result is outside the years 1 to 9999.
    """
    try:
        if unit in _SECONDS:
            return (moment.astimezone(UTC) + timedelta(seconds=amount * _SECONDS[unit])).astimezone(around)
        local = moment.astimezone(around)
        if amount == 0:
            return local
        if unit in _MONTHS:
            return _settled(_months_on(local, amount, unit), around)
        whole = int(amount)
        moved = _settled(local + timedelta(days=whole * _DAYS[unit]), around)
        return shifted(moved, (amount - whole) * _DAYS[unit] * 24, "hour", around)
    except (OverflowError, ValueError) as error:
        if isinstance(error, MomentError):
            raise
        raise MomentError("the result is outside the years 1 to 9999") from error


def _months_on(local: datetime, amount: float, unit: str) -> datetime:
    if amount != int(amount):
        raise MomentError(f"an amount of {unit}s is whole, not {amount}")
    month = local.year * 12 + local.month - 1 + int(amount) * _MONTHS[unit]
    if not 12 <= month < 120_000:
        raise OverflowError
    year, month = divmod(month, 12)
    return local.replace(year=year, month=month + 1, day=min(local.day, monthrange(year, month + 1)[1]), fold=0)


def _settled(wall: datetime, around: tzinfo) -> datetime:
    """A wall time as one that there is: one that a clock change leaves out is moved behind it."""
    return wall.astimezone(UTC).astimezone(around)


def start_of(moment: datetime, unit: str, around: tzinfo) -> datetime:
    """The first moment of the unit that a moment lies in; weeks begin on Monday."""
    local = moment.astimezone(around)
    if unit == "millisecond":
        return local.replace(microsecond=local.microsecond // 1000 * 1000)
    if unit in _SECONDS:
        second = 0 if unit != "second" else local.second
        return local.replace(microsecond=0, second=second, minute=0 if unit == "hour" else local.minute)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if unit == "week":
        midnight -= timedelta(days=midnight.weekday())
    elif unit in _MONTHS:
        months = _MONTHS[unit]
        midnight = midnight.replace(day=1, month=(midnight.month - 1) // months * months + 1)
    return _settled(midnight, around)


def end_of(moment: datetime, unit: str, around: tzinfo) -> datetime:
    """The last microsecond of the unit that a moment lies in."""
    if unit in _SECONDS:
        following = shifted(start_of(moment, unit, around), 1, unit, around)
    else:
        # A day later than the border, then back to it: the border itself may be moved by a clock change.
        following = start_of(shifted(start_of(moment, unit, around), 1, unit, around), unit, around)
    return (following.astimezone(UTC) - timedelta(microseconds=1)).astimezone(around)


def between(first: datetime, second: datetime, unit: str, around: tzinfo) -> int:
    """The whole units from one moment to another, towards zero; negative if the second is earlier."""
    if unit in _SECONDS:
        microseconds = elapsed(first, second) // timedelta(microseconds=1)
        whole = abs(microseconds) // int(_SECONDS[unit] * 1_000_000)
        return whole if microseconds >= 0 else -whole
    estimate = _estimate(first.astimezone(around), second.astimezone(around), unit)
    step = 1 if estimate >= 0 else -1
    # The estimate counts borders of the unit that lie between, so it is right or one too far.
    beyond = elapsed(second, shifted(first, estimate, unit, around))
    return estimate - step if estimate and beyond * step > timedelta(0) else estimate


def elapsed(first: datetime, second: datetime) -> timedelta:
    """The time that passes from one moment to another; Python's own difference within a zone is that of wall clocks."""
    return second.astimezone(UTC) - first.astimezone(UTC)


def _estimate(first: datetime, second: datetime, unit: str) -> int:
    if unit in _MONTHS:
        months = (second.year - first.year) * 12 + second.month - first.month
        whole = abs(months) // _MONTHS[unit]
        return whole if months >= 0 else -whole
    days = (second.date() - first.date()).days
    whole = abs(days) // _DAYS[unit]
    return whole if days >= 0 else -whole
