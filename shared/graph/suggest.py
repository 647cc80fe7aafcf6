"""Wording of faults: values cut to a readable length, legal names listed, and the nearest one suggested."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, Final

_SHOWN: Final = 60
_LISTED: Final = 20
_LONGEST: Final = 64
_CUTOFF: Final = 0.6
#: Names compared per validation. Comparing costs microseconds a name, and a hostile graph has 2,000 wrong references to
#: 2,000 nodes: what comes after is still reported, without a suggestion.
BUDGET: Final = 20_000


def shown(value: Any) -> str:
    """A value as it stands in a message: JSON-like, at most 60 characters."""
    text = f'"{value}"' if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def listed(names: Iterable[str]) -> str:
    """Legal names for a message: the first 20 and how many more there are."""
    legal = [shown(name) for name in names]
    more = len(legal) - _LISTED
    return ", ".join(legal[:_LISTED]) + (f" and {more} more" if more > 0 else "")


class Nearest:
    """Finds "did you mean" names, comparing at most ``budget`` names over its life."""

    def __init__(self, budget: int = BUDGET) -> None:
        self._budget = budget

    def hint(self, name: str, legal: Sequence[str]) -> str:
        """How a sentence about an unknown ``name`` ends: ``; did you mean "x"?``, or a full stop."""
        if len(name) > _LONGEST or self._budget < len(legal):
            return "."
        self._budget -= len(legal)
        found = difflib.get_close_matches(name, legal, n=1, cutoff=_CUTOFF)
        return f"; did you mean {shown(found[0])}?" if found else "."
