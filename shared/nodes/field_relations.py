"""Rules of ``validate`` that hold a value against others: given ones, dates, and those of other fields."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final

from shared.errors import StepFailedError
from shared.nodes.comparisons import Terms
from shared.nodes.date_comparisons import moment
from shared.nodes.field_checks import MANY, Arguments, Asked, Subject, Test, same
from shared.nodes.list_comparisons import identity
from shared.nodes.operands import pattern
from shared.nodes.rules import member
from shared.templates.regexes import RegexError
from shared.templates.values import text_of

_TERMS: Final = Terms()


def _regex(subject: Subject, arguments: Arguments) -> bool:
    if isinstance(subject.value, (list, dict, bool)):
        return False
    try:
        return pattern(arguments[0]).search(text_of(subject.value)) is not None
    except RegexError as error:
        raise StepFailedError("invalid_regex", f"data.rules: {error.message}.") from error


def _affix(test: Callable[[str, tuple[str, ...]], bool]) -> Test:
    return lambda subject, arguments: isinstance(subject.value, str) and test(subject.value, tuple(arguments))


def _one_of(subject: Subject, arguments: Arguments) -> bool:
    values = subject.value if isinstance(subject.value, list) else [subject.value]
    return all(text_of(value) in arguments for value in values)


def _contains(subject: Subject, arguments: Arguments) -> bool:
    if isinstance(subject.value, list):
        return {*arguments} <= {text_of(item) for item in subject.value}
    return isinstance(subject.value, str) and all(part in subject.value for part in arguments)


def _distinct(subject: Subject, _: Arguments) -> bool:
    if not isinstance(subject.value, list):
        return False
    seen = {(isinstance(item, str), identity(item, _TERMS)) for item in subject.value}
    return len(seen) == len(subject.value)


def _dated(compare: Callable[[datetime, datetime], bool]) -> Test:
    """Compare a date with another one, or with that of another field."""

    def test(subject: Subject, arguments: Arguments) -> bool:
        terms = Terms(now=subject.now)
        other = member(subject.root, arguments[0])
        try:
            first = moment(subject.value, terms, "")
            return compare(first, moment(arguments[0] if other is None else other, terms, ""))
        except StepFailedError:
            return False

    return test


def _is_date(subject: Subject, _: Arguments) -> bool:
    try:
        moment(subject.value, Terms(now=subject.now), "")
    except StepFailedError:
        return False
    return True


def _confirmed(subject: Subject, _: Arguments) -> bool:
    return same(subject.value, member(subject.root, f"{subject.path}_confirmation"))


#: By name.
RELATIONS: Final[Mapping[str, Asked]] = {
    "in": Asked(_one_of, "must be one of {}", 1, MANY),
    "not_in": Asked(lambda subject, arguments: text_of(subject.value) not in arguments, "must be none of {}", 1, MANY),
    "regex": Asked(_regex, "must match {}", 1, 1, argument=pattern),
    "not_regex": Asked(
        lambda subject, arguments: not _regex(subject, arguments), "must not match {}", 1, 1, argument=pattern
    ),
    "starts_with": Asked(_affix(str.startswith), "must start with one of {}", 1, MANY),
    "ends_with": Asked(_affix(str.endswith), "must end with one of {}", 1, MANY),
    "doesnt_start_with": Asked(
        _affix(lambda text, parts: not text.startswith(parts)), "must start with none of {}", 1, MANY
    ),
    "doesnt_end_with": Asked(_affix(lambda text, parts: not text.endswith(parts)), "must end with none of {}", 1, MANY),
    "contains": Asked(_contains, "must contain {}", 1, MANY),
    "distinct": Asked(_distinct, "must be a list without repeats"),
    "date": Asked(_is_date, "must be a date"),
    "before": Asked(_dated(lambda one, other: one < other), "must be a date before {}", 1, 1),
    "after": Asked(_dated(lambda one, other: one > other), "must be a date after {}", 1, 1),
    "before_or_equal": Asked(_dated(lambda one, other: one <= other), "must be a date no later than {}", 1, 1),
    "after_or_equal": Asked(_dated(lambda one, other: one >= other), "must be a date no earlier than {}", 1, 1),
    "date_equals": Asked(_dated(lambda one, other: one == other), "must be the date {}", 1, 1),
    "same": Asked(
        lambda subject, arguments: same(subject.value, member(subject.root, arguments[0])),
        "must be the same as {}",
        1,
        1,
    ),
    "different": Asked(
        lambda subject, arguments: not same(subject.value, member(subject.root, arguments[0])),
        "must differ from {}",
        1,
        1,
    ),
    "confirmed": Asked(_confirmed, "must be repeated beside it, in a field whose name ends in _confirmation"),
}
