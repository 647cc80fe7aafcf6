"""The group commit of advances."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Final
from uuid import UUID

import asyncpg

from shared.advances import Advance
from shared.batcher import CROWD, Batcher, Entry, Waiting
from shared.lanes import Doorbell
from shared.metrics import BATCH_SECONDS, BATCH_SIZE, LOST_UNITS, RUN_DURATION, RUNS_FINISHED, RUNS_STARTED
from shared.states import TriggerType
from shared.store.advance import Committed, commit, follow_up, still_mine
from worker.inputs import refuse_calls
from worker.publishing import Publisher

_SYNC: Final = TriggerType.SYNC
#: Advances of one commit that call workflows or publish events.
_MOST_JUDGED: Final = 8
#: Whether an advance was written; false when its step had been taken over.
Written = bool


class Commits:
    """Writes advances, many per transaction.

    Args:
        pool: of connections.
        incarnation: gives the id claims are made under.
        on_opened: called with the steps that a commit made ready, and the runs it started.
        on_freed: called with runs that a commit ended and that held a concurrency slot.
        publisher: starts what events of steps start.
        on_answered: called with runs whose requests can be answered now: their answers, or their ends, are durable.
    """

    def __init__(
        self,
        pool: asyncpg.Pool,
        incarnation: Callable[[], UUID],
        on_opened: Callable[[Sequence[Doorbell]], None],
        on_freed: Callable[[Sequence[UUID]], None],
        on_answered: Callable[[Sequence[UUID]], None],
        *,
        publisher: Publisher | None = None,
    ) -> None:
        self._pool = pool
        self._incarnation = incarnation
        self._on_opened = on_opened
        self._on_freed = on_freed
        self._on_answered = on_answered
        self._publisher = publisher
        self._batcher: Batcher[Advance, Written] = Batcher(
            self._flush, name="advance", select=next_batch, is_crowd=_is_crowd
        )

    def enqueue(self, advance: Advance) -> "asyncio.Future[Written]":
        """Write an advance with the next batch.

        Raises:
            Exception: what Postgres said, if it refuses this advance by itself.
        """
        return self._batcher.enqueue(advance)

    async def drain(self) -> None:
        """Wait until nothing is in flight."""
        await self._batcher.drain()

    async def _flush(self, advances: Sequence[Advance], uncertain: bool) -> Sequence[Written]:
        began = perf_counter()
        incarnation = self._incarnation()
        committed = await self._commit(advances, incarnation)
        BATCH_SIZE.labels("advance").observe(len(advances))
        BATCH_SECONDS.labels("advance").observe(perf_counter() - began)
        _count(committed)
        if committed.bells:
            self._on_opened(committed.bells)
        if freed := [ended.run_id for ended in committed.ended if ended.freed]:
            self._on_freed(freed)
        if answered := _answered(advances, committed):
            self._on_answered(answered)
        mine = await self._mine(advances, committed, incarnation) if uncertain else frozenset()
        written = [unit in committed.held or advance.next_claim in mine for unit, advance in enumerate(advances)]
        LOST_UNITS.inc(written.count(False))
        return [done and committed.held.get(unit, True) for unit, done in enumerate(written)]

    async def _commit(self, advances: Sequence[Advance], incarnation: UUID) -> Committed:
        if not any(advance.needs_transaction for advance in advances):
            return await commit(self._pool, advances, incarnation)
        async with self._pool.acquire() as connection, connection.transaction():
            committed = await commit(connection, advances, incarnation)
            refused = await refuse_calls(connection, advances, committed)
            await follow_up(connection, advances, committed, refused)
            if self._publisher is not None:
                await self._publisher.publish(connection, advances, committed)
        return committed

    async def _mine(
        self, advances: Sequence[Advance], committed: Committed, incarnation: UUID
    ) -> frozenset[UUID | None]:
        """Of a batch whose outcome was unknown: the claims that are in force, so that it was written after all."""
        claims = [
            advance.next_claim
            for unit, advance in enumerate(advances)
            if unit not in committed.held and advance.next_claim is not None
        ]
        return frozenset(await still_mine(self._pool, claims, incarnation)) if claims else frozenset()


def next_batch(waiting: Waiting[Advance, Written], limit: int) -> list[Entry[Advance, Written]]:
    """The oldest advances, but none of a run beside one that ends it: that one cancels what it does not know of.

    And few that call workflows or publish: what is judged then, schemas and filters, may take a second each, while rows
    are locked and all others wait.
    """
    if not any(advance.ends or advance.calls or advance.publications for advance, _ in waiting):
        return [waiting.popleft() for _ in range(min(limit, len(waiting)))]
    batch: list[Entry[Advance, Written]] = []
    later: Waiting[Advance, Written] = deque()
    taken: set[UUID] = set()
    closed: set[UUID] = set()
    judged = 0
    while waiting and len(batch) < limit:
        entry = waiting.popleft()
        run_id, ends = entry[0].run_id, entry[0].ends
        is_judged = bool(entry[0].calls or entry[0].publications)
        if run_id in closed or (ends and run_id in taken) or (is_judged and judged >= _MOST_JUDGED):
            later.append(entry)
            closed.add(run_id)  # and what comes after it keeps its place
            continue
        taken.add(run_id)
        judged += is_judged
        if ends:
            closed.add(run_id)
        batch.append(entry)
    waiting.extendleft(reversed(later))
    return batch


def _answered(advances: Sequence[Advance], committed: Committed) -> list[UUID]:
    """The runs whose requests can be answered now."""
    answered = [advance.run_id for unit, advance in enumerate(advances) if advance.answers and unit in committed.held]
    ended = [ended.run_id for ended in committed.ended if ended.trigger_type == _SYNC]
    return list(dict.fromkeys(answered + ended)) if answered or ended else []


def _is_crowd(advances: Sequence[Advance]) -> bool:
    """Whether these are many, and none of them one that a step in flight waits behind."""
    return len(advances) >= CROWD and not any(advance.claim_id or advance.next_claim for advance in advances)


def _count(committed: Committed) -> None:
    for ended in committed.ended:
        RUN_DURATION.observe(ended.seconds)
    # Each kind once: finding a counter by its labels for every run was 5% of a worker's time.
    for kind, number in Counter((ended.status, ended.trigger_type) for ended in committed.ended).items():
        RUNS_FINISHED.labels(*kind).inc(number)
    for trigger, number in Counter(committed.started).items():
        RUNS_STARTED.labels(trigger).inc(number)
