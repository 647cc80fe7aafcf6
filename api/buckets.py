"""Buckets that leak: how much may come at once, and how much in the long run (the generic cell rate algorithm)."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from api.bounded import BoundedCache

_Key = TypeVar("_Key", bound=Hashable)


class Buckets(Generic[_Key]):
    """A bucket for each key, of those that were used last; all there is to keep is until when the past is paid for.

    Args:
        size: the most buckets.
        seconds: after which one that was not used is full again.
        clock: seconds, never going back.
    """

    def __init__(self, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._paid: BoundedCache[_Key, float] = BoundedCache(size, seconds, clock)

    def take(self, key: _Key, cost: float, depth: float) -> float:
        """Take from a bucket if there is room.

        Args:
            key: of the bucket.
            cost: seconds after which what is taken has leaked.
            depth: seconds after which a full one has.

        Returns:
            0, or if there is no room the seconds after which there is.
        """
        now = self._clock()
        paid = max(self._paid.get(key) or now, now) + cost
        late = paid - now - depth
        if late > 1e-6:  # what is owed is no round number of the clock's
            return late
        self._paid.put(key, paid)
        return 0.0
