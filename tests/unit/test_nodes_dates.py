"""The date condition: every operator, time zones, what it refuses, and a reference implementation beside it."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node

#: A Friday, shortly before midnight in UTC: tomorrow in Berlin, which is two hours ahead.
NOW = datetime(2025, 9, 12, 23, 30, tzinfo=UTC)


def holds(now: datetime = NOW, **data: Any) -> bool:
    """Whether a date condition with this data takes the handle ``true``."""
    outcome = compile_node("c", "date_condition", data).run({}, lambda: now)
    assert outcome.output == {"result": outcome.handle == "true"}
    return outcome.handle == "true"


def faults(**data: Any) -> list[tuple[str, str]]:
    """(path, message) of everything wrong with this data."""
    return [(fault.path, fault.message) for fault in default_registry().check("date_condition", data, "d")[0]]


@pytest.mark.parametrize(
    ("given", "operator", "value", "expected"),
    [
        ("2025-09-01", "before", "2025-09-02", True),
        ("2025-09-02", "<", "2025-09-02T00:00:00Z", False),
        ("2025-09-02T00:00:01+02:00", "after", "2025-09-01T22:00:00Z", True),
        ("2025-09-02", ">", "2025-09-02", False),
        ("2025-09-02", "on_or_before", "2025-09-02", True),
        ("2025-09-03", "<=", "2025-09-02", False),
        ("2025-09-02", "on_or_after", "2025-09-02", True),
        (1756771200, ">=", "2025-09-02", True),
        ("2025-09-02T02:00:00+02:00", "equals", "2025-09-02", True),
        ("Tue, 02 Sep 2025 00:00:00 +0000", "==", 1756771200, True),
        ("2025-09-02", "=", "2025-09-03", False),
        ("2025-09-02", "!=", "2025-09-03", True),
        ("2025-09-02", "<>", "2025-09-02", False),
        ("2025-09-02T23:59:59Z", "same_day", "2025-09-02", True),
        ("2025-09-03T00:00:00Z", "not_same_day", "2025-09-02", True),
        ("2025-09-02", "between", ["2025-09-01", "2025-09-02"], True),
        ("2025-09-02T00:00:01Z", "between", {"min": "2025-09-01", "max": "2025-09-02"}, False),
        ("2025-08-31", "not_between", ["2025-09-01", "2025-09-02"], True),
        ("2025-09-12", "is_today", None, True),
        ("2025-09-13", "is_today", None, False),
        ("2025-09-11T23:59:59Z", "is_yesterday", None, True),
        ("2025-09-13T00:00:00Z", "is_tomorrow", None, True),
        ("2025-09-08", "is_this_week", None, True),
        ("2025-09-15", "is_this_week", None, False),
        ("2025-09-30", "is_this_month", None, True),
        ("2024-09-12", "is_this_month", None, False),
        ("2025-01-01", "is_this_year", None, True),
        ("2025-09-12T23:29:59Z", "is_past", None, True),
        ("now", "is_past", None, False),
        ("+1 minute", "is_future", None, True),
        ("2025-09-12", "is_weekday", None, True),
        ("2025-09-13", "is_weekend", None, True),
        ("2025-09-05T23:30:00Z", "within_last", 7, True),
        ("2025-09-05T23:29:59Z", "within_last", "7 days", False),
        ("2025-09-13", "within_last", "100 years", False),
        ("2025-09-19T23:30:00Z", "within_next", 7, True),
        ("2025-10-12T23:30:00Z", "within_next", "1 month", True),
        ("2025-09-12T23:31:31Z", "within_next", "1.5 minutes", False),
        ("2025-09-05", "not_within_last", "3 days", True),
        ("2025-09-12", "not_within_next", "1 week", True),
        ("", "is_empty", None, True),
        ("2025-09-12", "is_not_empty", None, True),
    ],
)
def test_operators(given: Any, operator: str, value: Any, expected: bool) -> None:
    """Each operator, as a word and as a symbol, for dates, moments and unix seconds."""
    data = {"input": given, "operator": operator, **({} if value is None else {"value": value})}
    assert faults(**data) == []
    assert holds(**data) is expected


def test_the_zone_says_which_day_it_is() -> None:
    """Today, days of the week and dates without a time are those of the condition's zone, also across clock changes."""
    berlin = {"timezone": "Europe/Berlin"}
    assert not holds(input="2025-09-12", operator="is_today", **berlin)
    assert holds(input="2025-09-13", operator="is_today", **berlin)
    assert holds(input="2025-09-12T23:00:00Z", operator="is_weekend", **berlin)
    assert holds(input="2025-09-12", operator="equals", value="2025-09-11T22:00:00Z", **berlin)
    change = datetime(2025, 10, 26, 12, tzinfo=ZoneInfo("Europe/Berlin"))
    data = {"input": change.isoformat(), "operator": "within_last", **berlin}
    after = (change + timedelta(days=1)).astimezone(UTC)
    assert holds(after, value="1 day", **data)
    assert holds(after - timedelta(hours=1), value="24 hours", **data)


def test_a_reference_stands_for_now() -> None:
    """With a reference, what is relative counts from it and not from the time of the step."""
    data = {"input": "{{ n1.at }}", "operator": "is_today", "reference": "{{ n1.day }}"}
    node = compile_node("c", "date_condition", data)
    scope = {"n1": {"at": "2020-02-29T10:00:00Z", "day": "2020-02-29"}}
    assert node.run(scope, lambda: NOW).handle == "true"


def test_without_a_worker_the_clock_is_this_machines() -> None:
    """A node that is run by itself, as by a test of one node, knows the time too."""
    data = {"input": "now", "operator": "within_last", "value": "1 minute"}
    assert compile_node("c", "date_condition", data).run({}).handle == "true"


@pytest.mark.parametrize(
    ("data", "path", "message"),
    [
        ({"operator": "befor"}, "d.operator", '"before"'),
        ({"value": "soon"}, "d.value", "no date"),
        ({"operator": "between", "value": ["2025-01-01"]}, "d.value", "between takes"),
        ({"operator": "between", "value": ["2025-01-01", "x" * 201]}, "d.value", "at most 200"),
        ({"operator": "within_last", "value": "7 fortnights"}, "d.value", '"quarters"'),
        ({"operator": "within_last", "value": -1}, "d.value", "from 0 to 1,000,000,000"),
        ({"operator": "within_last", "value": "1.5 months"}, "d.value", "whole"),
        ({"operator": "within_last", "value": 10**400}, "d.value", "length of time"),
        ({"unit": "lustrum"}, "d.unit", '"weeks"'),
        ({"timezone": "Mars/Phobos"}, "d.timezone", "Europe/Berlin"),
        ({"timezone": "../../etc/passwd"}, "d.timezone", "time zone"),
        ({"reference": "later"}, "d.reference", "no date"),
    ],
)
def test_faults(data: dict[str, Any], path: str, message: str) -> None:
    """What will not do is refused when saved, with its path and what is legal."""
    found = faults(**{"input": "now", "operator": "before", "value": "2025-01-01", **data})
    assert [at for at, _ in found] == [path]
    assert message in found[0][1]


@pytest.mark.parametrize("given", ["soon", "", None, True, [], {}, 1e300, float("nan"), "9" * 200, "2025-13-45"])
def test_what_is_no_date_fails(given: Any) -> None:
    """An input that is no date fails the step, naming the field."""
    with pytest.raises(StepFailedError, match=r"^data\.input: ") as caught:
        compile_node("c", "date_condition", {"input": "{{ n1.x }}", "operator": "is_past"}).run({"n1": {"x": given}})
    assert caught.value.code in ("not_a_date", "template_error")


def test_a_value_that_only_a_run_knows_is_judged_then() -> None:
    """Values from templates fail the step with their own path."""
    for operator, value in (("before", "x"), ("between", ["2025-01-01", "x"]), ("within_next", "9999999 years")):
        node = compile_node("c", "date_condition", {"input": "now", "operator": operator, "value": "{{ n1.v }}"})
        with pytest.raises(StepFailedError, match=r"^data\.value(\[1\])?: "):
            node.run({"n1": {"v": value}})
    node = compile_node("c", "date_condition", {"input": "now", "operator": "is_past", "timezone": "{{ n1.z }}"})
    with pytest.raises(StepFailedError, match=r"^data\.timezone: "):
        node.run({"n1": {"z": "Nowhere"}})


moments = st.integers(0, 90 * 365 * 86_400).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"])


@settings(max_examples=40, deadline=None)
@given(moments, moments, zones)
def test_agrees_with_datetimes(first: datetime, second: datetime, name: str) -> None:
    """Order and days are those of Python's own datetimes in the zone."""
    local, other = first.astimezone(ZoneInfo(name)), second.astimezone(ZoneInfo(name))
    expected = {
        "before": first < second,
        "after": first > second,
        "equals": first == second,
        "same_day": local.date() == other.date(),
        "is_today": local.date() == other.date(),
        "is_past": first < second,
        "is_weekend": local.isoweekday() > 5,
        "within_last": second - timedelta(hours=5) <= first <= second,
        "within_next": second <= first <= second + timedelta(hours=5),
    }
    for operator, wanted in expected.items():
        value: Any = 5 if operator.startswith("within") else second.isoformat()
        data = {"input": first.isoformat(), "operator": operator, "value": value, "unit": "hours", "timezone": name}
        assert holds(second, **data) is wanted, operator
