"""The filters beyond Liquid's own: JMESPath, regular expressions and dates, and what they may cost."""

import time
from typing import Any

import pytest

from shared.ids import Prefix, encode, uuid7
from shared.templates import TemplateError, TemplateSyntaxError, parse
from shared.templates.arguments import taken_by
from shared.templates.dateforms import writer
from shared.templates.environment import ENVIRONMENT
from shared.templates.regexes import RegexError, compiled, from_slashes

SCOPE: dict[str, Any] = {
    "n1": {"items": [{"name": "a", "n": 1}, {"name": "b", "n": 5}], "text": "é id=42, id=7"},
    "run": {"id": encode(Prefix.RUN, uuid7(1_761_912_000_123))},
    "big": "y" * 1_000_000,
    "many": [*range(100_000)],
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ n1.items | jmespath: '[?n > `2`].name' }}", ["b"]),
        ("{{ n1.items | jmespath: 'sum([].n)' }}", 6),
        ("{{ n1.items | jmespath: 'nothing' }}", None),
        ("{{ n1.items | jmespath: '[0]' | json }}", '{"name":"a","n":1}'),
        ("{{ n1.text | regex_match: 'id=\\d+' }}", True),
        ("{{ n1.text | regex_replace: 'id=(\\d+)', 'nö\\1' }}", "é nö42, nö7"),
        ("{{ n1.text | regex_extract: 'id=([0-9]+)', 1 }}", "42"),
        ("{{ n1.text | regex_extract: 'id=(?P<id>[0-9]+)', 'id' }}", "42"),
        ("{{ n1.text | regex_extract: 'nothing' }}", None),
        ("{{ n1.text | regex_extract_all: '[0-9]+' }}", ["42", "7"]),
        ("{{ n1.text | regex_split: ',? ' }}", ["é", "id=42", "id=7"]),
    ],
)
def test_filters(source: str, value: Any) -> None:
    """Each gives what its name says, with its type."""
    assert parse(source).value(SCOPE) == value


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ 'now' | carbon_date }}", "2025-10-31T12:00:00.123000Z"),
        ("{{ 'now' | carbon_date: 'Y-m-d H:i', 'Europe/Berlin' }}", "2025-10-31 13:00"),
        ("{{ 'now' | carbon_date: 'YYYY-MM-DD', timezone: 'Pacific/Auckland' }}", "2025-11-01"),
        ("{{ 'tomorrow' | carbon_date: 'l' }}", "Saturday"),
        ("{{ '3 days ago' | carbon_date: '%d %b' }}", "28 Oct"),
        ("{{ '2025-07-01 12:00' | carbon_date: 'c', 'America/New_York' }}", "2025-07-01T12:00:00-04:00"),
        ("{{ 1761912000 | carbon_date: 'date' }}", "2025-10-31"),
        ("{{ '2025-07-01T12:00:00Z' | date: '%H:%M %Z', 'Asia/Tokyo' }}", "21:00 JST"),
        ("{{ '2025-07-01T12:00:00Z' | date: '%H:%M %Z', timezone: 'Asia/Tokyo' }}", "21:00 JST"),
        ("{{ '2025-07-01T12:00:00Z' | date: timezone: 'Asia/Tokyo' }}", "2025-07-01T21:00:00Z"),
    ],
)
def test_carbon_date(source: str, value: str) -> None:
    """Dates of many spellings are written in any format and zone; now is when the run was accepted."""
    assert parse(source).value(SCOPE) == value


@pytest.mark.parametrize(
    ("date", "condition", "holds"),
    [
        ("now", "is_today", True),
        ("2025-10-31T23:59:59Z", "is today", True),
        ("2025-11-01", "is_today", False),
        ("2025-11-01", "is_tomorrow", True),
        ("2025-10-30", "is_yesterday", True),
        ("2025-10-31T11:59:00Z", "is_past", True),
        ("2025-10-31T12:01:00Z", "is_future", True),
        ("2025-10-31", "is_friday", True),
        ("2025-10-31", "is_weekday", True),
        ("2025-11-02", "is_weekend", True),
        ("2024-02-10", "is_leap_year", True),
        ("2025-02-10", "is_leap_year", False),
        ("2025-02-28", "is_last_of_month", True),
        ("2025-11-02", "is_this_week", True),
        ("2025-11-03", "is_next_week", True),
        ("2025-10-26", "is_last_week", True),
        ("2025-09-30", "is_last_month", True),
        ("2026-12-31", "is_next_year", True),
        ("2025-12-31", "is_current_quarter", True),
        ("2025-11-07", "within_7_days", True),
        ("2025-10-24T12:00:01Z", "within_7_days", True),
        ("2025-11-08", "within_7_days", False),
        ("2025-10-30", "within_last_2_days", True),
        ("2025-11-01", "within_last_2_days", False),
        ("2025-11-01", "within_next_24_hours", True),
        ("2025-11-02", "within_next_24_hours", False),
        ("2024-10-30", "older_than_1_year", True),
        ("2024-11-01", "older_than_1_year", False),
    ],
)
def test_carbon_condition(date: str, condition: str, holds: bool) -> None:
    """A date is judged beside the moment at which the run was accepted."""
    assert parse("{{ d | carbon_condition: c }}").value(SCOPE | {"d": date, "c": condition}) is holds


@pytest.mark.parametrize(
    ("source", "holds"),
    [
        ("{{ 'now' | carbon_condition: 'is_before', 'tomorrow' }}", True),
        ("{{ 'now' | carbon_condition: 'is_after', '2025-10-31T12:00:00Z' }}", True),
        ("{{ '2025-10-31' | carbon_condition: 'is_between', '2025-10-01', '2025-10-31' }}", True),
        ("{{ '2025-10-31' | carbon_condition: 'equals', '2025-10-31T00:00:00Z' }}", True),
        ("{{ '2025-10-31T23:30:00Z' | carbon_condition: 'is_same_day', '2025-11-01T12:00:00Z' }}", False),
        (
            "{{ '2025-10-31T23:30:00Z' | carbon_condition: 'is_same_day', '2025-11-01', timezone: 'Europe/Berlin' }}",
            True,
        ),
        ("{{ '2025-10-31T22:00:00Z' | carbon_condition: 'is_today', timezone: 'Asia/Tokyo' }}", False),
    ],
)
def test_carbon_condition_beside_other_dates(source: str, holds: bool) -> None:
    """Conditions with other dates, and the zone that says which day it is."""
    assert parse(source).value(SCOPE) is holds


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ n1.items | jmespath: '[?n' }}", "jmespath: .* at column"),
        ("{{ n1.items | jmespath: 'nosuch(@)' }}", r"there is no function nosuch\(\); legal: abs"),
        ("{{ n1.text | regex_extract: 'id', 3 }}", "no group '3'; it has 0"),
        ("{{ n1.text | regex_replace: 'id', '\\9' }}", "no group '9'"),
        ("{{ n1.text | regex_split: '(?=x)' }}", "no regular expression of RE2"),
        ("{{ 'x' | carbon_date }}", "carbon_date: 'x' is no date"),
        ("{{ n1 | carbon_date }}", "not an object"),
        ("{{ 'now' | carbon_date: 'Y', 'Mars' }}", "'Mars' is no time zone; legal: an IANA name"),
        ("{{ 'now' | carbon_date: big }}", "at most 200"),
        ("{{ big | carbon_date }}", "at most 200"),
        ("{{ 'now' | carbon_condition: 'is_lost' }}", "'is_lost' is no condition; legal: is_today"),
        ("{{ 'now' | carbon_condition: 'is_this_eon' }}", "'eon' is no unit; legal: millisecond"),
        ("{{ 'now' | carbon_condition: 'is_before' }}", "takes 1 other date, not 0"),
        ("{{ 'now' | carbon_condition: 'is_between', 'now' }}", "takes 2 other dates, not 1"),
        ("{{ 'now' | carbon_condition: 'is_today', 'now' }}", "takes no other date"),
        ("{{ 'now' | carbon_condition: 'within_999999_years' }}", "outside the years"),
    ],
)
def test_filters_say_what_they_take(source: str, reason: str) -> None:
    """What a filter cannot do fails the render with the rule and the legal values."""
    with pytest.raises(TemplateError, match=reason):
        parse(source).value(SCOPE)


def test_now_needs_a_run() -> None:
    """Where no run is in scope there is no now, and the error says so."""
    with pytest.raises(TemplateError, match='"now" needs the id of a run'):
        parse("{{ 'now' | carbon_date }}").value({})


@pytest.mark.parametrize(
    "source",
    [
        "{{ big | regex_match: '(?:a?){200}(?:[a-y]?){800}z' }}",
        "{{ big | regex_replace: '.', 'z' | size }}",
        "{{ big | regex_extract_all: 'y(.*z)?' | size }}",
        "{{ big | regex_split: '' | size }}",
        "{{ many | jmespath: 'map(&sort(`[3,2,1,9,8,7,6,5,4,3,2,1,0,3,2,1,9,8,7,6,5,4,3,2,1,0]`), @)[][][]' | size }}",
        "{{ many | jmespath: '[@,@]|[@,@]|[@,@]|[@,@]|[@,@]|[@,@]|[@,@]|[@,@]|[@,@]|[@,@]' }}",
        "{% for i in (1..9999) %}{{ big | regex_match: '(?:y?){30}(?:[a-y]?){30}z' }}{% endfor %}",
        "{{ big | regex_match: '(?:y?){30}(?:[a-y]?){30}z' }}" * 25 + "{{ nothing }}",
    ],
)
def test_no_filter_hangs(source: str) -> None:
    """A render ends within two seconds of processor time, however often a filter is called."""
    template = parse(source)
    began = time.thread_time()
    with pytest.raises(TemplateError):
        template.text(SCOPE)
    assert time.thread_time() - began < 2


def test_expressions_are_bounded() -> None:
    """An expression may have 4,096 characters, and what RE2 makes of it 2 MiB."""
    with pytest.raises(RegexError, match="at most 4096"):
        compiled("a" * 4_097)
    with pytest.raises(RegexError, match="too large"):
        compiled("(?i)\\pL{900}z")


def test_expressions_between_slashes() -> None:
    """Flags stand behind the second slash; without slashes all of it is the expression."""
    assert from_slashes("/A.b/is").search("a\nB") is not None
    assert from_slashes("a/b").search("a/b") is not None
    assert from_slashes("/a/u").first("bab") == "a"


def test_a_format_is_read_once() -> None:
    """The same format gives the same writer, parsed once."""
    assert writer("d.m.Y H:i, only once") is writer("d.m.Y H:i, only once")


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (
            "{{ x | date: '%d', timezon: 'UTC' }}",
            'the filter "date" has no keyword "timezon"; legal: timezone; did you mean',
        ),
        ("{{ x | carbon_date: 'c', zone: 'UTC' }}", 'the filter "carbon_date" has no keyword "zone"; legal: timezone'),
        ("{{ x | json: indent: 2 }}", 'the filter "json" has no keyword "indent"; it has none'),
        ("{{ x | replace: 'a', sub: 'b' }}", 'the filter "replace" has no keyword "sub"; it has none'),
        ("{{ x | jmespath: 'a', context: 1 }}", 'the filter "jmespath" has no keyword "context"; it has none'),
        ("{{ x | escape: environment: 1 }}", 'the filter "escape" has no keyword "environment"; it has none'),
        ("{{ x | upcase: 1 }}", 'the filter "upcase" takes no arguments, not 1'),
        ("{{ x | jmespath }}", 'the filter "jmespath" takes 1 argument, not 0'),
        ("{{ x | hmac_sha256: 'a', 'hex', 'b' }}", 'the filter "hmac_sha256" takes 1 to 2 arguments, not 3'),
        ("{{ x | default: 1, 2 }}", 'the filter "default" takes at most 1 argument, not 2'),
        ("{{ x | carbon_condition }}", 'the filter "carbon_condition" takes at least 1 argument, not 0'),
        ("{% if y %}{% assign z = x | upcase: 1 %}{% endif %}", 'the filter "upcase" takes no arguments, not 1'),
        ("{% for a in b %}{% echo a | upcase | plus %}{% endfor %}", 'the filter "plus" takes 1 argument, not 0'),
    ],
)
def test_arguments_are_checked_when_saved(source: str, fault: str) -> None:
    """Arguments that a filter does not take are told when the template is read, wherever it stands."""
    with pytest.raises(TemplateSyntaxError) as caught:
        parse(source)
    assert str(caught.value).startswith(fault)


def test_every_filter_says_what_it_takes() -> None:
    """Each filter, Liquid's own too, refuses one argument more than it takes, and a keyword that none has."""
    for name, function in ENVIRONMENT.filters.items():
        most = taken_by(function).most
        if most is not None:
            with pytest.raises(TemplateSyntaxError, match=f'"{name}" takes'):
                parse(f"{{{{ x | {name}: {', '.join(['1'] * (most + 1))} }}}}")
        with pytest.raises(TemplateSyntaxError, match=f'"{name}" has no keyword "val"'):
            parse(f"{{{{ x | {name}: val: 1 }}}}")
