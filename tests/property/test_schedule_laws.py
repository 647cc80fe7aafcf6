"""Laws that hold for every schedule, whatever its type, zone and rules."""

# ruff: noqa: DTZ001 - hypothesis wants the bounds of its datetimes without a zone
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidError
from shared.schedule import DST_FOLDS, DST_GAPS, SCHEDULE_TYPES, Schedule, check, next_slot, parse, preview, slot_past
from shared.schedule.zones import span_at

ZONES = sorted(set((files("tzdata") / "zones").read_text(encoding="utf-8").split()) - {"Factory"})
MOMENTS = st.datetimes(datetime(1972, 6, 1), datetime(2090, 1, 1), timezones=st.just(UTC))
VALUES = [
    ("interval", "7 minutes"),
    ("interval", "1 day"),
    ("cron", "*/13 * * * *"),
    ("cron", "0,59 0,1,2,23 * * *"),
    ("cron", "30 1 1,15 * sun"),
    ("daily", "00:00"),
    ("weekly", "sat,sun 01:30"),
    ("monthly", "31 02:15"),
]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Good schedules of every type that has slots, in any zone of the world."""
    schedule_type, value = draw(st.sampled_from(VALUES))
    zone, gap, fold = (draw(st.sampled_from(options)) for options in (ZONES, DST_GAPS, DST_FOLDS))
    return parse(schedule_type, value, zone, dst_gap=gap, dst_fold=fold)


@given(schedules(), MOMENTS, st.floats(0, 0.99))
def test_nothing_lies_between_a_moment_and_its_next_slot(schedule: Schedule, after: datetime, part: float) -> None:
    """The next slot is strictly later; asked from anywhere before it, it is the same (of an interval, no earlier)."""
    slot = next_slot(schedule, after)
    assert slot is not None
    assert slot > after
    assert slot.tzinfo is UTC
    again = next_slot(schedule, after + (slot - after) * part)
    assert again is not None
    assert again >= slot
    assert schedule.type == "interval" or again == slot


@given(schedules(), MOMENTS, st.integers(0, 50))
def test_slot_past_is_the_slot_that_steps_arrive_at(schedule: Schedule, slot: datetime, steps: int) -> None:
    """Going on after an outage arrives at the slot that one step after the other would have come to."""
    start = slot.replace(microsecond=0)
    slots = [start, *(each.utc for each in preview(schedule, start, steps + 1))]
    now = slots[-2] + (slots[-1] - slots[-2]) / 2
    assert slot_past(schedule, start, now) == slots[-1]


@given(schedules(), MOMENTS)
def test_previews_show_the_zones_clock(schedule: Schedule, after: datetime) -> None:
    """The local time of a preview is its moment on the zone's clock, and slots come in order."""
    slots = preview(schedule, after, 5)
    assert len(slots) == 5
    assert [slot.utc for slot in slots] == sorted({slot.utc for slot in slots})
    for slot in slots:
        assert slot.local.astimezone(UTC) == slot.utc
        assert slot.local.utcoffset() == slot.utc.astimezone(ZoneInfo(schedule.timezone)).utcoffset()


@given(st.sampled_from(ZONES), MOMENTS)
def test_spans_are_the_zones_offsets(name: str, moment: datetime) -> None:
    """Every span holds the zone's own offset from its first second to its last, and names its neighbours'."""
    zone = ZoneInfo(name)

    def offset(seconds: int) -> float:
        found = datetime.fromtimestamp(seconds, zone).utcoffset()
        assert found is not None
        return found.total_seconds()

    at = int(moment.timestamp())
    span = span_at(name, at)
    assert span is not None
    assert span.start <= at < span.end
    assert {offset(each) for each in (span.start, at, span.end - 1)} == {span.offset}
    assert (offset(span.start - 1), offset(span.end)) == (span.before, span.behind)


TEXT = st.text(max_size=30) | st.text("0123456789*/,-@ :adefhilmnorstuwy", max_size=30)


@given(st.sampled_from(SCHEDULE_TYPES) | st.text(max_size=8), st.none() | TEXT, st.sampled_from(["UTC", "Asia/Gaza"]))
def test_check_and_parse_agree(schedule_type: str, value: str | None, zone: str) -> None:
    """Any text is either good, and then has a next slot, or has faults, and parsing raises exactly those."""
    faults = check(schedule_type, value, zone)
    if faults:
        with pytest.raises(InvalidError) as caught:
            parse(schedule_type, value, zone)
        assert [(fault.path, fault.message) for fault in caught.value.faults] == faults
        return
    slot = next_slot(parse(schedule_type, value, zone), datetime(2025, 1, 1, tzinfo=UTC))
    assert (slot is None) == (schedule_type == "manual")


@given(st.integers(1, 10**6), st.integers(1, 1_000))
def test_intervals_do_not_drift(seconds: int, count: int) -> None:
    """After any number of slots an interval is exactly that many times its length behind the first."""
    schedule = parse("interval", f"{seconds} seconds")
    first = datetime(2025, 1, 1, 0, 0, 3, tzinfo=UTC)
    assert slot_past(schedule, first, first + timedelta(seconds=seconds * count)) == first + timedelta(
        seconds=seconds * (count + 1)
    )
