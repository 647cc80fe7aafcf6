"""Cron lines as Vixie cron reads them: what is wrong with one, and the form that cronsim takes.

`cronsim` knows more than Vixie cron (seconds, ``L``, ``LW``, ``#``) and names only the first bad field, so a line is
checked here, whole, before it is handed over. It takes ``7-7/2`` for ``7/2`` (2.7), so that is written as ``7``. What
is legal follows crontab(5) of Debian's cron.
"""

from datetime import datetime
from typing import Final

import msgspec
from cronsim import CronSim, CronSimError

from shared.schedule.model import nearest, quoted

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
MACROS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class _Field(msgspec.Struct, frozen=True):
    """One of the five fields: its name, its least and greatest number, and the names of the first numbers."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        """The number that ``text`` stands for, or None if it is not legal here."""
        if text.lower() in self.names:
            return self.names.index(text.lower()) + self.low
        if not (text.isascii() and text.isdigit()):
            return None
        number = int(text)
        return number if self.low <= number <= self.high else None

    def legal(self) -> str:
        """The legal values, for a message."""
        names = f" and {self.names[0]}-{self.names[-1]}" if self.names else ""
        return f"{self.low}-{self.high}{names}"


_FIELDS: Final = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, WEEKDAYS),
)
_ANY_TIME: Final = datetime(2000, 1, 1)  # noqa: DTZ001 - whether a line ever comes depends on no zone
_SHAPE: Final = "minute, hour, day of month, month, day of week"


def read(text: str) -> tuple[str, list[str]]:
    """The five fields behind ``text``, macros resolved, and what is wrong with them (nothing if they are good)."""
    if text.strip().startswith("@"):
        return _read_macro(text.strip())
    parts = text.split()
    if len(parts) != len(_FIELDS):
        hint = "; seconds are no part of cron, an interval has them" if len(parts) == 6 else ""
        return text, [f"a cron line has five fields ({_SHAPE}), {quoted(text)} has {len(parts)}{hint}"]
    faults = [fault for field, part in zip(_FIELDS, parts, strict=True) for fault in _field_faults(field, part)]
    if faults:
        return text, faults
    line = " ".join(_plain(field, part) for field, part in zip(_FIELDS, parts, strict=True))
    return line, _never(line)


def is_wild(line: str) -> bool:
    """Whether the minute or the hour field starts with ``*``: such lines follow elapsed time over a clock change."""
    minute, hour, *_ = line.split()
    return minute.startswith("*") or hour.startswith("*")


def _read_macro(text: str) -> tuple[str, list[str]]:
    line = MACROS.get(text.lower())
    if line is not None:
        return line, []
    return text, [f"{quoted(text)} is no cron macro; legal: {', '.join(MACROS)}{nearest(text, MACROS)}"]


def _never(line: str) -> list[str]:
    """A line of good fields that matches no day of any year; cronsim finds all of these when it is constructed."""
    try:
        CronSim(line, _ANY_TIME)
    except CronSimError:
        return [f"{quoted(line)} never comes: none of its months has such a day"]
    return []


def _plain(field: _Field, part: str) -> str:
    """A good field with every range of one number written as that number, whatever its step."""
    return ",".join(_plain_term(field, term) for term in part.split(","))


def _plain_term(field: _Field, term: str) -> str:
    low, dash, high = term.partition("/")[0].partition("-")
    return low if dash and field.number(low) == field.number(high) else term


def _field_faults(field: _Field, part: str) -> list[str]:
    return [fault for term in part.split(",") for fault in _term_faults(field, term)]


def _term_faults(field: _Field, term: str) -> list[str]:
    """What is wrong with one term of a list: ``*``, ``a``, ``a-b``, each with an optional ``/step``."""
    base, slash, step = term.partition("/")
    faults = [] if base == "*" else _range_faults(field, base)
    if slash and not (step.isascii() and step.isdigit() and int(step) > 0):
        faults.append(f"the step in {quoted(term)} ({field.name}) must be a whole number of 1 or more")
    return faults


def _range_faults(field: _Field, base: str) -> list[str]:
    low, dash, high = base.partition("-")
    ends = [low, high] if dash else [low]
    numbers = [field.number(end) for end in ends]
    faults = [_value_fault(field, end) for end, number in zip(ends, numbers, strict=True) if number is None]
    first, last = numbers[0], numbers[-1]
    if first is not None and last is not None and first > last:
        hint = "; a Sunday that ends a range is 7" if field.names == WEEKDAYS and last == 0 else ""
        faults.append(f"the range {quoted(base)} ({field.name}) runs backwards{hint}")
    return faults


def _value_fault(field: _Field, text: str) -> str:
    near = nearest(text[:3], field.names) if field.names else ""
    return f"{quoted(text)} is no {field.name}; legal: {field.legal()}, *, lists, ranges and steps{near}"
