"""Rules: which moments a schedule names, over clock changes too. Moments are whole seconds since 1970 UTC."""

from typing import Final, Protocol

from shared.schedule.patterns import Lookahead, Pattern
from shared.schedule.zones import Span, horizon, span_at

#: Gaps of this many seconds and more are no clock change that a fixed time survives (Apia left out a whole day).
WIDE_GAP: Final = 3 * 3_600
#: Seconds by which the clock on the wall and UTC are never apart.
_WIDEST: Final = 2 * 86_400


class Rule(Protocol):
    """What is the same for every type of schedule."""

    def after(self, moment: int) -> int | None:
        """The first slot strictly after ``moment``, or None if there is none."""

    def past(self, slot: int, now: int) -> int | None:
        """The first slot later than both ``slot`` and ``now``, on the grid that ``slot`` belongs to."""

    def shifted(self, slot: int) -> bool:
        """Whether ``slot`` stands for a local time that a clock change skipped."""


class Never:
    """A manual schedule."""

    def after(self, moment: int) -> None:
        """See `Rule.after`."""

    def past(self, slot: int, now: int) -> None:
        """See `Rule.past`."""

    def shifted(self, slot: int) -> bool:  # noqa: ARG002 - as above
        """See `Rule.shifted`."""
        return False


class Elapsed:
    """Every so many seconds; clocks on the wall have no say."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds

    def after(self, moment: int) -> int:
        """See `Rule.after`."""
        return moment + self.seconds

    def past(self, slot: int, now: int) -> int:
        """See `Rule.past`."""
        return slot + self.seconds * (max(now - slot, 0) // self.seconds + 1)

    def shifted(self, slot: int) -> bool:  # noqa: ARG002 - an interval has no local times to skip
        """See `Rule.shifted`."""
        return False


class Local:
    """A pattern of local times in a zone.

    Attributes:
        gap: ``shift`` or ``skip``.
        fold: ``first``, ``last`` or ``both``. A line that follows elapsed time is ``skip`` and ``both``: it runs
            whenever the clock on the wall shows a time of the pattern.
    """

    def __init__(self, pattern: Pattern, zone: str, gap: str, fold: str) -> None:
        self.pattern = pattern
        self.zone = zone
        self.gap = gap
        self.fold = fold

    def after(self, moment: int) -> int | None:
        """See `Rule.after`."""
        ahead = Lookahead(self.pattern)
        span = span_at(self.zone, moment)
        end = horizon(moment)
        while span is not None and span.start < end:
            slot = self._in_span(span, moment, ahead)
            if slot is not None:
                return slot
            # What is next on the wall was found on the way: spans that end long before it hold nothing.
            local = ahead.after(max(moment + span.offset, self._floor(span)))
            span = span_at(self.zone, max(span.end, local - _WIDEST))
        return None

    def past(self, slot: int, now: int) -> int | None:
        """See `Rule.past`."""
        return self.after(max(slot, now))

    def shifted(self, slot: int) -> bool:
        """See `Rule.shifted`."""
        span = span_at(self.zone, slot)
        return span is not None and span.start == slot and self._runs_for_gap(span, self.pattern)

    def _in_span(self, span: Span, moment: int, ahead: Pattern) -> int | None:
        """The first slot within ``span`` strictly after ``moment``."""
        if span.start > moment and self._runs_for_gap(span, ahead):
            return span.start
        local = ahead.after(max(moment + span.offset, self._floor(span)))
        return local - span.offset if local < self._ceiling(span) else None

    def _runs_for_gap(self, span: Span, pattern: Pattern) -> bool:
        """Whether the first moment of ``span`` is a slot for what the gap before it skipped."""
        if self.gap == "skip" or not 0 < span.offset - span.before < WIDE_GAP:
            return False
        return pattern.after(span.start + span.before - 1) < span.start + span.offset

    def _floor(self, span: Span) -> int:
        """The last local time of ``span`` that is too early to run in it: with ``first``, all that it repeats."""
        offset = max(span.offset, span.before) if self.fold == "first" else span.offset
        return span.start + offset - 1

    def _ceiling(self, span: Span) -> int:
        """The first local time too late to run in ``span``: with ``last``, all that will be repeated."""
        return span.end + (min(span.offset, span.behind) if self.fold == "last" else span.offset)
