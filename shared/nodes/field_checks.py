"""What a rule of ``validate`` is: a question to a value, and the words for a value that does not satisfy it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from shared.nodes.comparisons import Terms, is_empty
from shared.nodes.list_comparisons import identity

_TERMS: Final = Terms()
#: As many arguments as an author cares to write.
MANY: Final = 1_000


class Subject(msgspec.Struct, frozen=True):
    """A value that is checked.

    Attributes:
        value: null if there is none.
        present: whether it is there.
        path: where it is in the input, empty for the input itself.
        root: the whole input.
        numeric: whether its other rules say that text stands for a number.
        now: the present moment.
    """

    value: Any
    present: bool
    path: str
    root: Any
    numeric: bool
    now: Callable[[], datetime]


Arguments = Sequence[str]
Test = Callable[[Subject, Arguments], bool]


class Asked(msgspec.Struct, frozen=True):
    """What a rule asks.

    Attributes:
        test: whether a value satisfies it.
        phrase: what the value must do, for messages; ``{}`` stands for the arguments.
        least: arguments it takes at least.
        most: arguments it takes at most.
        implicit: whether it is asked of values that are not there, too.
        argument: raises `StepFailedError` if an argument will not do.
    """

    test: Test
    phrase: str
    least: int = 0
    most: int = 0
    implicit: bool = False
    argument: Callable[[str], object] = str


def filled(value: Any) -> bool:
    """Whether a value is something: no null, no blank text, no empty list or object."""
    return not (is_empty(value) or (isinstance(value, str) and not value.strip()))


def same(one: Any, other: Any) -> bool:
    """Whether two values are the same, types and all."""
    return isinstance(one, str) is isinstance(other, str) and identity(one, _TERMS) == identity(other, _TERMS)
