"""Dramatiq's threads, woken when there is something to do or to end, and not once a second to see whether there is."""

from queue import Empty, PriorityQueue
from typing import Any, Final

import dramatiq

from shared.broker import StepBroker

#: Milliseconds for which an idle thread waits. Nothing depends on it: messages and the end wake it.
_TIMEOUT: Final = 30_000


class _Work(PriorityQueue[Any]):
    """A queue of messages whose waiting takers `close` sends home."""

    is_closed = False

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """See `queue`; it may raise `Empty` before the time is over."""
        with self.not_empty:
            if block and not self._qsize() and not self.is_closed:
                self.not_empty.wait(timeout)
            if not self._qsize():
                raise Empty
            return self._get()

    def close(self) -> None:
        """Let nobody wait any more."""
        with self.not_empty:
            self.is_closed = True
            self.not_empty.notify_all()


class Threads(dramatiq.Worker):
    """Consumers of all queues, and threads that run their messages."""

    def __init__(self, broker: StepBroker, threads: int) -> None:
        super().__init__(broker, worker_threads=threads, worker_timeout=_TIMEOUT)
        self._listener = broker.listener
        self._work = self.work_queue = _Work()

    def stop(self, timeout: int = 600_000) -> None:
        """Take nothing new, and wait for what is being run; at most so many milliseconds."""
        self._listener.close()
        self._work.close()
        super().stop(timeout)
