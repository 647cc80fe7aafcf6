"""The lanes of the queue: three priorities, and in each the steps of runs under way ahead of new runs.

A breadth-first queue (every run's first step before any run's second) makes every run slow, so continuations have
lanes of their own, and a worker takes them first.
"""

from typing import Final, NamedTuple
from uuid import UUID

PRIORITIES: Final = ("high", "normal", "low")


class Lane(NamedTuple):
    """One queue of the broker.

    Attributes:
        queue: the name of the queue and of its actor.
        rank: the smaller is taken first.
    """

    queue: str
    rank: int


#: By priority (0 high, 1 normal, 2 low) and whether the run is new.
LANES: Final[dict[tuple[int, bool], Lane]] = {
    (priority, new): Lane(f"{name}-{'new' if new else 'next'}", priority * 2 + new)
    for priority, name in enumerate(PRIORITIES)
    for new in (False, True)
}


class Reference(NamedTuple):
    """Which step a message is about, and nothing else of it.

    Attributes:
        claim: it must be claimed before it is run: its node is an effect, or this is not the first message about it.
    """

    run_id: UUID
    node_id: str
    item: str
    claim: bool


class Doorbell(NamedTuple):
    """A reference and the lane it goes into."""

    reference: Reference
    priority: int
    new: bool
