"""How many references this worker holds, and how many more it can take.

Consumers fetch no more than there is room for, so messages stay in the queue for a worker that is free. Bulk may fill
only a part of the slots, so that light work always finds some.
"""

import threading
import time

from shared.lanes import CAME_AS_BULK, Lane
from shared.metrics import SLOTS_IN_USE

#: One slot in so many is kept from bulk.
_KEPT = 8
#: Of so many slots that come free one goes to whoever has waited longest, the others to the first lane that waits.
_TURN = 8
#: Seconds after a light reference for which bulk makes way, and without bulk after which bulk begins anew.
_SHARED_SECONDS = 1.0


class _Waiter:
    """A consumer thread that waits for room."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.called = threading.Event()


class Capacity:
    """Counts slots; used by the consumer threads and by the event loop.

    Args:
        slots: the most references held at once. A message may overshoot it by what it carries, never by more.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._bulk_slots = max(1, slots - max(1, slots // _KEPT))
        self._used = 0
        self._bulk_used = 0
        self._lock = threading.Lock()
        self._waiters: list[_Waiter] = []
        self._calls = 0
        self._light_at = self._bulk_at = self._bulk_since = -_SHARED_SECONDS
        self._open = True

    def free(self, *, bulk: bool = False) -> int:
        """References that can be taken now; none once `close` was called."""
        if not self._open:
            return 0
        free = self._slots - self._used
        return min(free, self._bulk_slots - self._bulk_used) if bulk else free

    @property
    def used(self) -> int:
        """References held now."""
        return self._used

    def is_shared(self) -> bool:
        """Whether light work came in lately, so that bulk has to make way for it.

        Light work from before bulk began does not count: it was the same workflow's, before it became bulk.
        """
        return self._light_at > max(self._bulk_since, time.monotonic() - _SHARED_SECONDS)

    def take(self, references: int, *, bulk: bool | None = None) -> None:
        """Note references as held; by default as the current task's own were."""
        now = time.monotonic()
        if bulk is False:
            self._light_at = now
        elif bulk:
            if now - self._bulk_at > _SHARED_SECONDS:
                self._bulk_since = now
            self._bulk_at = now
        self._count(references, CAME_AS_BULK.get() if bulk is None else bulk)

    def release(self, references: int = 1) -> None:
        """Note references as done with, from a task that they were taken for."""
        self._count(-references, CAME_AS_BULK.get())

    def wait(self, seconds: float, lane: Lane) -> None:
        """Block the calling thread until there is room for its lane, at most this long.

        The caller then takes references, or calls `decline`: one is called at a time.
        """
        waiter = _Waiter(lane)
        with self._lock:
            if self.free(bulk=lane.bulk) > 0:
                return
            self._waiters.append(waiter)
        waiter.called.wait(seconds)
        with self._lock:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def decline(self) -> None:
        """There was nothing to take: the next may."""
        with self._lock:
            self._call()

    def close(self) -> None:
        """Take nothing any more."""
        self._open = False

    def _count(self, references: int, bulk: bool) -> None:
        with self._lock:
            self._used += references
            if bulk:
                self._bulk_used += references
            SLOTS_IN_USE.set(self._used)
            self._call()

    def _call(self) -> None:
        """Wake the waiter whose turn it is."""
        roomy = [waiter for waiter in self._waiters if self.free(bulk=waiter.lane.bulk) > 0]
        if not roomy:
            return
        self._calls += 1
        chosen = roomy[0] if self._calls % _TURN == 0 else min(roomy, key=lambda waiter: waiter.lane.rank)
        self._waiters.remove(chosen)
        chosen.called.set()
