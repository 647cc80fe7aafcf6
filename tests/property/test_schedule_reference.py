"""Slots against a slow reference: every minute of a few days, read off the zone's clock one by one."""

# ruff: noqa: DTZ001 - local times have no zone here, nor have the bounds that hypothesis takes
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from hypothesis import assume, given
from hypothesis import strategies as st

from shared.schedule import DST_FOLDS, DST_GAPS, next_slot, parse

MINUTE = timedelta(minutes=1)
DAYS = 3

#: Days (UTC midnight, the change within the next day but one) with every kind of clock change, and ordinary ones.
DAYS_OF_CHANGE = [
    ("America/New_York", date(2025, 3, 8)),
    ("America/New_York", date(2025, 11, 1)),
    ("Europe/Berlin", date(2025, 3, 29)),
    ("Europe/Berlin", date(2025, 10, 25)),
    ("Australia/Sydney", date(2025, 10, 4)),
    ("Australia/Sydney", date(2025, 4, 5)),
    ("Australia/Lord_Howe", date(2025, 10, 4)),  # half an hour
    ("Australia/Lord_Howe", date(2025, 4, 5)),
    ("Pacific/Apia", date(2011, 12, 29)),  # a day left out
    ("Africa/Casablanca", date(2025, 2, 22)),  # back for Ramadan
    ("Africa/Casablanca", date(2025, 4, 5)),
    ("Asia/Kolkata", date(2025, 3, 29)),
    ("America/St_Johns", date(2006, 4, 1)),  # changes at 00:01, over midnight
    ("America/St_Johns", date(2006, 10, 28)),
    ("America/Havana", date(2025, 3, 8)),  # at midnight
    ("America/Sao_Paulo", date(2018, 2, 17)),
    ("Africa/Cairo", date(2025, 4, 24)),
    ("America/Nuuk", date(2024, 3, 30)),  # from 23:00 to midnight
    ("Antarctica/Troll", date(2025, 3, 29)),  # two hours
    ("America/Caracas", date(2016, 4, 30)),  # half an hour for good
    ("Pacific/Kwajalein", date(1993, 8, 20)),
    ("Europe/Berlin", date(2024, 12, 30)),  # over a New Year
    ("UTC", date(2024, 2, 28)),
]


class Field(NamedTuple):
    """A cron field as text, and the numbers it means."""

    text: str
    numbers: frozenset[int]


class Line(NamedTuple):
    """A cron line that knows what it means without being parsed."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field

    def text(self) -> str:
        return " ".join(field.text for field in self)

    def wild(self) -> bool:
        return self.minute.text[0] == "*" or self.hour.text[0] == "*"

    def names_day(self, day: date) -> bool:
        sunday = 0 in self.weekday.numbers and day.isoweekday() == 7
        either = day.day in self.day.numbers, sunday or day.isoweekday() in self.weekday.numbers
        both = self.day.text[0] == "*" or self.weekday.text[0] == "*"
        return day.month in self.month.numbers and (all(either) if both else any(either))

    def names(self, local: datetime) -> bool:
        return local.minute in self.minute.numbers and local.hour in self.hour.numbers and self.names_day(local.date())


@st.composite
def fields(draw: st.DrawFn, low: int, high: int) -> Field:
    """A list of terms: numbers, ranges, stars, with and without steps."""
    terms = draw(st.lists(terms_of(low, high), min_size=1, max_size=3))
    return Field(",".join(term.text for term in terms), frozenset().union(*(term.numbers for term in terms)))


@st.composite
def terms_of(draw: st.DrawFn, low: int, high: int) -> Field:
    first, last = sorted(draw(st.tuples(st.integers(low, high), st.integers(low, high))))
    step = draw(st.integers(1, high + 1))
    return draw(
        st.sampled_from(
            [
                Field(f"{first}", frozenset({first})),
                Field(f"{first}-{last}", frozenset(range(first, last + 1))),
                Field(f"{first}-{last}/{step}", frozenset(range(first, last + 1, step))),
                Field("*", frozenset(range(low, high + 1))),
                Field(f"*/{step}", frozenset(range(low, high + 1, step))),
            ]
        )
    )


ANY_MONTH = st.just(Field("*", frozenset(range(1, 13))))
#: Hours near the changes are as likely as all the others together.
LINES = st.builds(
    Line,
    fields(0, 59),
    fields(0, 23) | st.integers(0, 3).map(lambda hour: Field(f"{hour}", frozenset({hour}))),
    fields(1, 31) | st.just(Field("*", frozenset(range(1, 32)))),
    ANY_MONTH,
    fields(0, 7) | st.just(Field("*", frozenset(range(8)))),
)


@lru_cache(maxsize=64)
def clock(zone: str, start: date) -> list[tuple[datetime, datetime]]:
    """Every minute of `DAYS` days: the moment, and what a clock on the wall shows then."""
    info = ZoneInfo(zone)
    first = datetime(start.year, start.month, start.day, tzinfo=UTC)
    moments = [first + MINUTE * count for count in range(DAYS * 1_440)]
    return [(moment, moment.astimezone(info).replace(tzinfo=None)) for moment in moments]


def reference(line: Line, zone: str, start: date, gap: str, fold: str) -> list[datetime]:
    """The slots of a line by the contract's words, minute by minute."""
    shown = clock(zone, start)
    if line.wild():
        return [moment for moment, local in shown if line.names(local)]
    comes = Counter(local for _, local in shown)
    came: Counter[datetime] = Counter()
    slots = []
    previous = shown[0][1] - MINUTE
    for moment, local in shown:
        came[local] += 1
        wanted = fold == "both" or came[local] == (1 if fold == "first" else comes[local])
        skipped = list(minutes_between(previous, local))
        shifted = gap == "shift" and len(skipped) < 180 and any(line.names(each) for each in skipped)
        if shifted or (wanted and line.names(local)):
            slots.append(moment)
        previous = local
    return slots


def minutes_between(before: datetime, after: datetime) -> Iterator[datetime]:
    """The local minutes that a clock jumped over on its way forward."""
    each = before + MINUTE
    while each < after:
        yield each
        each += MINUTE


@given(
    LINES,
    st.sampled_from(DAYS_OF_CHANGE),
    st.sampled_from(DST_GAPS),
    st.sampled_from(DST_FOLDS),
    st.integers(0, DAYS * 86_400 - 1),
)
def test_slots_are_those_of_the_reference(line: Line, place: tuple[str, date], gap: str, fold: str, into: int) -> None:
    """From any moment of days with a clock change, the next slots are the ones the reference finds."""
    zone, start = place
    schedule = parse("cron", line.text(), zone, dst_gap=gap, dst_fold=fold)
    after = clock(zone, start)[0][0] + timedelta(seconds=into)
    expected = [slot for slot in reference(line, zone, start, gap, fold) if slot > after][:30]
    found = [after]
    for _ in expected:
        slot = next_slot(schedule, found[-1])
        assert slot is not None
        found.append(slot)
    assert found[1:] == expected
    if len(expected) < 30:
        behind = next_slot(schedule, found[-1])
        assert behind is not None
        assert behind > clock(zone, start)[-1][0]


@given(
    st.builds(Line, fields(0, 59), fields(0, 23), fields(1, 31), fields(1, 12), fields(0, 7)),
    st.datetimes(datetime(1975, 1, 1), datetime(2100, 1, 1)),
)
def test_days_are_those_of_the_reference(line: Line, start: datetime) -> None:
    """The next slot of any line is the first time of the next day that it names."""
    days = (start.date() + timedelta(days=count) for count in range(1, 366 * 9))
    expected = next((day for day in days if line.names_day(day)), None)
    assume(expected is not None)
    assert expected is not None
    slot = next_slot(parse("cron", line.text()), datetime.combine(start, datetime.max.time(), tzinfo=UTC))
    assert slot is not None
    earliest = datetime(expected.year, expected.month, expected.day, min(line.hour.numbers), min(line.minute.numbers))
    assert slot == earliest.replace(tzinfo=UTC)


@given(st.integers(1, 31), st.datetimes(datetime(1975, 1, 1), datetime(2100, 1, 1)))
def test_months_are_those_of_the_reference(day: int, start: datetime) -> None:
    """A monthly schedule runs on its day of every month, and on the last day of a month that lacks it."""

    def named(each: date) -> bool:
        is_last = (each + timedelta(days=1)).day == 1
        return each.day == day or (is_last and each.day < day)

    after = start.replace(tzinfo=UTC)
    slot = next_slot(parse("monthly", f"{day} 13:37"), after)
    moments = (datetime(start.year, start.month, start.day, 13, 37, tzinfo=UTC) + timedelta(days=n) for n in range(63))
    assert slot == next(moment for moment in moments if moment > after and named(moment.date()))
