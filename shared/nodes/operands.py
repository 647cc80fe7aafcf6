"""What the sides of a comparison are read as: expressions, numbers, booleans and ranges."""

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final

from shared.errors import StepFailedError
from shared.graph.suggest import shown
from shared.templates import is_template
from shared.templates.regexes import RegexError, compiled

_DELIMITED: Final = re.compile(r"/(.*)/([imsu]*)", re.DOTALL)
#: Characters of a text that is read as a number; Python refuses integers of thousands of digits.
_DIGITS: Final = 400
_NUMBER: Final = re.compile(r"[+-]?(\d+)(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+([eE][+-]?\d+)?", re.ASCII)
_TRUTHS: Final[Mapping[str, bool]] = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


def pattern(text: str, *, case_sensitive: bool = True) -> Any:
    """The RE2 expression of ``/pattern/i``, or of a bare pattern; the flags are i, m and s (u is the rule anyway).

    Raises:
        StepFailedError: ``invalid_regex`` if RE2 does not take it, or it is too long.
    """
    found = _DELIMITED.fullmatch(text)
    body, flags = found.groups() if found else (text, "")
    wanted = sorted({*flags.replace("u", ""), *("" if case_sensitive else "i")})
    try:
        return compiled(body, "".join(wanted))
    except RegexError as error:
        raise StepFailedError("invalid_regex", f"data.value: {error.message}.") from error


def number(value: Any, path: str) -> int | float:
    """A number, or the number that a text is.

    Raises:
        StepFailedError: ``not_a_number``.
    """
    found = number_of(value)
    if found is None:
        raise StepFailedError("not_a_number", f"{path}: {shown(value)} is not a number.")
    return found


def number_of(value: Any) -> int | float | None:
    """A number, or the number that a text is; None for anything else. None is infinite."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value if isinstance(value, int) or isfinite(value) else None
    if not isinstance(value, str) or len(value) > _DIGITS or _NUMBER.fullmatch(value.strip()) is None:
        return None
    found = int(value) if value.strip().lstrip("+-").isdecimal() else float(value)
    return found if isinstance(found, int) or isfinite(found) else None


def truth_of(value: Any) -> bool | None:
    """A boolean, 1, 0, or a text that is one of true, false, yes, no, on, off, 1, 0; None for anything else."""
    if isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        return bool(value) if value in (0, 1) else None
    return _TRUTHS.get(value.strip().lower()) if isinstance(value, str) and len(value) <= _DIGITS else None


def truth(value: Any, path: str) -> bool:
    """A boolean, or what stands for one; see `truth_of`.

    Raises:
        StepFailedError: ``not_a_boolean``.
    """
    found = truth_of(value)
    if found is None:
        message = f"{path}: {shown(value)} is no boolean; legal: true, false, 1, 0, and the texts true, false, yes, no"
        raise StepFailedError("not_a_boolean", f"{message}, on, off, 1, 0.")
    return found


def bounds(value: Any) -> tuple[Any, Any]:
    """The two ends of a ``between``: ``[min, max]`` or ``{"min", "max"}``; both are inside.

    Raises:
        StepFailedError: ``invalid_data`` for anything else.
    """
    if isinstance(value, list) and len(value) == 2:
        return value[0], value[1]
    if isinstance(value, dict) and value.keys() == {"min", "max"}:
        return value["min"], value["max"]
    raise StepFailedError("invalid_data", 'data.value: between takes [min, max] or {"min", "max"}.')


def each_bound(value: Any, check: Callable[[Any], object]) -> None:
    """Check the two ends of a ``between``, but for those that are templates.

    Raises:
        StepFailedError: if they are not two, or what ``check`` raises.
    """
    for end in bounds(value):
        if not (isinstance(end, str) and is_template(end)):
            check(end)
