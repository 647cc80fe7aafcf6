"""Time zones as spans of constant offset, which is what clock-change rules are stated in.

Moments are whole seconds since 1970 UTC. `zoneinfo` tells offsets but not when they change, so a year's changes are
found by sampling and bisection and kept. No two changes of a zone since 1970 are closer than 6.9 days (tzdata 2026a).
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final
from zoneinfo import ZoneInfo

import msgspec

from shared.schedule.model import nearest, quoted

_STRIDE: Final = 3 * 86_400
#: Seconds looked ahead: 60 years. A 29 February on a given weekday is at most 40 years away; cronsim gives up at 50.
_HORIZON: Final = 60 * 366 * 86_400
#: The year 9900. Beyond it there are no slots: cronsim's 50 years must not run off the calendar.
_END: Final = (9_900 - 1_970) * 31_556_952
_NOT_PLACES: Final = frozenset({"Factory"})


class Span(msgspec.Struct, frozen=True):
    """A stretch of time in which a zone keeps one offset; also cut at the ends of UTC years.

    Attributes:
        start, end: its first moment, and the first one behind it.
        offset: seconds that local time is ahead of UTC.
        before, behind: the offsets just before ``start`` and at ``end``.
    """

    start: int
    end: int
    offset: int
    before: int
    behind: int


@cache
def _names() -> frozenset[str]:
    listed = (files("tzdata") / "zones").read_text(encoding="utf-8").split()
    return frozenset(listed) - _NOT_PLACES


def timezone_faults(name: str) -> list[str]:
    """What is wrong with the name of a time zone."""
    if name in _names():
        return []
    near = nearest(name[:60], sorted(_names()))
    return [f"{quoted(name)} is no time zone; legal: an IANA name such as UTC or Europe/Berlin{near}"]


def span_at(zone: str, moment: int) -> Span | None:
    """The span of a zone that holds ``moment``; None where the calendar ends."""
    if moment >= _END:
        return None
    year = datetime.fromtimestamp(moment, UTC).year
    return next(span for span in _year_spans(zone, year) if span.end > moment)


def horizon(moment: int) -> int:
    """Where to stop looking for what follows ``moment``: about 60 years later."""
    return moment + _HORIZON


@lru_cache(maxsize=1_024)
def _year_spans(zone: str, year: int) -> tuple[Span, ...]:
    """The spans of one UTC year."""
    info = ZoneInfo(zone)
    start, end = _new_year(year), _new_year(year + 1)
    edges = [start, *_changes(info, start, end), end]
    offsets = [_offset(info, start - 1), *(_offset(info, edge) for edge in edges)]
    return tuple(
        Span(edges[i], edges[i + 1], offset=offsets[i + 1], before=offsets[i], behind=offsets[i + 2])
        for i in range(len(edges) - 1)
    )


def _changes(info: tzinfo, start: int, end: int) -> Iterator[int]:
    """The moments after ``start`` and before ``end`` at which the offset changes."""
    low, before = start, _offset(info, start)
    while low < end - 1:
        high = min(low + _STRIDE, end - 1)
        after = _offset(info, high)
        if before != after:
            yield _bisect(info, low, high)
        low, before = high, after


def _bisect(info: tzinfo, low: int, high: int) -> int:
    """The first moment of the offset that holds at ``high`` and not at ``low``."""
    old = _offset(info, low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(info, middle) == old else (low, middle)
    return high


def _offset(info: tzinfo, moment: int) -> int:
    offset = datetime.fromtimestamp(moment, info).utcoffset() or timedelta()
    return int(offset.total_seconds())


def _new_year(year: int) -> int:
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
