"""Schedule values, type by type: what each one's text means, and what is wrong with it."""

import re
from collections.abc import Callable
from typing import Final

from shared.schedule import cron
from shared.schedule.model import DST_FOLDS, DST_GAPS, MAX_VALUE, SCHEDULE_TYPES, Schedule, nearest, quoted
from shared.schedule.patterns import CronPattern, MonthlyPattern, Pattern
from shared.schedule.rules import Elapsed, Local, Never, Rule
from shared.schedule.zones import timezone_faults

#: A rule, or None and what is wrong.
Reading = tuple[Rule | None, list[str]]

_UNITS: Final = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_MAX_INTERVAL: Final = 3_650 * 86_400
_INTERVAL: Final = re.compile(r"(?P<count>[0-9]{1,12}) (?P<unit>[a-z]+?)s?")
_TIME: Final = re.compile(r"(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})")


def read(schedule: Schedule) -> tuple[Rule | None, list[tuple[str, str]]]:
    """The rule of a schedule and its faults as (field, message); the rule is None exactly if there are faults."""
    faults = [("timezone", fault) for fault in timezone_faults(schedule.timezone)]
    faults += _choice("dst_gap", schedule.dst_gap, DST_GAPS)
    faults += _choice("dst_fold", schedule.dst_fold, DST_FOLDS)
    reader = _READERS.get(schedule.type)
    if reader is None:
        return None, [*_choice("schedule_type", schedule.type, SCHEDULE_TYPES), *faults]
    rule, wrong = _too_long(schedule) or reader(schedule)
    faults = [("schedule_value", fault) for fault in wrong] + faults
    return (None if faults else rule), faults


def _choice(field: str, value: str, legal: tuple[str, ...]) -> list[tuple[str, str]]:
    if value in legal:
        return []
    return [(field, f"{quoted(value)} is no {field}; legal: {', '.join(legal)}{nearest(value, legal)}")]


def _too_long(schedule: Schedule) -> Reading | None:
    if schedule.type == "manual" or len(schedule.value or "") <= MAX_VALUE:
        return None
    return None, [f"a schedule_value has at most {MAX_VALUE} characters, this one {len(schedule.value or '')}"]


def _manual(schedule: Schedule) -> Reading:  # noqa: ARG001 - the value beside it is kept and means nothing
    return Never(), []


def _interval(schedule: Schedule) -> Reading:
    text = " ".join((schedule.value or "").lower().split())
    legal = "legal: a whole number and a unit (second, minute, hour, day or week), such as '5 minutes' or '1 day'"
    if not text:
        return None, [f"an interval needs a schedule_value; {legal}"]
    match = _INTERVAL.fullmatch(text)
    if match is None or match["unit"] not in _UNITS:
        near = nearest(text.split()[-1], _UNITS)
        return None, [f"{quoted(text)} is no interval; {legal}{near}"]
    seconds = int(match["count"]) * _UNITS[match["unit"]]
    if not 1 <= seconds <= _MAX_INTERVAL:
        return None, [f"an interval is at least 1 second and at most 3650 days, {quoted(text)} is not"]
    return Elapsed(seconds), []


def _cron(schedule: Schedule) -> Reading:
    if not (schedule.value or "").strip():
        return None, ["cron needs a schedule_value of five fields, such as '0 9 * * 1-5'"]
    line, faults = cron.read(schedule.value or "")
    if faults:
        return None, faults
    if cron.is_wild(line):
        return Local(CronPattern(line), schedule.timezone, gap="skip", fold="both"), []
    return _fixed(schedule, CronPattern(line)), []


def _daily(schedule: Schedule) -> Reading:
    text = (schedule.value or "00:00").strip()
    minute, faults = _minute_of_day(text, "HH:MM, such as '09:00'")
    return _at(schedule, minute, "*"), faults


def _weekly(schedule: Schedule) -> Reading:
    legal = "days (mon, tue, wed, thu, fri, sat, sun) and HH:MM, such as 'mon 09:00' or 'mon,thu 09:00'"
    days, minute, faults = _day_and_time(schedule.value or "mon 00:00", "weekly", legal)
    for day in days.split(",") if days else ():
        if day not in cron.WEEKDAYS:
            faults.append(f"{quoted(day)} is no day of the week; legal: {legal}{nearest(day[:3], cron.WEEKDAYS)}")
    return (None if faults else _at(schedule, minute, days)), faults


def _monthly(schedule: Schedule) -> Reading:
    legal = "a day (1-31, or last) and HH:MM, such as '1 09:00' or 'last 18:00'"
    day, minute, faults = _day_and_time(schedule.value or "1 00:00", "monthly", legal)
    number = 31 if day == "last" else int(day) if re.fullmatch("[0-9]{1,2}", day) else 0
    if day and not 1 <= number <= 31:
        faults.append(f"{quoted(day)} is no day of the month; legal: {legal}")
    return _fixed(schedule, MonthlyPattern(number, minute)), faults


def _day_and_time(value: str, kind: str, legal: str) -> tuple[str, int, list[str]]:
    """The day part in lower case, the minute of the day, and what is wrong with the latter or with the shape."""
    parts = value.lower().split()
    if len(parts) != 2:
        return "", 0, [f"{quoted(value)} is no {kind} schedule_value; legal: {legal}"]
    minute, faults = _minute_of_day(parts[1], legal)
    return parts[0], minute, faults


def _minute_of_day(text: str, legal: str) -> tuple[int, list[str]]:
    match = _TIME.fullmatch(text)
    if match is None or int(match["hour"]) > 23 or int(match["minute"]) > 59:
        return 0, [f"{quoted(text)} is no time of day from 00:00 to 23:59; legal: {legal}"]
    return int(match["hour"]) * 60 + int(match["minute"]), []


def _at(schedule: Schedule, minute: int, days: str) -> Rule:
    return _fixed(schedule, CronPattern(f"{minute % 60} {minute // 60} * * {days}"))


def _fixed(schedule: Schedule, pattern: Pattern) -> Rule:
    return Local(pattern, schedule.timezone, schedule.dst_gap, schedule.dst_fold)


_READERS: Final[dict[str, Callable[[Schedule], Reading]]] = {
    "manual": _manual,
    "interval": _interval,
    "cron": _cron,
    "daily": _daily,
    "weekly": _weekly,
    "monthly": _monthly,
}
