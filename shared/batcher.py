"""Group commit: what arrives while a commit is in flight goes into the next one.

fsync is the price of durability and rows are nearly free, so the ingest of the api and the claims and advances of a
worker each go through one batcher. There is no linger: waiting for company only adds latency. But where there is a
crowd, batches are spaced: half as many commits cost less than half the processor time.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Generic, TypeAlias, TypeVar

import asyncpg
import structlog

from shared.db import CONNECTION_ERRORS, PASSING_ERRORS

Unit = TypeVar("Unit")
Receipt = TypeVar("Receipt")
#: A unit and what its submitter waits for.
Entry: TypeAlias = tuple[Unit, asyncio.Future[Receipt]]
Waiting: TypeAlias = deque[tuple[Unit, asyncio.Future[Receipt]]]

_log = structlog.get_logger(__name__)

#: Seconds between attempts while the database is away: doubling from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 1.0
#: Seconds between a crowd's batch and the next at most.
_LONGEST_PAUSE = 0.02
#: Units of one batch that are a crowd.
CROWD = 16


class Batcher(Generic[Unit, Receipt]):
    """Collects units and flushes them in batches.

    Args:
        flush: writes one batch in one transaction and gives a receipt for each unit. Its second argument is true when
            an earlier attempt at this batch ended in a lost connection, so its outcome is unknown and units may turn
            out to be written already.
        name: for the log.
        limit: the most units of one batch.
        patience: seconds for which a batch is sent again while the database is away; None for ever.
        select: picks the units of the next batch out of those that wait, and removes them; the default takes the
            oldest.
        is_crowd: whether the batch behind this one keeps a distance to it: as long as it took itself.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Unit], bool], Awaitable[Sequence[Receipt]]],
        *,
        name: str,
        limit: int = 512,
        patience: float | None = None,
        select: Callable[[Waiting[Unit, Receipt], int], list[Entry[Unit, Receipt]]] | None = None,
        is_crowd: Callable[[Sequence[Unit]], bool] = lambda _: False,
    ) -> None:
        self._flush = flush
        self._name = name
        self._limit = limit
        self._patience = patience
        self._select = select or _take_oldest
        self._is_crowd = is_crowd
        self._not_before = 0.0
        self._waiting: Waiting[Unit, Receipt] = deque()
        self._in_flight: asyncio.Task[None] | None = None

    async def submit(self, unit: Unit) -> Receipt:
        """Write a unit; returns when its transaction is committed.

        Raises:
            Exception: what the last attempt raised, once ``patience`` is used up, or what the database says about
                this unit by itself.
        """
        return await self.enqueue(unit)

    def enqueue(self, unit: Unit) -> "asyncio.Future[Receipt]":
        """Like `submit`, without waiting."""
        future: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._waiting.append((unit, future))
        self._pump()
        return future

    @property
    def backlog(self) -> int:
        """How many units wait for a batch."""
        return len(self._waiting)

    async def drain(self) -> None:
        """Wait until nothing is in flight."""
        while self._in_flight is not None:
            await asyncio.wait([self._in_flight])

    def _pump(self) -> None:
        if self._waiting and self._in_flight is None:
            self._in_flight = asyncio.get_running_loop().create_task(self._commit())
            self._in_flight.add_done_callback(self._landed)

    def _landed(self, task: "asyncio.Task[None]") -> None:
        self._in_flight = None
        if not task.cancelled() and task.exception() is not None:
            _log.error("batch broke", batcher=self._name, exc_info=task.exception())
        if task.cancelled():
            while self._waiting:
                self._waiting.popleft()[1].cancel()
        self._pump()

    async def _commit(self) -> None:
        if (left := self._not_before - monotonic()) > 0:
            await asyncio.sleep(left)
        # Picked here and not when the task is made: what else arrives in the same turn of the loop belongs to it. The
        # first of sixteen advances of a message had a commit of its own.
        batch = self._select(self._waiting, self._limit)
        units = [unit for unit, _ in batch]
        began = monotonic()
        try:
            receipts = await self._persist(units)
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
            if not isinstance(error, Exception):
                raise
            return
        finally:
            ended = monotonic()
            self._not_before = ended + min(ended - began, _LONGEST_PAUSE) if self._is_crowd(units) else ended
        for (_, future), receipt in zip(batch, receipts, strict=True):
            if future.done():
                continue
            if isinstance(receipt, Exception):
                future.set_exception(receipt)
            else:
                future.set_result(receipt)

    async def _persist(self, units: Sequence[Unit]) -> Sequence[Receipt | Exception]:
        """Flush until the database answers; a batch that it refuses is bisected."""
        return await self._insist(units, _Pauses(self._patience), uncertain=False)

    async def _insist(
        self, units: Sequence[Unit], pauses: "_Pauses", *, uncertain: bool
    ) -> Sequence[Receipt | Exception]:
        while True:
            try:
                return await self._flush(units, uncertain)
            except CONNECTION_ERRORS as error:
                uncertain = True
                _log.warning("database away, batch is sent again", batcher=self._name, error=repr(error))
                await pauses.next(error)
            except PASSING_ERRORS as error:
                if len(units) > 1:
                    return await self._bisect(units, error, pauses, uncertain=uncertain)
                await pauses.next(error)
            except (asyncpg.PostgresError, ValueError, TypeError) as error:
                return await self._bisect(units, error, pauses, uncertain=uncertain)

    async def _bisect(
        self, units: Sequence[Unit], error: Exception, pauses: "_Pauses", *, uncertain: bool
    ) -> Sequence[Receipt | Exception]:
        """Flush the halves. What is not known of the whole is not known of them: units may be written already."""
        if len(units) == 1:
            _log.error("unit refused by the database", batcher=self._name, exc_info=error)
            return [error]
        middle = len(units) // 2
        return [
            *await self._insist(units[:middle], pauses, uncertain=uncertain),
            *await self._insist(units[middle:], pauses, uncertain=uncertain),
        ]


class _Pauses:
    """Doubling pauses that end when patience does."""

    def __init__(self, patience: float | None) -> None:
        self._clock = asyncio.get_running_loop().time
        self._deadline = None if patience is None else self._clock() + patience
        self._pause = _FIRST_PAUSE

    async def next(self, error: Exception) -> None:
        """Wait, or raise ``error`` when that would take too long."""
        if self._deadline is not None and self._clock() + self._pause > self._deadline:
            raise error
        await asyncio.sleep(self._pause)
        self._pause = min(self._pause * 2, _LAST_PAUSE)


def _take_oldest(waiting: Waiting[Unit, Receipt], limit: int) -> list[Entry[Unit, Receipt]]:
    return [waiting.popleft() for _ in range(min(limit, len(waiting)))]
