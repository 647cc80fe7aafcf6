"""Patterns of local times, read off a clock on the wall that never changes: no zone, no clock changes.

Local times are whole seconds since 1970 on that clock.
"""

import calendar
from copy import copy
from datetime import datetime, timedelta
from typing import Final, Protocol

from cronsim import CronSim

#: Later than any local time: what a pattern answers when it matches nothing any more.
NEVER: Final = 1 << 60
_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001 - a local time has no zone


class Pattern(Protocol):
    """Which local times a schedule names."""

    def after(self, local: int) -> int:
        """The first local time of the pattern strictly after ``local``, or `NEVER`."""


class CronPattern:
    """Five cron fields. On zoneless times cronsim is exact; over clock changes it is not, so it sees none."""

    def __init__(self, line: str) -> None:
        self._template = CronSim(line, _EPOCH)

    def after(self, local: int) -> int:
        """See `Pattern.after`. Works on a copy, since a CronSim moves as it is asked."""
        walker = copy(self._template)
        walker.dt = _EPOCH + timedelta(seconds=local)
        found: datetime | None = next(walker, None)
        return NEVER if found is None else _seconds(found)


class MonthlyPattern:
    """A day of every month at a time of day; a day that a month lacks falls on its last one.

    Attributes:
        day: 1-31, where 31 is every month's last.
        minute: of the day, 0-1439.
    """

    def __init__(self, day: int, minute: int) -> None:
        self.day = day
        self.minute = minute

    def after(self, local: int) -> int:
        """See `Pattern.after`."""
        start = _EPOCH + timedelta(seconds=local)
        found = self._in_month(start.year, start.month)
        if found > local:
            return found
        return self._in_month(start.year + start.month // 12, start.month % 12 + 1)

    def _in_month(self, year: int, month: int) -> int:
        last = calendar.monthrange(year, month)[1]
        return _seconds(datetime(year, month, min(self.day, last))) + self.minute * 60  # noqa: DTZ001 - as `_EPOCH`


class Lookahead:
    """Asks a pattern, and not again while the last answer still holds."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._asked = self._found = NEVER

    def after(self, local: int) -> int:
        """See `Pattern.after`."""
        if not self._asked <= local < self._found:
            self._asked, self._found = local, self._pattern.after(local)
        return self._found


def _seconds(local: datetime) -> int:
    passed = local - _EPOCH
    return passed.days * 86_400 + passed.seconds
