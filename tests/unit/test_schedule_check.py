"""What is wrong with a schedule: every fault at once, each with the legal values."""

from datetime import UTC, datetime

import pytest

from shared.errors import InvalidError
from shared.schedule import Schedule, check, next_slot, parse


@pytest.mark.parametrize(
    ("schedule_type", "value"),
    [
        ("manual", None),
        ("manual", "anything at all " * 1_000),
        ("interval", "1 second"),
        ("interval", "3650 days"),
        ("cron", "0 9 * * 1-5"),
        ("cron", " 0\t9 1,15 JAN-mar Mon,5-7 "),
        ("cron", "*/5,3 0-23/2 */2 * *"),
        ("cron", "0 0 30 2 1"),
        ("cron", "@hourly"),
        ("daily", "0:00"),
        ("daily", "23:59"),
        ("weekly", "SUN,sat 23:59"),
        ("monthly", "Last 00:00"),
        ("monthly", "31 09:00"),
    ],
)
def test_good_values(schedule_type: str, value: str | None) -> None:
    """Values of the contract's forms have no faults, and parsing keeps them as they were given."""
    assert check(schedule_type, value) == []
    assert parse(schedule_type, value).value == value


@pytest.mark.parametrize(
    ("schedule_type", "value", "says"),
    [
        ("interval", None, "5 minutes"),
        ("interval", "", "5 minutes"),
        ("interval", "0 seconds", "at least 1 second"),
        ("interval", "3651 days", "at most 3650 days"),
        ("interval", "999999999999 weeks", "at most 3650 days"),
        ("interval", "9" * 500 + " weeks", "whole number"),
        ("interval", "1.5 hours", "whole number"),
        ("interval", "-5 minutes", "whole number"),
        ("interval", "٥ minutes", "whole number"),
        ("interval", "5 minuts", "did you mean 'minute'?"),
        ("interval", "5", "whole number and a unit"),
        ("interval", "5 months", "week"),
        ("cron", None, "five fields"),
        ("cron", "  ", "five fields"),
        ("cron", "* * * *", "has 4"),
        ("cron", "* * * * * *", "seconds are no part of cron"),
        ("cron", "0 0 30 2 *", "never comes"),
        ("cron", "0 0 31 2,4,6,9,11 *", "never comes"),
        ("cron", "@reboot", "no cron macro; legal: @yearly"),
        ("cron", "@dayly", "did you mean '@daily'?"),
        ("cron", "60 * * * *", "'60' is no minute; legal: 0-59"),
        ("cron", "* 24 * * *", "'24' is no hour; legal: 0-23"),
        ("cron", "* * 0 * *", "'0' is no day of month; legal: 1-31"),
        ("cron", "* * * 13 *", "'13' is no month; legal: 1-12 and jan-dec"),
        ("cron", "* * * * 8", "'8' is no day of week; legal: 0-7 and sun-sat"),
        ("cron", "* * * jam *", "did you mean 'jan'?"),
        ("cron", "* * * * monday", "did you mean 'mon'?"),
        ("cron", "mon * * * *", "'mon' is no minute"),
        ("cron", "5-1 * * * *", "'5-1' (minute) runs backwards"),
        ("cron", "* * * * sat-sun", "a Sunday that ends a range is 7"),
        ("cron", "*/0 * * * *", "step in '*/0' (minute)"),
        ("cron", "*/ * * * *", "step in '*/'"),
        ("cron", "*/5/5 * * * *", "step in '*/5/5'"),
        ("cron", "1,,2 * * * *", "'' is no minute"),
        ("cron", "*-5 * * * *", "'*' is no minute"),
        ("cron", "1-2-3 * * * *", "'2-3' is no minute"),
        ("cron", "0 0 L * *", "'L' is no day of month"),
        ("cron", "0 0 * * 1#2", "'1#2' is no day of week"),
        ("cron", "0 0 ? * *", "'?' is no day of month"),
        ("cron", "²  * * * *", "'²' is no minute"),
        ("cron", "0," * 600 + "0 * * * *", "at most 1000 characters"),
        ("daily", "24:00", "HH:MM"),
        ("daily", "09:60", "HH:MM"),
        ("daily", "9", "HH:MM"),
        ("daily", "09:00:00", "HH:MM"),
        ("weekly", "09:00", "mon,thu 09:00"),
        ("weekly", "monday 09:00", "did you mean 'mon'?"),
        ("weekly", "mon, thu 09:00", "mon,thu 09:00"),
        ("weekly", "mon, 09:00", "'' is no day of the week"),
        ("monthly", "0 09:00", "1-31, or last"),
        ("monthly", "32 09:00", "1-31, or last"),
        ("monthly", "first 09:00", "1-31, or last"),
        ("monthly", "1", "1-31, or last"),
    ],
)
def test_bad_values(schedule_type: str, value: str | None, says: str) -> None:
    """A bad value has exactly one fault, under `schedule_value`, that names what is legal."""
    [(field, message)] = check(schedule_type, value)
    assert field == "schedule_value"
    assert says in message


def test_every_fault_at_once() -> None:
    """All bad fields and all bad parts of a value are named together."""
    faults = check("cron", "60 25 0 fox fri-sun/0", "Mars/Base", dst_gap="jump", dst_fold="firts")
    assert [field for field, _ in faults] == ["schedule_value"] * 6 + ["timezone", "dst_gap", "dst_fold"]
    assert "did you mean 'first'?" in faults[-1][1]
    assert [field for field, _ in check("weekly", "foo,bar 25:00")] == ["schedule_value"] * 3


def test_unknown_type() -> None:
    """An unknown type is named with the legal ones and the nearest, beside the other faults."""
    faults = dict(check("montly", "1 09:00", "nowhere"))
    assert list(faults) == ["schedule_type", "timezone"]
    assert "legal: manual, interval, cron, daily, weekly, monthly; did you mean 'monthly'?" in faults["schedule_type"]


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Ushuaia", "Etc/GMT+5"])
def test_good_timezones(name: str) -> None:
    """An IANA name is a time zone."""
    assert check("manual", None, name) == []


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("", "an IANA name"),
        ("CEST", "an IANA name"),
        ("localtime", "an IANA name"),
        ("Factory", "an IANA name"),
        ("../../etc/passwd", "an IANA name"),
        ("/usr/share/zoneinfo/UTC", "an IANA name"),
        ("Europe", "an IANA name"),
        ("x" * 10_000, "an IANA name"),
    ],
)
def test_bad_timezones(name: str, says: str) -> None:
    """Anything else is not, paths and the machine's own setting included; the nearest name is offered."""
    [(field, message)] = check("manual", None, name)
    assert field == "timezone"
    assert says in message
    assert len(message) < 300


def test_parse_raises_every_fault() -> None:
    """Parsing a bad schedule raises one error that carries all its faults under the fields' own names."""
    with pytest.raises(InvalidError) as caught:
        parse("daily", "25:00", "Nowhere")
    assert [fault.path for fault in caught.value.faults] == ["schedule_value", "timezone"]
    assert "'25:00'" in caught.value.message


def test_a_schedule_made_by_hand_is_checked_too() -> None:
    """A `Schedule` that was not parsed is refused when it is asked for a slot."""
    with pytest.raises(InvalidError, match="no cron macro"):
        next_slot(Schedule("cron", "@never"), datetime(2025, 1, 1, tzinfo=UTC))
