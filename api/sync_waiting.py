"""Requests that wait for their runs: woken by a doorbell, and by a look at all of them twice a second without it.

A wait holds no connection. However many wait, one statement at a time looks for those that rang, and twice a second
for all. Nobody is told what a doorbell says, only what Postgres has.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Final
from uuid import UUID

from shared.db import DATABASE_ERRORS
from shared.errors import UnavailableError
from shared.log import get
from shared.store.responses import Answered

_log = get(__name__)

#: What the next look may not meet any more.
_PASSING: Final[tuple[type[Exception], ...]] = (*DATABASE_ERRORS, UnavailableError)
#: Seconds between two looks at all that wait.
_EVERY: Final = 0.5
#: What reads which of some runs, each given with its response nodes, have answered.
Read = Callable[[Mapping[UUID, Sequence[str]]], Awaitable[Mapping[UUID, Answered]]]


class StoppingError(Exception):
    """The process stops, and waits no longer."""


class Waiter:
    """A request that waits for a run.

    Attributes:
        nodes: those that answer; None while the run is not stored yet.
        is_gone: whether nobody is there any more to be answered.
    """

    def __init__(self, is_gone: Callable[[], bool]) -> None:
        self.nodes: Sequence[str] | None = None
        self.is_gone = is_gone
        self.answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()


class Waiters:
    """Everything that waits in one process.

    Args:
        read: looks into the database.
        every: seconds between two looks at all of them.
    """

    def __init__(self, read: Read, *, every: float = _EVERY) -> None:
        self._read = read
        self._every = every
        self._waiting: dict[UUID, list[Waiter]] = {}
        self._rung: set[UUID] = set()
        self._bell = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._open = True

    def __len__(self) -> int:
        """How many runs are waited for."""
        return len(self._waiting)

    def enter(self, run_id: UUID, is_gone: Callable[[], bool] = lambda: False) -> Waiter:
        """Make ready to hear of a run, before it is stored; `leave` must follow.

        Raises:
            StoppingError: if the process stops.
        """
        if not self._open:
            raise StoppingError
        waiter = Waiter(is_gone)
        self._waiting.setdefault(run_id, []).append(waiter)
        return waiter

    def leave(self, run_id: UUID, waiter: Waiter) -> None:
        """Wait no longer."""
        waiter.answer.cancel()
        others = self._waiting[run_id]
        others.remove(waiter)
        if not others:
            del self._waiting[run_id]
            self._rung.discard(run_id)

    async def wait(self, run_id: UUID, waiter: Waiter, nodes: Sequence[str], seconds: float) -> Answered | None:
        """The answer of a run that is stored; None if it has none after so long, or nobody waits for it any more.

        Args:
            run_id: as given to `enter`.
            waiter: from `enter`.
            nodes: those that answer.
            seconds: how long.

        Raises:
            StoppingError: if the process stops.
        """
        waiter.nodes = nodes
        if run_id in self._rung:
            self._bell.set()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        done, _ = await asyncio.wait([waiter.answer], timeout=seconds)
        return waiter.answer.result() if done and not waiter.answer.cancelled() else None

    def ring(self, run_ids: Iterable[UUID]) -> None:
        """Runs may have answered; those that nobody here waits for are passed over."""
        mine = self._waiting.keys() & set(run_ids)
        if mine:
            self._rung |= mine
            self._bell.set()

    def close(self) -> None:
        """Let nobody wait any longer."""
        self._open = False
        for waiter in self._all():
            if not waiter.answer.done():
                waiter.answer.set_exception(StoppingError())
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        """Look for answers as long as anybody waits."""
        loop = asyncio.get_running_loop()
        due = loop.time() + self._every
        try:
            while self._waiting:
                with suppress(TimeoutError):
                    async with asyncio.timeout_at(due):
                        await self._bell.wait()
                self._bell.clear()
                if loop.time() >= due:
                    self._drop_gone()
                    await self._look_for(self._waiting)
                    due = loop.time() + self._every
                else:
                    await self._look_for(self._rung & self._waiting.keys())
        finally:
            self._looking = None

    def _all(self) -> list[Waiter]:
        return [waiter for waiters in self._waiting.values() for waiter in waiters]

    def _drop_gone(self) -> None:
        for waiter in self._all():
            if waiter.is_gone():
                waiter.answer.cancel()

    async def _look_for(self, run_ids: Iterable[UUID]) -> None:
        wanted = {run_id: nodes for run_id in run_ids if (nodes := self._nodes_of(run_id)) is not None}
        if not wanted:
            return
        self._rung.difference_update(wanted)
        try:
            answers = await self._read(wanted)
        except _PASSING:
            return  # the next look comes soon
        except Exception:  # noqa: BLE001 — one look that breaks must not end all of them
            _log.exception("a look for answers broke")
            return
        for run_id, answer in answers.items():
            for waiter in self._waiting.get(run_id, ()):
                if not waiter.answer.done():
                    waiter.answer.set_result(answer)

    def _nodes_of(self, run_id: UUID) -> Sequence[str] | None:
        """The nodes that answer, if somebody still waits for the run and it is stored."""
        open_ones = (waiter.nodes for waiter in self._waiting[run_id] if not waiter.answer.done())
        return next((nodes for nodes in open_ones if nodes is not None), None)
