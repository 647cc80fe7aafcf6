"""Wording of faults: values cut to a readable length, legal names listed, and the nearest one suggested."""

import difflib
from collections.abc import Callable, Sequence
from typing import Any, Final

_SHOWN: Final = 60
_LISTED: Final = 20
_LONGEST: Final = 64
_CUTOFF: Final = 0.6
_BITS: Final = 128
_WORDS: Final[dict[type, str]] = {list: "a list", dict: "an object"}
#: Names compared per validation. Comparing costs microseconds a name, and a hostile graph has 2,000 wrong references to
#: 2,000 nodes: what comes after is still reported, without a suggestion.
BUDGET: Final = 20_000


def clean(text: str) -> str:
    """A text that can be encoded: lone surrogates stand as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: Any) -> str:
    """A JSON value as it stands in a message, at most about 60 characters."""
    if isinstance(value, str):
        return f'"{clean(value[:_SHOWN])}"' if len(value) <= _SHOWN else f'"{clean(value[:_SHOWN])}..."'
    if isinstance(value, int) and value.bit_length() > _BITS:
        return "a very large number"
    return _WORDS.get(type(value)) or ("null" if value is None else str(value).lower())


def listed(names: Sequence[str]) -> str:
    """Legal names for a message: the first 20 and how many more there are."""
    more = len(names) - _LISTED
    return ", ".join(map(shown, names[:_LISTED])) + (f" and {more} more" if more > 0 else "")


def ended(sentence: str) -> str:
    """A sentence with its full stop, unless it ends by asking."""
    return sentence if sentence.endswith("?") else f"{sentence}."


class Nearest:
    """Finds "did you mean" names, comparing at most ``budget`` names over its life."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget

    def hint(self, name: str, legal: Callable[[], Sequence[str]]) -> str:
        """How a sentence about an unknown ``name`` ends: ``; did you mean "x"?``, or a full stop."""
        if len(name) > _LONGEST or self._budget <= 0:
            return "."
        names = legal()
        self._budget -= len(names)
        found = difflib.get_close_matches(name, names, n=1, cutoff=_CUTOFF) if self._budget >= 0 else []
        return f"; did you mean {shown(found[0])}?" if found else "."
