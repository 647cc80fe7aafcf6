"""The lanes of the queue: three priorities; in each light work before bulk; in both, runs under way before new ones.

A breadth-first queue (every run's first step before any run's second) makes every run slow, so continuations have
lanes of their own, and a worker takes them first. Bulk is what a workflow sends beyond a small share, so that a flood
of one stands behind the few runs of another; docs/decisions.md has the figures.
"""

from contextvars import ContextVar
from typing import Final, NamedTuple
from uuid import UUID

PRIORITIES: Final = ("high", "normal", "low")
#: References of one workflow that are sent and not taken, beyond which further ones go into a bulk lane.
LIGHT_SHARE: Final = 32


class Lane(NamedTuple):
    """One queue of the broker.

    Attributes:
        queue: the name of the queue and of its actor.
        rank: the smaller is taken first.
        bulk: it may fill only a part of a worker.
    """

    queue: str
    rank: int
    bulk: bool


def _lane(priority: int, *, new: bool, bulk: bool) -> Lane:
    queue = f"{PRIORITIES[priority]}-{'bulk-' if bulk else ''}{'new' if new else 'next'}"
    return Lane(queue, priority * 4 + bulk * 2 + new, bulk)


#: By priority (0 high, 1 normal, 2 low), whether the run is new, and whether it is bulk; the first taken first.
LANES: Final[dict[tuple[int, bool, bool], Lane]] = {
    (priority, new, bulk): _lane(priority, new=new, bulk=bulk)
    for priority in range(len(PRIORITIES))
    for bulk in (False, True)
    for new in (False, True)
}
#: By the name of the queue.
QUEUES: Final[dict[str, Lane]] = {lane.queue: lane for lane in LANES.values()}

#: Whether what this task works on came by a bulk lane. It is carried along as tasks start others, so that the slots of
#: such a step are counted, and the branches it leaves to others are sent, as bulk until its walk ends.
CAME_AS_BULK: Final[ContextVar[bool]] = ContextVar("came_as_bulk", default=False)


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
    """A reference and what decides about its lane.

    Attributes:
        bulk: its workflow has had its share of the light lanes.
    """

    reference: Reference
    priority: int
    new: bool
    bulk: bool = False

    @property
    def lane(self) -> Lane:
        """The lane it goes into."""
        return LANES[self.priority, self.new, self.bulk]
