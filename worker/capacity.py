"""How many references this worker holds, and how many more it can take.

Consumers fetch no more than there is room for, so messages stay in the queue for a worker that is free.
"""

import threading

from shared.metrics import SLOTS_IN_USE


class Capacity:
    """Counts slots; used by the consumer threads and by the event loop.

    Args:
        slots: the most references held at once. A message may overshoot it by what it carries, never by more.
    """

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._used = 0
        self._condition = threading.Condition()
        self._open = True

    def free(self) -> int:
        """References that can be taken now; none once `close` was called."""
        return self._slots - self._used if self._open else 0

    @property
    def used(self) -> int:
        """References held now."""
        return self._used

    def take(self, references: int) -> None:
        """Note references as held."""
        with self._condition:
            self._used += references
            SLOTS_IN_USE.set(self._used)

    def release(self, references: int = 1) -> None:
        """Note references as done with."""
        with self._condition:
            self._used -= references
            SLOTS_IN_USE.set(self._used)
            if self._used < self._slots:
                self._condition.notify_all()

    def wait(self, seconds: float) -> None:
        """Block the calling thread until there is room, at most this long."""
        with self._condition:
            self._condition.wait_for(lambda: self.free() > 0, timeout=seconds)

    def close(self) -> None:
        """Take nothing any more."""
        self._open = False
