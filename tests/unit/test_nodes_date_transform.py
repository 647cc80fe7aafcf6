"""``date_transform``: writing, moving and comparing dates, in zones and across their clock changes."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

NOW = datetime(2025, 10, 31, 12, 0, 0, tzinfo=UTC)


def changed(value: Any = None, operation: str = "format", **data: Any) -> Any:
    """What the operation makes of a date."""
    given = {} if value is None else {"input": value}
    node = compile_node("n2", "date_transform", {**given, "operation": operation, **data})
    return node.run({}, lambda: NOW).output["result"]


def faults(**data: Any) -> list[tuple[str, str]]:
    """The paths and messages of what is wrong with this data when it is saved."""
    return [(fault.path, fault.message) for fault in default_registry().check("date_transform", data, "d")[0]]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("2025-10-31T12:00:00Z", "2025-10-31T12:00:00Z"),
        ("2025-10-31T12:00:00.123456+02:00", "2025-10-31T10:00:00.123456Z"),
        ("2025-10-31", "2025-10-31T00:00:00Z"),
        ("20251031", "2025-10-31T00:00:00Z"),
        ("31 Oct 2025 14:30", "2025-10-31T14:30:00Z"),
        ("Fri, 31 Oct 2025 12:00:00 EST", "2025-10-31T17:00:00Z"),
        (1_761_912_000, "2025-10-31T12:00:00Z"),
        ("1761912000", "2025-10-31T12:00:00Z"),
        (1_761_912_000_123, "2025-10-31T12:00:00.123000Z"),
        (-1.5, "1969-12-31T23:59:58.500000Z"),
        ("now", "2025-10-31T12:00:00Z"),
        (None, "2025-10-31T12:00:00Z"),
        ("today", "2025-10-31T00:00:00Z"),
        ("tomorrow", "2025-11-01T00:00:00Z"),
        ("yesterday", "2025-10-30T00:00:00Z"),
        ("+3 days", "2025-11-03T12:00:00Z"),
        ("-2 hours", "2025-10-31T10:00:00Z"),
        ("in 2 weeks", "2025-11-14T12:00:00Z"),
        ("1 month ago", "2025-09-30T12:00:00Z"),
        ("14:30", "2025-10-31T14:30:00Z"),
    ],
)
def test_reads_dates_as_people_write_them(value: Any, wanted: str) -> None:
    """ISO 8601, other spellings, unix times and relative ones; without an offset it is UTC."""
    assert changed(value) == wanted


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("Y-m-d H:i:s", "2025-07-04 09:05:06"),
        ("D, j M y g:i A", "Fri, 4 Jul 25 9:05 AM"),
        ("l jS \\o\\f F Y", "Friday 4th of July 2025"),
        ("N w z t L W o", "5 5 184 31 0 27 2025"),
        ("u v e I O P p T Z", "000700 000 Europe/Berlin 1 +0200 +02:00 +02:00 CEST 7200"),
        ("c|r|U", "2025-07-04T09:05:06+02:00|Fri, 04 Jul 2025 09:05:06 +0200|1751612706"),
        ("YYYY-MM-DD HH:mm:ss", "2025-07-04 09:05:06"),
        ("dddd, MMMM Do [at] h:mm a Z", "Friday, July 4th at 9:05 am +02:00"),
        ("%d.%m.%Y %H:%M %Z", "04.07.2025 09:05 CEST"),
        ("%s", "1751612706"),
        ("iso", "2025-07-04T09:05:06.000700+02:00"),
        ("date", "2025-07-04"),
        ("time", "09:05:06"),
        ("datetime", "2025-07-04 09:05:06"),
        ("unix", "1751612706"),
        ("unix_ms", "1751612706000"),
        ("rfc2822", "Fri, 04 Jul 2025 09:05:06 +0200"),
    ],
)
def test_writes_in_three_ways_of_spelling(form: str, wanted: str) -> None:
    """Formats of PHP, of moment.js and of strftime, and names for the common ones."""
    assert changed("2025-07-04T07:05:06.0007Z", timezone="Europe/Berlin", format=form) == wanted


@pytest.mark.parametrize(
    ("value", "amount", "unit", "wanted"),
    [
        ("2025-01-31", 1, "month", "2025-02-28T00:00:00Z"),
        ("2024-01-31", 1, "months", "2024-02-29T00:00:00Z"),
        ("2024-02-29", 1, "year", "2025-02-28T00:00:00Z"),
        ("2025-11-30", 1, "quarter", "2026-02-28T00:00:00Z"),
        ("2025-12-31", 14, "days", "2026-01-14T00:00:00Z"),
        ("2025-12-31", 1, "week", "2026-01-07T00:00:00Z"),
        ("2025-12-31", 1.5, "days", "2026-01-01T12:00:00Z"),
        ("2025-12-31T23:59:59.5Z", 500, "milliseconds", "2026-01-01T00:00:00Z"),
        ("2025-12-31", -24, "month", "2023-12-31T00:00:00Z"),
        ("2025-12-31", 0, "year", "2025-12-31T00:00:00Z"),
    ],
)
def test_moves_dates(value: str, amount: float, unit: str, wanted: str) -> None:
    """Months and years end on the last day where theirs does not exist; subtract is add with the sign turned."""
    assert changed(value, "add", amount=amount, unit=unit) == wanted
    assert changed(value, "subtract", amount=-amount, unit=unit) == wanted


@pytest.mark.parametrize(
    ("zone", "value", "amount", "unit", "wanted"),
    [
        # Berlin goes from 02:00 to 03:00 on 30 March 2025 and from 03:00 back to 02:00 on 26 October.
        ("Europe/Berlin", "2025-03-29T12:00", 1, "day", "2025-03-30T12:00:00+02:00"),
        ("Europe/Berlin", "2025-03-29T12:00", 24, "hours", "2025-03-30T13:00:00+02:00"),
        ("Europe/Berlin", "2025-03-29T02:30", 1, "day", "2025-03-30T03:30:00+02:00"),
        ("Europe/Berlin", "2025-02-28T02:30", 1, "month", "2025-03-28T02:30:00+01:00"),
        ("Europe/Berlin", "2025-10-25T02:30", 1, "day", "2025-10-26T02:30:00+02:00"),
        ("Europe/Berlin", "2025-10-26T00:30Z", 1, "hour", "2025-10-26T02:30:00+01:00"),
        ("Europe/Berlin", "2025-10-26T01:30Z", 0, "day", "2025-10-26T02:30:00+01:00"),
        ("America/New_York", "2025-03-08T02:30", 1, "day", "2025-03-09T03:30:00-04:00"),
        ("Australia/Lord_Howe", "2025-10-04T02:15", 1, "day", "2025-10-05T02:45:00+11:00"),
        ("Pacific/Apia", "2011-12-29T12:00", 1, "day", "2011-12-31T12:00:00+14:00"),
    ],
)
def test_days_are_those_of_the_wall_clock(zone: str, value: str, amount: float, unit: str, wanted: str) -> None:
    """Across clock changes days keep the wall time, hours are time that passes, and a time left out is moved on."""
    assert changed(value, "add", amount=amount, unit=unit, timezone=zone) == wanted


@pytest.mark.parametrize(
    ("unit", "first", "last"),
    [
        ("second", "2025-10-26T02:45:30+01:00", "2025-10-26T02:45:30.999999+01:00"),
        ("minute", "2025-10-26T02:45:00+01:00", "2025-10-26T02:45:59.999999+01:00"),
        ("hour", "2025-10-26T02:00:00+01:00", "2025-10-26T02:59:59.999999+01:00"),
        ("day", "2025-10-26T00:00:00+02:00", "2025-10-26T23:59:59.999999+01:00"),
        ("week", "2025-10-20T00:00:00+02:00", "2025-10-26T23:59:59.999999+01:00"),
        ("month", "2025-10-01T00:00:00+02:00", "2025-10-31T23:59:59.999999+01:00"),
        ("quarter", "2025-10-01T00:00:00+02:00", "2025-12-31T23:59:59.999999+01:00"),
        ("year", "2025-01-01T00:00:00+01:00", "2025-12-31T23:59:59.999999+01:00"),
    ],
)
def test_borders_of_units(unit: str, first: str, last: str) -> None:
    """The first and the last microsecond of the unit, in the second of two hours with one name."""
    moment = {"timezone": "Europe/Berlin", "unit": unit}
    assert changed("2025-10-26T01:45:30.25Z", "start_of", **moment) == first
    assert changed("2025-10-26T01:45:30.25Z", "end_of", **moment) == last


def test_a_day_without_midnight_begins_later() -> None:
    """Cairo's clocks go from 00:00 to 01:00: the day begins at 01:00, and the day before ends just then."""
    moment = {"timezone": "Africa/Cairo", "unit": "day"}
    assert changed("2025-04-25T12:00", "start_of", **moment) == "2025-04-25T01:00:00+03:00"
    assert changed("2025-04-24T12:00", "end_of", **moment) == "2025-04-24T23:59:59.999999+02:00"


@pytest.mark.parametrize(
    ("first", "second", "unit", "wanted"),
    [
        ("2025-01-31", "2025-02-28", "month", 1),
        ("2025-01-31", "2025-02-27", "month", 0),
        ("2025-02-28", "2025-01-31", "months", 0),
        ("2025-03-31", "2025-01-31", "months", -2),
        ("2020-02-29", "2025-02-28", "years", 5),
        ("2025-01-01", "2025-07-01", "quarter", 2),
        ("2025-01-01T12:00", "2025-01-03T11:59", "days", 1),
        ("2025-01-03T11:59", "2025-01-01T12:00", "days", -1),
        ("2025-01-01", "2025-01-20", "week", 2),
        ("2025-03-29T12:00", "2025-03-30T12:00", "day", 1),
        ("2025-03-29T12:00", "2025-03-30T12:00", "hours", 23),
        ("2025-01-01", "2025-01-01", "year", 0),
        ("2025-01-01T00:00:00", "2025-01-01T00:01:00.999", "milliseconds", 60_999),
        ("2025-01-01T00:00:00", "2025-01-01T00:00:01.5", None, 1.5),
    ],
)
def test_counts_whole_units_between_dates(first: str, second: str, unit: str | None, wanted: float) -> None:
    """Only units that are complete count, backwards too; without a unit it is seconds."""
    beside = {} if unit is None else {"unit": unit}
    assert changed(first, "diff", to=second, timezone="Europe/Berlin", **beside) == wanted


def test_converts_between_zones() -> None:
    """A date without an offset is in the zone it comes from, and is written in the one it goes to."""
    assert changed("2025-07-04 12:00", "convert", timezone="Asia/Tokyo") == "2025-07-04T21:00:00+09:00"
    zones = {"input_timezone": "America/New_York", "timezone": "Asia/Tokyo"}
    assert changed("2025-07-04 12:00", "convert", **zones) == "2025-07-05T01:00:00+09:00"
    assert changed("2025-07-04T12:00Z", "convert", **zones, format="Y-m-d H:i T") == "2025-07-04 21:00 JST"
    assert changed("2025-07-04 12:00", timezone="Asia/Tokyo") == "2025-07-04T12:00:00+09:00"


def test_everything_may_come_from_templates() -> None:
    """Dates, amounts, units, zones and formats are rendered."""
    names = ("input", "amount", "unit", "timezone", "format")
    node = compile_node(
        "n2", "date_transform", {"operation": "add", **{name: f"{{{{ n1.{name} }}}}" for name in names}}
    )
    given = {"input": 0, "amount": "2", "unit": "days", "timezone": "Asia/Tokyo", "format": "Y-m-d H"}
    assert node.run({"n1": given}).output == {"result": "1970-01-03 09"}


@pytest.mark.parametrize(
    ("data", "path", "reason"),
    [
        ({"operation": "plus"}, "operation", '"subtract"'),
        ({"operation": "add", "unit": "day"}, "amount", "required"),
        ({"operation": "subtract", "amount": 1}, "unit", "required"),
        ({"operation": "start_of"}, "unit", "required"),
        ({"operation": "diff"}, "to", "required"),
        ({"operation": "convert"}, "timezone", "required"),
        ({"operation": "start_of", "unit": "fortnight"}, "unit", "legal: millisecond, second, minute, hour, day, week"),
        ({"timezone": "Mars/Base"}, "timezone", "no time zone; legal: an IANA name"),
        ({"timezone": "../etc/passwd"}, "timezone", "no time zone"),
        ({"input_timezone": "x" * 300}, "input_timezone", "no time zone"),
        ({"format": "Y" * 300}, "format", "at most 200"),
        ({"amount": "x"}, "amount", "will not do"),
    ],
)
def test_faults_when_saved(data: dict[str, Any], path: str, reason: str) -> None:
    """What can be known of constants is told when they are saved, at their place."""
    ((at, message),) = faults(**data)
    assert at == f"d.{path}"
    assert reason in message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ({"input": "no date"}, "data.input: 'no date' is no date that can be read"),
        ({"input": "2025-10-31 12:00 XYZ"}, "data.input: "),
        ({"input": " " * 300 + "2025-10-31"}, "data.input: a text of 310 characters is no date"),
        ({"input": True}, "data.input: a date is text or unix seconds, not true or false"),
        ({"input": [1]}, "data.input: a date is text or unix seconds, not a list"),
        ({"input": 10**400}, "data.input: "),
        ({"input": "9999-12-31T23:00Z", "timezone": "Asia/Tokyo"}, "data.input: "),
        (
            {"operation": "add", "amount": 10**9, "unit": "years"},
            "data.amount: the result is outside the years 1 to 9999",
        ),
        ({"operation": "add", "amount": 1e300, "unit": "days"}, "data.amount: the result is outside"),
        ({"operation": "add", "amount": 1.5, "unit": "months"}, "data.amount: an amount of months is whole, not 1.5"),
        ({"operation": "diff", "to": "never"}, "data.to: 'never' is no date"),
        ({"input": "9999-06-01", "operation": "end_of", "unit": "year"}, "data.input: "),
    ],
)
def test_failures_of_the_step(data: dict[str, Any], reason: str) -> None:
    """What is no date, or leaves the calendar, fails the step with the field and the rule."""
    node = compile_node("n2", "date_transform", data)
    with pytest.raises(StepFailedError) as caught:
        node.run({}, lambda: NOW)
    assert caught.value.code == "invalid_date"
    assert caught.value.message.startswith(reason)
