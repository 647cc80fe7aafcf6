"""Writing moments: ISO 8601, and three ways of spelling a format that people bring with them.

A format with ``%`` is one of strftime, one with ``YYYY``, ``MM`` and the like one of moment.js, any other one of PHP,
whose letters the original's ``carbon_date`` took.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from shared.templates.moments import MomentError

#: Characters of a format.
LONGEST: Final = 200
_DAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
Writer = Callable[[datetime], str]


def iso(moment: datetime) -> str:
    """ISO 8601 with the offset, ``Z`` for UTC; fractions of a second only if there are any."""
    text = moment.isoformat()
    return f"{text[:-6]}Z" if moment.utcoffset() == UTC.utcoffset(None) else text


def _hour12(moment: datetime) -> int:
    return moment.hour % 12 or 12


def _offset(moment: datetime, separator: str) -> str:
    seconds = int((moment.utcoffset() or UTC.utcoffset(None)).total_seconds())
    hours, rest = divmod(abs(seconds), 3600)
    return f"{'-' if seconds < 0 else '+'}{hours:02}{separator}{rest // 60:02}"


def _ordinal(number: int) -> str:
    return "th" if number // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def _unix(moment: datetime) -> int:
    return int(moment.timestamp() // 1)


_PHP: Final[Mapping[str, Writer]] = {
    "d": lambda m: f"{m.day:02}",
    "D": lambda m: _DAYS[m.weekday()][:3],
    "j": lambda m: str(m.day),
    "l": lambda m: _DAYS[m.weekday()],
    "N": lambda m: str(m.isoweekday()),
    "S": lambda m: _ordinal(m.day),
    "w": lambda m: str(m.isoweekday() % 7),
    "z": lambda m: str(m.timetuple().tm_yday - 1),
    "W": lambda m: f"{m.isocalendar().week:02}",
    "F": lambda m: _MONTHS[m.month - 1],
    "m": lambda m: f"{m.month:02}",
    "M": lambda m: _MONTHS[m.month - 1][:3],
    "n": lambda m: str(m.month),
    "t": lambda m: str((31, 29 if _is_leap(m.year) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)[m.month - 1]),
    "L": lambda m: str(int(_is_leap(m.year))),
    "o": lambda m: str(m.isocalendar().year),
    "Y": lambda m: f"{m.year:04}",
    "y": lambda m: f"{m.year % 100:02}",
    "a": lambda m: "am" if m.hour < 12 else "pm",
    "A": lambda m: "AM" if m.hour < 12 else "PM",
    "g": lambda m: str(_hour12(m)),
    "G": lambda m: str(m.hour),
    "h": lambda m: f"{_hour12(m):02}",
    "H": lambda m: f"{m.hour:02}",
    "i": lambda m: f"{m.minute:02}",
    "s": lambda m: f"{m.second:02}",
    "u": lambda m: f"{m.microsecond:06}",
    "v": lambda m: f"{m.microsecond // 1000:03}",
    "e": lambda m: str(m.tzinfo),
    "I": lambda m: str(int(bool(m.dst()))),
    "O": lambda m: _offset(m, ""),
    "P": lambda m: _offset(m, ":"),
    "p": lambda m: "Z" if _offset(m, ":") == "+00:00" else _offset(m, ":"),
    "T": lambda m: m.tzname() or "",
    "Z": lambda m: str(int((m.utcoffset() or UTC.utcoffset(None)).total_seconds())),
    "c": lambda m: m.replace(microsecond=0).isoformat(),
    "r": lambda m: f"{_DAYS[m.weekday()][:3]}, {m.day:02} {_MONTHS[m.month - 1][:3]} {m:%Y %H:%M:%S} {_offset(m, '')}",
    "U": lambda m: str(_unix(m)),
}
#: Of moment.js, in terms of PHP's letters; the longer tokens are found first.
_TOKENS: Final[Mapping[str, str]] = {
    "YYYY": "Y", "YY": "y", "MMMM": "F", "MMM": "M", "MM": "m", "M": "n", "DD": "d", "Do": "jS", "D": "j",
    "dddd": "l", "ddd": "D", "E": "N", "WW": "W", "HH": "H", "H": "G", "hh": "h", "h": "g", "mm": "i", "ss": "s",
    "SSS": "v", "A": "A", "a": "a", "ZZ": "O", "Z": "P", "z": "T", "X": "U",
}  # fmt: skip
_TOKEN: Final = re.compile(r"\[([^\]]*)\]|" + "|".join(sorted(_TOKENS, key=len, reverse=True)) + "|(.)", re.DOTALL)
_IS_TOKENS: Final = re.compile("YYYY|MM|DD|HH|hh|mm|ss")
_NAMED: Final[Mapping[str, Writer]] = {
    "iso": iso,
    "iso8601": iso,
    "rfc3339": iso,
    "rfc2822": _PHP["r"],
    "unix": _PHP["U"],
    "timestamp": _PHP["U"],
    "unix_ms": lambda m: str(_unix(m) * 1000 + m.microsecond // 1000),
    "date": lambda m: f"{m:%Y-%m-%d}",
    "time": lambda m: f"{m:%H:%M:%S}",
    "datetime": lambda m: f"{m:%Y-%m-%d %H:%M:%S}",
}


def written(moment: datetime, form: str) -> str:
    """A moment in a format: a name of `_NAMED` such as ``iso`` or ``unix``, or one of the three ways of spelling one.

    Raises:
        MomentError: if the format is too long, or the moment cannot be written so.
    """
    return writer(form)(moment)


@lru_cache(maxsize=512)
def writer(form: str) -> Writer:
    """What writes in a format; see `written`."""
    if len(form) > LONGEST:
        raise MomentError(f"a format has at most {LONGEST} characters, not {len(form)}")
    if form in _NAMED:
        return _NAMED[form]
    if "%" in form:
        return lambda moment: _strftime(moment, form)
    parts = _token_parts(form) if _IS_TOKENS.search(form) else _php_parts(form)
    return lambda moment: "".join([part if isinstance(part, str) else part(moment) for part in parts])


def _strftime(moment: datetime, form: str) -> str:
    try:
        return moment.strftime(form.replace("%s", str(_unix(moment))))
    except (ValueError, OverflowError) as error:
        raise MomentError(f"{form!r} is no format that this date can be written in") from error


def _php_parts(form: str) -> list[str | Writer]:
    parts: list[str | Writer] = []
    escaped = False
    for letter in form:
        parts.append(letter if escaped else _PHP.get(letter, "" if letter == "\\" else letter))
        escaped = letter == "\\" and not escaped
    return parts


def _token_parts(form: str) -> list[str | Writer]:
    parts: list[str | Writer] = []
    for found in _TOKEN.finditer(form):
        verbatim = found[1] if found[1] is not None else found[2]
        parts.extend([verbatim] if verbatim is not None else [_PHP[letter] for letter in _TOKENS[found[0]]])
    return parts
