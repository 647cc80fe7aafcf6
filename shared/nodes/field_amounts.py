"""Rules of ``validate`` about how much, how many and how long."""

from collections.abc import Callable, Mapping
from typing import Final

from shared.errors import StepFailedError
from shared.nodes.field_checks import Arguments, Asked, Subject, Test
from shared.nodes.operands import number_of
from shared.templates.values import text_of


def _size(subject: Subject) -> int | float | None:
    """A number itself, the characters of a text, the items of a list or an object; None for what has no size."""
    value = subject.value
    found = number_of(value) if subject.numeric or not isinstance(value, str) else None
    if found is None and isinstance(value, (str, list, dict)):
        return len(value)
    return found


def _sized(compare: Callable[[float, list[int | float]], bool]) -> Test:
    def test(subject: Subject, arguments: Arguments) -> bool:
        size = _size(subject)
        return size is not None and compare(size, [number_of(argument) or 0 for argument in arguments])

    return test


def _digits(subject: Subject, arguments: Arguments) -> bool:
    text = text_of(subject.value) if isinstance(subject.value, (str, int)) else ""
    least, most = int(arguments[0]), int(arguments[-1])
    return text.isascii() and text.isdigit() and least <= len(text) <= most


def _a_number(argument: str) -> None:
    if number_of(argument) is None:
        raise StepFailedError("invalid_data", f'"{argument[:60]}" is not a number.')


def _a_count(argument: str) -> None:
    if not (argument.isascii() and argument.isdigit() and len(argument) <= 6):
        raise StepFailedError("invalid_data", f'"{argument[:60]}" is no whole number from 0 to 999,999.')


def _a_divisor(argument: str) -> None:
    if not number_of(argument):
        raise StepFailedError("invalid_data", f'"{argument[:60]}" is no number other than 0.')


def _multiple(subject: Subject, arguments: Arguments) -> bool:
    value, divisor = number_of(subject.value), number_of(arguments[0])
    if value is None or not divisor:
        return False
    if isinstance(value, int) and isinstance(divisor, int):
        return value % divisor == 0
    try:
        times = value / divisor
    except OverflowError:
        return False
    return abs(times - round(times)) < 1e-9 * max(1.0, abs(times))


#: By name; all take numbers.
AMOUNTS: Final[Mapping[str, Asked]] = {
    "min": Asked(
        _sized(lambda size, bounds: size >= bounds[0]), "must be, or have, at least {}", 1, 1, argument=_a_number
    ),
    "max": Asked(
        _sized(lambda size, bounds: size <= bounds[0]), "must be, or have, at most {}", 1, 1, argument=_a_number
    ),
    "size": Asked(
        _sized(lambda size, bounds: size == bounds[0]), "must be, or have, exactly {}", 1, 1, argument=_a_number
    ),
    "between": Asked(
        _sized(lambda size, bounds: bounds[0] <= size <= bounds[1]),
        "must be, or have, between {}",
        2,
        2,
        argument=_a_number,
    ),
    "gt": Asked(
        _sized(lambda size, bounds: size > bounds[0]), "must be, or have, more than {}", 1, 1, argument=_a_number
    ),
    "gte": Asked(
        _sized(lambda size, bounds: size >= bounds[0]), "must be, or have, at least {}", 1, 1, argument=_a_number
    ),
    "lt": Asked(
        _sized(lambda size, bounds: size < bounds[0]), "must be, or have, less than {}", 1, 1, argument=_a_number
    ),
    "lte": Asked(
        _sized(lambda size, bounds: size <= bounds[0]), "must be, or have, at most {}", 1, 1, argument=_a_number
    ),
    "multiple_of": Asked(_multiple, "must be a multiple of {}", 1, 1, argument=_a_divisor),
    "digits": Asked(_digits, "must have exactly {} digits", 1, 1, argument=_a_count),
    "digits_between": Asked(_digits, "must have between {} digits", 2, 2, argument=_a_count),
}
