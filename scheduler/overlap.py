"""What becomes of a slot that comes while runs of earlier ones are under way: `settings.overlap`. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Final, NamedTuple
from uuid import UUID

from scheduler.firing import Firing
from shared.ids import Prefix, encode

#: The most runs of a schedule that wait for the one under way: as many as an outage can leave to be made up for.
MOST_WAITING: Final = 1_000


class Verdict(NamedTuple):
    """Whether a slot is run.

    Attributes:
        reason: why not; None if it is.
    """

    firing: Firing
    reason: str | None


def judge(firings: Sequence[Firing], under_way: Mapping[UUID, Sequence[UUID]]) -> list[Verdict]:
    """Which slots are run.

    Args:
        firings: of one workflow after the other, in the order of their slots.
        under_way: by workflow the open runs of earlier slots, oldest first.
    """
    verdicts: list[Verdict] = []
    for workflow_id, group in groupby(firings, key=lambda firing: firing.workflow_id):
        same = list(group)
        verdicts += _RULES[same[0].plan.overlap](same, under_way.get(workflow_id, ()))
    return verdicts


def _allow(firings: Sequence[Firing], _under_way: Sequence[UUID]) -> Iterator[Verdict]:
    return (Verdict(firing, None) for firing in firings)


def _skip(firings: Sequence[Firing], under_way: Sequence[UUID]) -> Iterator[Verdict]:
    busy = under_way[-1] if under_way else None
    for firing in firings:
        yield Verdict(firing, None if busy is None else _busy(busy))
        busy = busy or firing.run_id


def _busy(run_id: UUID) -> str:
    return f"Not run: {encode(Prefix.RUN, run_id)} of an earlier slot was under way, and overlap is skip."


def _queue(firings: Sequence[Firing], under_way: Sequence[UUID]) -> Iterator[Verdict]:
    room = max(0, 1 + MOST_WAITING - len(under_way))
    yield from (Verdict(firing, None) for firing in firings[:room])
    reason = f"Not run: {MOST_WAITING} runs of earlier slots were waiting, the most that do while overlap is queue."
    yield from (Verdict(firing, reason) for firing in firings[room:])


def _cancel_running(firings: Sequence[Firing], _under_way: Sequence[UUID]) -> Iterator[Verdict]:
    reason = "Not run: a later slot had come, and overlap is cancel_running."
    yield from (Verdict(firing, reason) for firing in firings[:-1])
    yield Verdict(firings[-1], None)


_RULES: Final[Mapping[str, Callable[[Sequence[Firing], Sequence[UUID]], Iterator[Verdict]]]] = {
    "allow": _allow,
    "skip": _skip,
    "queue": _queue,
    "cancel_running": _cancel_running,
}
