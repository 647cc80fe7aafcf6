"""A cache that forgets: bounded in size, and each entry in time."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class BoundedCache(Generic[_Key, _Value]):
    """Keeps the newest entries, each for a while.

    Args:
        size: the most entries.
        seconds: how long an entry is good for, unless `put` says less.
        clock: seconds, never going back.
    """

    def __init__(self, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._entries: OrderedDict[_Key, tuple[float, _Value]] = OrderedDict()

    def get(self, key: _Key) -> _Value | None:
        """The value, or None if there is none or it is too old."""
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        return entry[1]

    def put(self, key: _Key, value: _Value, *, seconds: float | None = None) -> None:
        """Keep a value, for at most ``seconds``; the oldest entry goes if there are too many."""
        good_for = self._seconds if seconds is None else min(seconds, self._seconds)
        self._entries[key] = (self._clock() + good_for, value)
        self._entries.move_to_end(key)
        if len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def drop(self, key: _Key) -> None:
        """Forget an entry, if there is one."""
        self._entries.pop(key, None)

    def __len__(self) -> int:
        """How many entries are kept, those that are too old included."""
        return len(self._entries)
