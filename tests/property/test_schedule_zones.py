"""Cron lines over the clock changes of every IANA zone, 2020 to 2037, held against the clock itself, minute by minute.

The reference knows neither spans nor patterns: it asks `zoneinfo` what the clock on the wall shows in each minute of
some days, and takes the contract at its word. Changes are found by looking at every day, and then at every minute.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.resources import files
from itertools import product
from random import Random
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest

from shared.schedule import DST_FOLDS, DST_GAPS, Schedule, next_slot

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
#: How far the days reach that are looked at, before a change and after it.
AROUND = timedelta(hours=30)
ZONES = sorted(set((files("tzdata") / "zones").read_text(encoding="utf-8").split()) - {"Factory"})
#: Gaps of so many minutes and more are skipped.
WIDE = 180
#: Zones and years in the short form.
SAMPLE = 12


class Line(NamedTuple):
    """A cron line, and what it means: minutes of the day, on days."""

    text: str
    times: frozenset[int]
    names_day: Callable[[date], bool]

    def names(self, local: datetime) -> bool:
        return local.hour * 60 + local.minute in self.times and self.names_day(local.date())

    def is_wild(self) -> bool:
        minute, hour, *_ = self.text.split()
        return "*" in (minute[0], hour[0])


class Minute(NamedTuple):
    """A minute of a zone.

    Attributes:
        local: what its clock shows.
        is_first, is_last: whether it shows that for the first and for the last time.
        skipped: what it would have shown had it not been set ahead in this minute.
    """

    moment: datetime
    local: datetime
    is_first: bool
    is_last: bool
    skipped: list[datetime]


def changes(zone: str, years: range) -> Iterator[datetime]:
    """The minutes in which the zone's offset changes."""
    info = ZoneInfo(zone)

    def offset(moment: datetime) -> timedelta | None:
        return moment.astimezone(info).utcoffset()

    day, end = datetime(years[0], 1, 1, tzinfo=UTC), datetime(years[-1] + 1, 1, 1, tzinfo=UTC)
    while day < end:
        if offset(day) != offset(day + DAY):
            yield next(m for m in (day + MINUTE * n for n in range(1, 1441)) if offset(m) != offset(m - MINUTE))
        day += DAY


def minutes(zone: str, change: datetime) -> list[Minute]:
    """Every minute around a change."""
    info = ZoneInfo(zone)
    count = int(AROUND / MINUTE)
    moments = [change + MINUTE * n for n in range(-count, count)]
    locals_ = [moment.astimezone(info).replace(tzinfo=None) for moment in moments]
    comes, came = Counter(locals_), Counter[datetime]()
    found = []
    for i, (moment, local) in enumerate(zip(moments, locals_, strict=True)):
        came[local] += 1
        jump = int((local - locals_[i - 1]) / MINUTE) if i else 1
        skipped = [locals_[i - 1] + MINUTE * n for n in range(1, jump)]
        found.append(Minute(moment, local, came[local] == 1, came[local] == comes[local], skipped))
    return found


def reference(line: Line, shown: list[Minute], gap: str, fold: str) -> list[datetime]:
    """The slots of a line by the contract's words."""
    if line.is_wild():
        return [each.moment for each in shown if line.names(each.local)]
    return [each.moment for each in shown if runs(line, each, gap, fold)]


def runs(line: Line, each: Minute, gap: str, fold: str) -> bool:
    if each.skipped and gap == "shift" and len(each.skipped) < WIDE and any(map(line.names, each.skipped)):
        return True
    wanted = {"first": each.is_first, "last": each.is_last, "both": True}[fold]
    return wanted and line.names(each.local)


def lines(shown: list[Minute]) -> Iterator[Line]:
    """Lines that name times about the change in the middle, and midnight, on every day and on some."""
    middle = shown[len(shown) // 2]
    before = shown[len(shown) // 2 - 1].local + MINUTE
    day = middle.local.date()
    at = {before, middle.local, before + (middle.local - before) // 2, middle.local - MINUTE, before - MINUTE}
    for hour, minute in sorted({(time.hour, time.minute) for time in at} | {(0, 0), (0, 30)}):
        yield fixed(f"{minute} {hour} * * *", {minute}, {hour})
    hours = {(before + HOUR * n).hour for n in (-2, -1, 0, 1, 2)}
    listed = ",".join(map(str, sorted(hours)))
    yield fixed(f"0,15,30,59 {listed} * * *", {0, 15, 30, 59}, hours)
    yield fixed(f"7-55/16 {listed} {day.day} * *", set(range(7, 56, 16)), hours, lambda each: each.day == day.day)
    sunday = day.isoweekday() % 7
    yield fixed(
        f"30 {listed} {(day + DAY).day} * {sunday or 7}",
        {30},
        hours,
        lambda each: each.day == (day + DAY).day or each.isoweekday() % 7 == sunday,
    )
    yield fixed("*/20 * * * *", {0, 20, 40}, set(range(24)))
    yield fixed("5 */2 * * *", {5}, set(range(0, 24, 2)))
    yield fixed(f"*/30 {before.hour} * * *", {0, 30}, {before.hour})


def fixed(text: str, minute: set[int], hour: set[int], names_day: Callable[[date], bool] = lambda _: True) -> Line:
    return Line(text, frozenset(h * 60 + m for h, m in product(hour, minute)), names_day)


def check(zone: str, change: datetime) -> int:
    """Hold every line and rule against the reference around a change; gives how many slots were compared."""
    shown = minutes(zone, change)
    compared = 0
    for line in lines(shown):
        for gap, fold in [("skip", "last")] if line.is_wild() else product(DST_GAPS, DST_FOLDS):
            expected = reference(line, shown[1:], gap, fold)
            schedule = Schedule("cron", line.text, zone, gap, fold)
            found, slot = [], next_slot(schedule, shown[0].moment)
            while slot is not None and slot <= shown[-1].moment:
                found.append(slot)
                slot = next_slot(schedule, slot)
            assert found == expected, (zone, change, line.text, gap, fold)
            compared += len(found)
    return compared


def test_a_sample_of_zones() -> None:
    """In zones and years drawn by lot, and in those that change oddly, slots are those of the clock on the wall."""
    lot = Random(2037)
    drawn = [
        (zone, range(year, year + 1)) for zone in lot.sample(ZONES, SAMPLE) for year in [lot.randrange(2020, 2038)]
    ]
    odd = ("Australia/Lord_Howe", "Africa/Casablanca", "America/Nuuk", "Antarctica/Troll", "Asia/Gaza", "Africa/Cairo")
    drawn += [(zone, range(2024, 2025)) for zone in odd]
    assert sum(check(zone, change) for zone, years in drawn for change in changes(zone, years)) > 5_000


def distinct() -> list[str]:
    """The zones, and of those that are one under several names the first."""
    found: dict[bytes, str] = {}
    for zone in ZONES:
        found.setdefault(files("tzdata").joinpath("zoneinfo", *zone.split("/")).read_bytes(), zone)
    return list(found.values())


@pytest.mark.drill
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(8))
def test_every_zone(part: int) -> None:
    """In every zone, around every change from 2020 to 2037, slots are those of the clock on the wall."""
    compared, seen = 0, 0
    zones = distinct()[part::8]
    for zone in zones:
        for change in changes(zone, range(2020, 2038)):
            compared += check(zone, change)
            seen += 1
        compared += check(zone, datetime(2030, 6, 15, 12, tzinfo=UTC))  # and where nothing changes
    print(f"part {part}: {len(zones)} zones, {seen} changes, {compared} slots")
