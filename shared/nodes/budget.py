"""What a pure node may spend: it runs on the worker's event loop, where nothing can interrupt it."""

import time
from typing import Any, Final

from shared.errors import StepFailedError
from shared.templates import allowance, limits

#: Items of a list that a pure node goes over.
ITEMS: Final = 10_000
_WATCHED: Final = 64
#: Characters or items that count as one comparison.
_GRAIN: Final = 64
#: Characters of what a node may make of its data, and about how many a value has that is no text.
_LARGEST: Final = 4 * limits.OUTPUT
_PLAIN: Final = 4


class Budget:
    """The processor time of one run of a node: what its templates have left of what a node may take, or so much.

    Args:
        seconds: that much; None for what is left (`shared.templates.allowance`).
    """

    __slots__ = ("_deadline", "_seconds", "_since")

    def __init__(self, seconds: float | None = None) -> None:
        self._since = 0
        self._seconds = limits.SECONDS if seconds is None else seconds
        self._deadline = allowance.deadline() if seconds is None else time.thread_time() + seconds

    def spend(self, amount: int = 1) -> None:
        """Take note of some work, about a microsecond each; the clock is read at every 64th.

        Raises:
            StepFailedError: ``too_much_work`` if the time is up.
        """
        self._since += amount
        if self._since < _WATCHED:
            return
        self._since = 0
        if time.thread_time() > self._deadline:
            raise StepFailedError(
                "too_much_work", f"The node takes more than {self._seconds:g} s of processor time on its data."
            )


def weight(value: Any) -> int:
    """About how many microseconds looking at a value takes."""
    return len(value) // _GRAIN if isinstance(value, (str, list, dict)) else 0


def limited(items: list[Any], path: str) -> list[Any]:
    """The same items, if they are not too many.

    Raises:
        StepFailedError: ``too_many_items``.
    """
    if len(items) > ITEMS:
        message = f"{path} has {len(items):,} items; at most {ITEMS:,} are allowed."
        raise StepFailedError("too_many_items", message)
    return items


def measured(value: Any, budget: Budget) -> Any:
    """The same value, if its text is not much longer than a render may write; what it holds twice counts twice.

    Raises:
        StepFailedError: ``output_too_large``.
    """
    total = 0
    pending = [value]
    while pending:
        each = pending.pop()
        total += _PLAIN + (len(each) if isinstance(each, (str, list, dict)) else 0)
        if total > _LARGEST:
            raise StepFailedError("output_too_large", f"The result has more than {_LARGEST:,} characters.")
        if isinstance(each, list):
            pending.extend(each)
        elif isinstance(each, dict):
            total += sum(map(len, each))
            pending.extend(each.values())
    budget.spend(total // _PLAIN)
    return value
