"""What the scheduler's duties read and write: steps to send, steps to give back, counts.

Each function is one statement that takes its rows with ``FOR UPDATE SKIP LOCKED``, so any number of schedulers share
the work, and none that is stopped in the middle holds up the others.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg

from shared.db import Connection
from shared.ids import milliseconds_of
from shared.lanes import LIGHT_SHARE, Doorbell, Reference
from shared.queries import load

_SQL = load("duties")
_MIGRATIONS = load("migrations")

#: The most workflows one top-up looks at.
_FLOWS = 1000


class Probe(NamedTuple):
    """What there is to do.

    Attributes:
        waits: waits that are over.
        unsent: steps to send.
        slots: schedules that are due.
        queued: runs that wait for a slot of their workflow.
        deleted: deleted workflows.
        bulk: actions over many runs.
        replays: replays of deliveries whose next batch is due.
        open: any open step.
        due_in: seconds until the next wait is over or the next schedule is due, negative if one is; None without any.
    """

    waits: bool
    unsent: bool
    slots: bool
    queued: bool
    deleted: bool
    bulk: bool
    replays: bool
    open: bool
    due_in: float | None


class Sent(NamedTuple):
    """Steps that were marked as sent.

    Attributes:
        doorbells: the messages to send, in order.
        ended: runs that are being ended; nothing is sent about their steps, which are to be settled.
    """

    doorbells: list[Doorbell]
    ended: list[UUID]


class Rescued(NamedTuple):
    """What a rescue did.

    Attributes:
        died: incarnations that were declared dead.
        returned: steps that were given back.
        gone: whether dead incarnations held anything.
    """

    died: int
    returned: int
    gone: bool


class Moment(NamedTuple):
    """Postgres's time, and since when its postmaster runs."""

    now: datetime
    started: datetime


class Count(NamedTuple):
    """Open steps of one kind; ``age`` is that of the oldest, in seconds since it was sent or its run accepted."""

    priority: int
    status: str
    sent: bool
    steps: int
    age: float


async def probe(connection: Connection) -> Probe:
    """Look whether there is anything for the duties; well under a millisecond."""
    return Probe(*_row(await connection.fetchrow(_SQL["probe"])))


async def wake_due(connection: Connection, limit: int) -> list[Doorbell]:
    """Make steps ready whose retry is due or whose wait is over; gives the messages to send."""
    retries = _sent(await connection.fetch(_SQL["wake_retries"], limit))
    timers = _sent(await connection.fetch(_SQL["wake_timers"], limit))
    return retries.doorbells + timers.doorbells


async def top_up(connection: Connection, *, window: int, limit: int) -> Sent:
    """Mark unsent steps as sent, fairly over workspaces, then workflows.

    ``window`` is the most sent and untaken steps of one workflow, and of one workspace. ``limit`` is about how many
    steps there will be: each workflow's share is rounded up.
    """
    return _sent(await connection.fetch(_SQL["top_up"], limit, window, _FLOWS, LIGHT_SHARE))


async def resend(
    connection: Connection, *, limit: int, queued_since: Sequence[float], bulk_since: Sequence[float]
) -> Sent:
    """Mark steps as sent again whose message must be lost.

    ``queued_since`` holds for each priority the unix time of the oldest message in its light lanes, ``bulk_since`` of
    that in its bulk lanes; infinity without one.
    """
    return _sent(await connection.fetch(_SQL["resend"], limit, queued_since, bulk_since, LIGHT_SHARE))


async def unsend(connection: Connection, *, until: datetime, limit: int) -> int:
    """Take back what was sent up to a moment; gives how many steps."""
    return changed(await connection.execute(_SQL["unsend"], until, limit))


async def moment(connection: Connection) -> Moment:
    """Ask Postgres for the time."""
    return Moment(*_row(await connection.fetchrow(_SQL["now"])))


async def rescue(connection: Connection, *, judge: bool, lease: float, limit: int) -> Rescued:
    """Give steps back that dead incarnations hold.

    Those that have been silent for ``lease`` seconds are declared dead, if this scheduler may ``judge``.
    """
    return Rescued(*_row(await connection.fetchrow(_SQL["rescue"], judge, lease, limit)))


async def lost_of_ended(connection: Connection, limit: int) -> list[UUID]:
    """Runs being ended that have a step which a dead incarnation holds."""
    return [record["run_id"] for record in await connection.fetch(_SQL["lost_of_ended"], limit)]


async def count_open(connection: Connection) -> list[Count]:
    """Count the open steps by kind."""
    return [_count(record) for record in await connection.fetch(_SQL["gauges"])]


async def partition_days_ahead(connection: Connection) -> int:
    """How many whole days from now have their partitions."""
    days: int = await connection.fetchval(_MIGRATIONS["partition_days_ahead"])
    return days


async def make_partitions(connection: Connection, *, back: int, ahead: int) -> int:
    """Make the partitions that are missing; gives how many."""
    made: int = await connection.fetchval(_MIGRATIONS["make_partitions"], back, ahead)
    return made


def changed(tag: str) -> int:
    """How many rows a command changed, by its tag (``DELETE 3``)."""
    return int(tag.rpartition(" ")[2])


def _sent(records: Iterable[asyncpg.Record]) -> Sent:
    sent = Sent([], [])
    for run_id, node_id, item, claim, priority, new, bulk, ended in records:
        if ended:
            sent.ended.append(run_id)
        else:
            sent.doorbells.append(Doorbell(Reference(run_id, node_id, item, claim), priority, new, bulk))
    return sent


def _count(record: asyncpg.Record) -> Count:
    priority, status, sent, steps, sent_at, run_id, now = record
    since = sent_at.timestamp() if sent_at is not None else milliseconds_of(UUID(run_id)) / 1000
    return Count(priority, status, sent, steps, max(0.0, now.timestamp() - since))


def _row(record: asyncpg.Record | None) -> Sequence[Any]:
    if record is None:
        raise LookupError("a query that always gives a row gave none")
    return tuple(record.values())
