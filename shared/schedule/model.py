"""The words of a schedule: its types, its clock-change rules, and the plain value that carries them."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

import msgspec

SCHEDULE_TYPES: Final = ("manual", "interval", "cron", "daily", "weekly", "monthly")
DST_GAPS: Final = ("shift", "skip")
DST_FOLDS: Final = ("first", "last", "both")
#: Characters of a schedule's value, all of which are looked at when it is read.
MAX_VALUE: Final = 1_000


class Schedule(msgspec.Struct, frozen=True):
    """A schedule as it is stored; plain data, equal and hashable by value.

    Attributes:
        type: one of `SCHEDULE_TYPES`.
        value: what the type takes, or None.
        timezone: an IANA name.
        dst_gap: what becomes of a local time that a clock change skips: it runs right after the gap, or not at all.
        dst_fold: which of the two a local time runs at that a clock change repeats.
    """

    type: str = "manual"
    value: str | None = None
    timezone: str = "UTC"
    dst_gap: str = "shift"
    dst_fold: str = "first"


def quoted(text: str) -> str:
    """``text`` as a message may show it: in quotes, cut at 60 characters."""
    return f"'{text}'" if len(text) <= 60 else f"'{text[:57]}...'"


def nearest(word: str, legal: Iterable[str]) -> str:
    """``; did you mean ...?`` with the nearest of the legal words, as it is spelled, or nothing if none is near."""
    spelled = {each.lower(): each for each in legal}
    match = get_close_matches(word[:60].lower(), spelled, n=1)
    return f"; did you mean '{spelled[match[0]]}'?" if match else ""
