"""Turns accepted triggers into runs: one row in ``runs``, one in ``open_steps``, many triggers per commit.

Whoever gets an `Accepted` back has a durable run. The message that starts it quickly is sent afterwards and may be
lost.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from time import monotonic, perf_counter
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from prometheus_client import Counter as Counted

from shared.announcer import Announcer
from shared.batcher import CROWD, Batcher, Entry, Waiting
from shared.db import CONNECTION_ERRORS, DATABASE_ERRORS, PASSING_ERRORS, Clock, Executes
from shared.errors import UnavailableError
from shared.ids import Mint, Prefix, encode
from shared.lanes import LIGHT_SHARE, Doorbell, Reference
from shared.metrics import BATCH_SECONDS, BATCH_SIZE, DEDUPE_HITS, RUNS_STARTED
from shared.queries import load
from shared.states import TriggerType

_SQL = load("ingest")
_BATCH_SIZE = BATCH_SIZE.labels("ingest")
_BATCH_SECONDS = BATCH_SECONDS.labels("ingest")
_STARTED: dict[str, Counted] = {kind: RUNS_STARTED.labels(kind) for kind in TriggerType}

#: Seconds for which a trigger waits for a database that is away before its caller is told to come back.
PATIENCE = 5.0
#: Seconds between two looks at how many references of each workflow are in the broker, while there is traffic. What was
#: taken since the last look still counts, so a long pause makes a fast workflow look like a backlog.
_WINDOW_POLL = 0.1
#: How many times longer than the look itself the pause after it is at least: at a large backlog counting costs.
_WINDOW_SHARE = 20
#: References of one workflow per second that are taken to be worked off until a count says otherwise.
_STEADY_RATE = 1200.0
#: Seconds for which a workflow stays bulk: a fast one that is alone would else be light and bulk by turns.
_BULK_SECONDS = 2.0
#: Characters of payloads after which a batch is full, since both ends copy the arguments of a statement several times:
#: 512 payloads of 1 MB would be half a gigabyte a copy. Smaller batches are cheaper by the byte, and more commits.
_BATCH_CHARACTERS = 4 * 1024 * 1024
#: Triggers that may wait for a batch, and characters of their payloads, past which callers are told to come back: they
#: wait in this process's memory.
_MOST_WAITING = 10_000
_MOST_CHARACTERS = 64 * 1024 * 1024


class Trigger(NamedTuple):
    """What is to become a run.

    Attributes:
        payload: JSON text, kept as it is.
        token_hash: SHA-256 of the webhook token it came by, checked again by the insert; None for other triggers.
        run_id: from `Ingest.new_id`, when it must be known beforehand; None for a fresh one.
        started_by: the subject of the token it was started with; None if it was started by none.
        rerun_of: the run it repeats.
        version: None for the current one.
        trigger_node: of ``version``, if that is given.
        dedupe_key: what a repeat within 24 hours has in common with it, at most 255 characters; None for no such thing.
    """

    workflow_id: UUID
    trigger_type: str
    payload: str
    request_id: str | None = None
    traceparent: str | None = None
    token_hash: bytes | None = None
    run_id: UUID | None = None
    started_by: str | None = None
    rerun_of: UUID | None = None
    version: int | None = None
    trigger_node: str | None = None
    dedupe_key: str | None = None


class Accepted(NamedTuple):
    """A run that is durable.

    Attributes:
        doorbell: the message to send for it; None if it waits for a top-up, or is no new run.
        is_repeat: it is the run of an earlier trigger with the same dedupe key.
    """

    run_id: UUID
    workspace_id: UUID
    workflow_id: UUID
    version: int
    created_at: datetime
    trigger_type: str
    doorbell: Doorbell | None
    is_repeat: bool = False


class _Row(NamedTuple):
    """One run to be made; ``columns`` are the arguments of the statement."""

    run_id: UUID
    trigger: Trigger
    sent: bool
    bulk: bool

    @property
    def columns(self) -> tuple[Any, ...]:
        trigger = self.trigger
        target = None if trigger.started_by is None else encode(Prefix.RUN, self.run_id)
        return (
            self.run_id, trigger.workflow_id, trigger.trigger_type, trigger.payload, trigger.request_id,
            trigger.traceparent, trigger.token_hash, self.sent, trigger.started_by, trigger.rerun_of, trigger.version,
            trigger.trigger_node, target,
        )  # fmt: skip


class Window:
    """Keeps at most so many unclaimed references of a workflow in the broker; the rest are topped up by the scheduler.

    A flood of one workflow therefore stays in Postgres, where it can be shared out fairly. The count is an estimate:
    what the database said last, and what this process has sent since.
    """

    def __init__(self, size: int, now: Callable[[], float] = monotonic) -> None:
        self._size = size
        self._counted: Mapping[UUID, int] = {}
        self._since: Counter[UUID] = Counter()
        self._during: Counter[UUID] = Counter()
        self._now = now
        self._empty_at: dict[UUID, float] = {}
        self._bulk_until: dict[UUID, float] = {}

    @property
    def touched(self) -> bool:
        """Whether a count would tell anything new."""
        return bool(self._since or self._counted)

    def admit(self, workflow_id: UUID) -> bool:
        """Whether one more reference of this workflow may go to the broker now; counts it if so."""
        estimate = self._counted.get(workflow_id, 0) + self._during[workflow_id] + self._since[workflow_id]
        if estimate >= self._size:
            return False
        self._since[workflow_id] += 1
        return True

    def crowds(self, workflow_id: UUID) -> bool:
        """Whether one more reference of this workflow is bulk: it has, or had lately, its share in the broker.

        A count may be late when it matters most, so what was sent is taken to be worked off at a steady rate (a leaky
        bucket): a workflow that is worked off in good time is light at that rate, however long nobody has counted.
        """
        now = self._now()
        empty_at = max(self._empty_at.get(workflow_id, now), now) + 1 / _STEADY_RATE
        lately = round((empty_at - now) * _STEADY_RATE)
        if lately <= LIGHT_SHARE:  # it holds no more: a flood that is over is forgotten, however large it was
            self._empty_at[workflow_id] = empty_at
        if self._counted.get(workflow_id, 0) + lately > LIGHT_SHARE:
            self._bulk_until[workflow_id] = now + _BULK_SECONDS
        return now < self._bulk_until.get(workflow_id, 0.0)

    def begin_count(self) -> None:
        """A count is about to be asked for: what is sent from now on may not be in it."""
        self._during += self._since
        self._since = Counter()

    def end_count(self, counted: Mapping[UUID, int]) -> None:
        """Take over what the database counted."""
        self._counted = counted
        self._during = Counter()
        now = self._now()
        self._bulk_until = {workflow: until for workflow, until in self._bulk_until.items() if until > now}
        self._empty_at = {workflow: moment for workflow, moment in self._empty_at.items() if moment > now}


class Ingest:
    """Accepts triggers in batches. Make it on the loop that uses it, end it with `close`.

    Args:
        pool: of connections.
        announcer: sends the messages.
        clock: of Postgres, in step (`shared.db.Clock`): run ids are minted on it, and choose the partition.
        window: the most unclaimed references of one workflow in the broker.
    """

    def __init__(self, pool: asyncpg.Pool, announcer: Announcer, clock: Clock, *, window: int) -> None:
        self._pool = pool
        self._announcer = announcer
        self._mint = Mint(clock.milliseconds)
        self._window = Window(window)
        self._batcher: Batcher[_Row, Accepted | None] = Batcher(
            self._flush,
            name="ingest",
            patience=PATIENCE,
            select=_next_batch,
            is_crowd=_is_crowd,
        )
        self._characters = 0
        self._traffic = asyncio.Event()
        self._poll = asyncio.create_task(self._keep_counting())

    async def accept(self, trigger: Trigger) -> Accepted | None:
        """Make a run of a trigger; it is durable when this returns.

        Returns:
            None if the workflow is gone, inactive, or no longer has the trigger's webhook token.

        Raises:
            UnavailableError: if Postgres stayed away, when the run may exist all the same; or ``ingest_busy`` if too
                much waits already.
        """
        size = len(trigger.payload)
        # One that is over the bound all by itself is taken when it is alone: else coming back would never help.
        is_too_much = self._characters > 0 and self._characters + size > _MOST_CHARACTERS
        if is_too_much or self._batcher.backlog >= _MOST_WAITING:
            raise UnavailableError("ingest_busy", "More triggers come in than can be stored; come back.", retry_after=1)
        self._characters += size
        try:
            return await self._batcher.submit(self._row(trigger))
        except (*CONNECTION_ERRORS, *PASSING_ERRORS) as error:  # a full disk among them
            raise UnavailableError(
                "database_unavailable", "The database did not answer; repeat the request.", retry_after=2
            ) from error
        finally:
            self._characters -= size

    async def accept_on(self, connection: Executes, trigger: Trigger) -> Accepted | None:
        """Like `accept`, inside the caller's transaction; call `announce` after its commit."""
        receipts = await self.accept_many_on(connection, [trigger])
        return receipts[0]

    async def accept_many_on(self, connection: Executes, triggers: Sequence[Trigger]) -> list[Accepted | None]:
        """Like `accept_on`, for many triggers in one statement."""
        return await self._insert(connection, [self._row(trigger) for trigger in triggers], uncertain=False)

    def new_id(self) -> UUID:
        """A fresh run id on Postgres's clock."""
        return self._mint.uuid()

    def announce(self, accepted: Sequence[Accepted | None]) -> None:
        """Count durable runs, and send their messages."""
        durable = [a for a in accepted if a is not None]
        for kind, number in Counter(a.trigger_type for a in durable if not a.is_repeat).items():
            _STARTED[kind].inc(number)
        DEDUPE_HITS.inc(sum(a.is_repeat for a in durable))
        self._announcer.announce([a.doorbell for a in durable if a.doorbell is not None])

    def ring(self, doorbells: Sequence[Doorbell]) -> None:
        """Send messages about steps that were committed otherwise."""
        self._announcer.announce(doorbells)

    async def close(self) -> None:
        """Commit what is under way and stop."""
        await self._batcher.drain()
        self._poll.cancel()
        with suppress(asyncio.CancelledError):
            await self._poll

    def _row(self, trigger: Trigger) -> _Row:
        self._traffic.set()
        bulk = self._window.crowds(trigger.workflow_id)
        return _Row(trigger.run_id or self._mint.uuid(), trigger, self._window.admit(trigger.workflow_id), bulk)

    async def _flush(self, rows: Sequence[_Row], uncertain: bool) -> Sequence[Accepted | None]:
        began = perf_counter()
        receipts = await self._insert(self._pool, rows, uncertain=uncertain)
        self.announce(receipts)
        _BATCH_SIZE.observe(len(rows))
        _BATCH_SECONDS.observe(perf_counter() - began)
        return receipts

    async def _insert(self, connection: Executes, rows: Sequence[_Row], *, uncertain: bool) -> list[Accepted | None]:
        if not rows:
            return []
        columns = zip(*[row.columns for row in rows], strict=True)
        keys = [row.trigger.dedupe_key for row in rows]
        if keys.count(None) == len(keys):
            records = await connection.fetch(_SQL["accept"], *columns)
        else:
            records = await connection.fetch(_SQL["accept_once"], *columns, keys)
        made = {record["id"]: record for record in records}
        if uncertain and len(made) < len(rows):
            missing = [row.run_id for row in rows if row.run_id not in made]
            made.update({r["id"]: r for r in await connection.fetch(_SQL["already_accepted"], missing)})
        return [_accepted(row, made.get(row.run_id)) for row in rows]

    async def _keep_counting(self) -> None:
        pause = _WINDOW_POLL
        while True:
            if not self._window.touched:
                self._traffic.clear()
                await self._traffic.wait()
            await asyncio.sleep(pause)
            began = perf_counter()
            self._window.begin_count()
            try:
                records = await self._pool.fetch(_SQL["count_sent"])
            except DATABASE_ERRORS:
                continue
            self._window.end_count({record["workflow_id"]: record["sent"] for record in records})
            pause = max(_WINDOW_POLL, _WINDOW_SHARE * (perf_counter() - began))


def _next_batch(waiting: Waiting[_Row, Accepted | None], limit: int) -> list[Entry[_Row, Accepted | None]]:
    """The oldest rows, at most so many, and none behind `_BATCH_CHARACTERS` of payload."""
    batch: list[Entry[_Row, Accepted | None]] = []
    characters = 0
    while waiting and len(batch) < limit and characters < _BATCH_CHARACTERS:
        batch.append(waiting.popleft())
        characters += len(batch[-1][0].trigger.payload)
    return batch


def _is_crowd(rows: Sequence[_Row]) -> bool:
    """Whether waiting would make the next batch larger. One that its payloads filled is as large as they get."""
    return len(rows) >= CROWD and sum(len(row.trigger.payload) for row in rows) < _BATCH_CHARACTERS


def _accepted(row: _Row, record: asyncpg.Record | None) -> Accepted | None:
    if record is None:
        return None
    run_id: UUID | None = record.get("first_run")
    is_repeat = run_id is not None
    doorbell = None
    if row.sent and not is_repeat:
        reference = Reference(row.run_id, record["node_id"], "-", record["claim_first"])
        doorbell = Doorbell(reference, record["priority"], new=True, bulk=row.bulk)
    return Accepted(
        run_id or row.run_id,
        record["workspace_id"],
        record["workflow_id"],
        record["version"],
        record["created_at"],
        row.trigger.trigger_type,
        doorbell,
        is_repeat,
    )
