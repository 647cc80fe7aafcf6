"""Timeouts of many calls at once, with one timer for all of a length.

`asyncio.timeout` arms a timer of the event loop and takes it down again at each use: 7 us of CPU under uvloop, twice in
each effect step. Calls with the same length end in the order in which they began, so only the first of them needs a
timer: 2 us (2026-11-24).
"""

import asyncio
from types import TracebackType


class Timeouts:
    """Hands out timeouts. Belongs to the event loop that first uses it."""

    def __init__(self) -> None:
        self._queues: dict[float, _Queue] = {}

    def within(self, seconds: float) -> "Timeout":
        """Like ``asyncio.timeout(seconds)``, for ``with`` instead of ``async with``."""
        queue = self._queues.get(seconds)
        if queue is None:
            queue = self._queues[seconds] = _Queue(seconds, self._queues)
        return Timeout(queue)


class Timeout:
    """Cancels the task that entered it when its time is over, and turns that into a `TimeoutError`."""

    __slots__ = ("_cancelling", "_is_over", "_queue", "_task", "when")

    def __init__(self, queue: "_Queue") -> None:
        self._queue = queue
        self._is_over = False

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task has timeouts")
        self._task = task
        self._cancelling = task.cancelling()
        self.when = self._queue.join(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if not self._is_over:
            self._queue.leave(self)
        elif self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error  # nobody else has cancelled it too

    def expire(self) -> None:
        """Its time is over."""
        self._is_over = True
        self._task.cancel()


class _Queue:
    """The timeouts of one length under way, the first to end in front; the timer is that of the first, or earlier.

    It goes with its last timer, so one is held for every length used within that length.
    """

    def __init__(self, seconds: float, queues: "dict[float, _Queue]") -> None:
        self._seconds = seconds
        self._queues = queues
        self._entered: dict[Timeout, None] = {}
        self._is_armed = False

    def join(self, timeout: Timeout) -> float:
        """A timeout begins; the loop's time at which it will be over."""
        loop = asyncio.get_running_loop()
        when = loop.time() + self._seconds
        self._entered[timeout] = None
        if not self._is_armed:
            self._is_armed = True
            loop.call_at(when, self._look)
        return when

    def leave(self, timeout: Timeout) -> None:
        """A timeout ended before its time."""
        del self._entered[timeout]

    def _look(self) -> None:
        """End what is over, and wait for the next."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        while self._entered:
            first = next(iter(self._entered))
            if first.when > now:
                loop.call_at(first.when, self._look)
                return
            del self._entered[first]
            first.expire()
        self._is_armed = False
        self._queues.pop(self._seconds, None)
