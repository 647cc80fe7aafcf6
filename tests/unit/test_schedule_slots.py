"""Known hard cases of schedule arithmetic, each with the answer worked out by hand."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.schedule import first_slot, next_slot, parse, preview, slot_past


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def _locals(schedule_type: str, value: str | None, zone: str, after: str, count: int = 3, **rules: str) -> list[str]:
    slots = preview(parse(schedule_type, value, zone, **rules), _utc(after), count)
    return [slot.local.strftime("%a %Y-%m-%d %H:%M %z") for slot in slots]


def _slots(value: str, zone: str, after: str, until: str, **rules: str) -> list[str]:
    """The slots of a cron line in a stretch of UTC, as UTC times."""
    slots = preview(parse("cron", value, zone, **rules), _utc(after), 100)
    return [f"{slot.utc:%dT%H:%M}" for slot in slots if slot.utc < _utc(until)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0 13 * 5", ["03-07", "03-13", "03-14"]),  # both day fields: either
        ("0 0 13 * fri-6", ["03-01", "03-07", "03-08"]),
        ("0 0 */10 * 6", ["03-01", "05-31", "06-21"]),  # a star, even with a step, makes it both
        ("0 0 13 * */5", ["04-13", "06-13", "07-13"]),
        ("0 0 * * 7", ["03-02", "03-09", "03-16"]),
        ("0 0 * * 0", ["03-02", "03-09", "03-16"]),
        ("0 0 * * SUN", ["03-02", "03-09", "03-16"]),
        ("0 0 * * 6-7", ["03-01", "03-02", "03-08"]),
        ("0 0 * * 1", ["03-03", "03-10", "03-17"]),  # 1 is Monday
        ("0 0 31 * *", ["03-31", "05-31", "07-31"]),
        ("0 0 1 jan,jul *", ["07-01", "01-01", "07-01"]),
        ("0 0 1-10/4 3 *", ["03-01", "03-05", "03-09"]),
        ("0 0 20/5 3 *", ["03-20", "03-25", "03-30"]),
        ("@daily", ["03-01", "03-02", "03-03"]),
        ("@midnight", ["03-01", "03-02", "03-03"]),
        ("@weekly", ["03-02", "03-09", "03-16"]),
        ("@monthly", ["03-01", "04-01", "05-01"]),
        ("@yearly", ["01-01", "01-01", "01-01"]),
        ("@ANNUALLY", ["01-01", "01-01", "01-01"]),
    ],
)
def test_days_of_cron_lines(line: str, expected: list[str]) -> None:
    """A cron line names the days that Vixie cron runs it on (from the end of February 2025, UTC)."""
    slots = preview(parse("cron", line), _utc("2025-02-28T12:00"), 3)
    assert [f"{slot.utc:%m-%d}" for slot in slots] == expected
    assert {f"{slot.utc:%H:%M}" for slot in slots} == {"00:00"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("@hourly", ["13:00", "14:00", "15:00"]),
        ("*/20 * * * *", ["12:20", "12:40", "13:00"]),
        ("5,10-11 12 * * *", ["12:05", "12:10", "12:11"]),
        ("50/5 * * * *", ["12:50", "12:55", "13:50"]),
        ("7-7/2 12-14 * * *", ["12:07", "13:07", "14:07"]),  # a range of one number has no second step
        ("0-59/25 * * * *", ["12:25", "12:50", "13:00"]),
    ],
)
def test_times_of_cron_lines(line: str, expected: list[str]) -> None:
    """Lists, ranges and steps name the minutes that Vixie cron reads in them."""
    assert [f"{slot.utc:%H:%M}" for slot in preview(parse("cron", line), _utc("2025-03-01T12:00"), 3)] == expected


def test_29_february() -> None:
    """The 29th of February waits for leap years, over 2100, which is none."""
    leap = parse("cron", "0 0 29 2 *")
    assert [slot.utc.year for slot in preview(leap, _utc("2090-01-01"), 3)] == [2092, 2096, 2104]


def test_rarest_line() -> None:
    """The rarest day of all, a 29th of February on one weekday over 2100, is found."""
    rare = parse("cron", "0 0 29 2 */7", "Europe/Berlin")
    slot = next_slot(rare, _utc("2088-03-01"))
    assert slot is not None
    assert slot.astimezone(UTC) == _utc("2128-02-28T23:00")


def test_manual_has_no_slots() -> None:
    """A manual schedule never comes due, whatever value stands beside it."""
    manual = parse("manual", "0 9 * * *")
    assert first_slot(manual, _utc("2025-01-01")) is None
    assert slot_past(manual, _utc("2025-01-01"), _utc("2026-01-01")) is None
    assert preview(manual, _utc("2025-01-01"), 5) == []


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30 seconds", 30),
        ("1 second", 1),
        ("5 Minutes", 300),
        (" 2  hours ", 7_200),
        ("1 day", 86_400),
        ("2 weeks", 1_209_600),
    ],
)
def test_interval_units(value: str, seconds: int) -> None:
    """An interval is a number and an English unit, singular or plural."""
    slot = _utc("2025-01-01T00:00:07")
    assert next_slot(parse("interval", value), slot) == slot + timedelta(seconds=seconds)


def test_interval_counts_elapsed_time() -> None:
    """A day is 24 hours, also over a clock change."""
    assert _locals("interval", "1 day", "Europe/Berlin", "2025-03-29T11:00", 2) == [
        "Sun 2025-03-30 13:00 +0200",
        "Mon 2025-03-31 13:00 +0200",
    ]


def test_slots_are_whole_seconds() -> None:
    """A schedule saved at a fraction of a second gets its first slot on a whole one, and strictly later."""
    now = _utc("2025-01-01T00:00:00.999999")
    assert first_slot(parse("interval", "1 second"), now) == _utc("2025-01-01T00:00:01")
    assert first_slot(parse("cron", "* * * * *"), _utc("2025-01-01T00:00:59.5")) == _utc("2025-01-01T00:01")


def test_slot_past_keeps_the_grid() -> None:
    """After an outage an interval goes on at its own seconds, and a clock line at its next time."""
    slot, now = _utc("2025-01-01T00:00:07"), _utc("2025-06-01T12:00:00")
    assert slot_past(parse("interval", "5 minutes"), slot, now) == _utc("2025-06-01T12:00:07")
    assert slot_past(parse("daily", "09:00"), slot, now) == _utc("2025-06-02T09:00:00")


def test_slot_past_with_a_clock_stepped_back() -> None:
    """A present before the slot gives the slot's successor, never the slot again."""
    slot, now = _utc("2025-01-01T00:05"), _utc("2024-12-31T23:00")
    assert slot_past(parse("interval", "5 minutes"), slot, now) == _utc("2025-01-01T00:10")
    assert slot_past(parse("cron", "*/5 * * * *"), slot, now) == _utc("2025-01-01T00:10")


@pytest.mark.parametrize(
    ("schedule_type", "value", "expected"),
    [
        ("daily", "09:30", ["Sat 2025-03-01 09:30", "Sun 2025-03-02 09:30"]),
        ("daily", None, ["Sat 2025-03-01 00:00", "Sun 2025-03-02 00:00"]),
        ("weekly", "mon 09:00", ["Mon 2025-03-03 09:00", "Mon 2025-03-10 09:00"]),
        ("weekly", "Thu,mon 09:00", ["Mon 2025-03-03 09:00", "Thu 2025-03-06 09:00"]),
        ("weekly", None, ["Mon 2025-03-03 00:00", "Mon 2025-03-10 00:00"]),
        ("monthly", "1 09:00", ["Sat 2025-03-01 09:00", "Tue 2025-04-01 09:00"]),
        ("monthly", "last 18:00", ["Fri 2025-02-28 18:00", "Mon 2025-03-31 18:00"]),
        ("monthly", "31 18:00", ["Fri 2025-02-28 18:00", "Mon 2025-03-31 18:00"]),
        ("monthly", "30 18:00", ["Fri 2025-02-28 18:00", "Sun 2025-03-30 18:00"]),
        ("monthly", None, ["Sat 2025-03-01 00:00", "Tue 2025-04-01 00:00"]),
    ],
)
def test_calendar_types(schedule_type: str, value: str | None, expected: list[str]) -> None:
    """Daily, weekly and monthly name local times; without a value midnight, of Monday, of the 1st."""
    found = _locals(schedule_type, value, "Asia/Tokyo", "2025-02-28T03:00", 2)
    assert found == [f"{each} +0900" for each in expected]


@pytest.mark.parametrize(
    ("line", "zone", "after", "expected"),
    [
        ("30 2 * * *", "America/New_York", "2025-03-09T00:00", "09T07:00"),
        ("30 2 * * *", "Europe/Berlin", "2025-03-30T00:00", "30T01:00"),
        ("0,15,30 2,3 * * *", "Europe/Berlin", "2025-03-30T00:00", "30T01:00 30T01:15 30T01:30"),
        ("0 0 * * *", "America/Havana", "2025-03-09T00:00", "09T05:00"),
        ("30 0 * * *", "Africa/Cairo", "2025-04-24T21:00", "24T22:00"),
        ("30 0 * * *", "America/New_York", "2025-03-09T00:00", "09T05:30"),
        ("15 2 * * *", "Australia/Lord_Howe", "2025-10-04T12:00", "04T15:30"),
        ("0 1 * * *", "Antarctica/Troll", "2025-03-30T00:00", "30T01:00"),
        ("30 23 * * *", "America/Nuuk", "2024-03-30T12:00", "31T01:00"),
        ("0 0 * * *", "America/Nuuk", "2024-03-30T12:00", "31T01:00"),
    ],
)
def test_a_skipped_time_runs_once_right_after_the_gap(line: str, zone: str, after: str, expected: str) -> None:
    """What a clock change skips runs at the first moment behind the gap, and no day is left out."""
    until = (_utc(after) + timedelta(hours=20)).isoformat(timespec="minutes").removesuffix("+00:00")
    assert _slots(line, zone, after, until) == expected.split()


def test_a_skipped_time_may_be_left_out() -> None:
    """With `skip` a skipped time waits for its next day."""
    assert _slots("30 2 * * *", "Europe/Berlin", "2025-03-29T12:00", "2025-04-01T12:00", dst_gap="skip") == [
        "31T00:30",
        "01T00:30",
    ]


@pytest.mark.parametrize(
    ("fold", "expected"),
    [("first", ["02T05:30"]), ("last", ["02T06:30"]), ("both", ["02T05:30", "02T06:30"])],
)
def test_a_repeated_time(fold: str, expected: list[str]) -> None:
    """What a clock change repeats runs at its first, its last, or both."""
    found = _slots("30 1 * * *", "America/New_York", "2025-11-02T00:00", "2025-11-03T00:00", dst_fold=fold)
    assert found == expected


@pytest.mark.parametrize(
    ("fold", "expected"),
    [("first", "02:00 02:30 04:00"), ("last", "03:00 03:30 04:00"), ("both", "02:00 02:30 03:00 03:30 04:00")],
)
def test_a_repeat_across_midnight(fold: str, expected: str) -> None:
    """St John's went back at 00:01, into the day before: 23:30 and the next midnight come twice, interleaved."""
    # On 29 October 2006 at 02:31 UTC it was 00:01 (-02:30) and became 23:01 (-03:30) of the 28th.
    schedule = parse("cron", "0,30 0,23 * * *", "America/St_Johns", dst_fold=fold)
    slots = preview(schedule, _utc("2006-10-29T01:45"), len(expected.split()))
    assert [f"{slot.utc:%H:%M}" for slot in slots] == expected.split()


@pytest.mark.parametrize(
    ("line", "zone", "after", "expected"),
    [
        ("*/30 2 * * *", "Europe/Berlin", "2025-03-29T23:30", ""),
        ("0 */2 * * *", "Europe/Berlin", "2025-03-29T23:30", "30T02:00 30T04:00"),
        ("*/30 2 * * *", "Europe/Berlin", "2025-10-25T23:30", "26T00:00 26T00:30 26T01:00 26T01:30"),
        ("0 */2 * * *", "Europe/Berlin", "2025-10-25T23:30", "26T00:00 26T01:00 26T03:00"),
        ("*/20 2 * * *", "Australia/Lord_Howe", "2025-04-05T14:30", "05T15:30 05T15:50 05T16:10"),
        ("*/30 0 * * *", "America/Havana", "2025-03-09T04:00", ""),
    ],
)
def test_starred_lines_follow_elapsed_time(line: str, zone: str, after: str, expected: str) -> None:
    """A line with a star in its minute or hour runs whenever the clock on the wall shows one of its times."""
    until = (_utc(after) + timedelta(hours=5)).isoformat(timespec="minutes").removesuffix("+00:00")
    assert _slots(line, zone, after, until, dst_gap="shift", dst_fold="first") == expected.split()


def test_a_missing_day_is_skipped() -> None:
    """Samoa left out 30 December 2011: a gap of a day is no clock change that a fixed time survives."""
    assert _locals("daily", "09:00", "Pacific/Apia", "2011-12-29T12:00", 2) == [
        "Thu 2011-12-29 09:00 -1000",
        "Sat 2011-12-31 09:00 +1400",
    ]
    assert _locals("cron", "0 9 30 12 *", "Pacific/Apia", "2011-12-29T12:00", 1) == ["Sun 2012-12-30 09:00 +1400"]


def test_a_summer_of_one_week() -> None:
    """Recife's summer time of 2000 lasted a week, the shortest since 1970; both of its changes are seen."""
    found = _locals("weekly", "fri 09:00", "America/Recife", "2000-10-01T00:00", 3)
    assert found == ["Fri 2000-10-06 09:00 -0300", "Fri 2000-10-13 09:00 -0200", "Fri 2000-10-20 09:00 -0300"]


def test_preview_marks_clock_changes() -> None:
    """A preview says which slot stands for a skipped time and which local time comes twice."""
    spring = preview(parse("daily", "02:30", "Europe/Berlin"), _utc("2025-03-29T00:00"), 3)
    assert [slot.dst for slot in spring] == [None, "gap", None]
    assert spring[1].local.isoformat() == "2025-03-30T03:00:00+02:00"
    autumn = preview(parse("daily", "02:30", "Europe/Berlin", dst_fold="both"), _utc("2025-10-25T12:00"), 3)
    assert [slot.dst for slot in autumn] == ["fold", "fold", None]
    hourly = preview(parse("interval", "1 hour", "Europe/Berlin"), _utc("2025-10-25T23:00"), 3)
    assert [slot.dst for slot in hourly] == ["fold", "fold", None]


def test_a_time_at_the_end_of_the_gap_is_no_gap_slot() -> None:
    """A slot right after the gap whose own time was not skipped is an ordinary one."""
    slots = preview(parse("daily", "03:00", "Europe/Berlin"), _utc("2025-03-29T12:00"), 1)
    assert [(slot.utc, slot.dst) for slot in slots] == [(_utc("2025-03-30T01:00"), None)]


def test_the_end_of_the_calendar() -> None:
    """Near the year 9999 there are no slots, instead of an overflow."""
    assert next_slot(parse("cron", "0 0 29 2 */7", "Europe/Berlin"), _utc("9899-06-01")) is None
    assert next_slot(parse("interval", "10 weeks"), _utc("9999-12-30")) is None
    assert preview(parse("monthly", None), _utc("9999-12-30"), 3) == []
