"""Requests to webhooks: those that made a run are its row, the others are kept here; and replays of many of them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

import asyncpg
import msgspec

from shared.db import Connection, Executes
from shared.queries import columns, load
from shared.store.duties import changed

_SQL = load("deliveries")

#: What became of a request. Each but ``accepted`` has rows of its own; ``not_found`` has none, for it is nobody's.
Outcome = Literal[
    "accepted",
    "repeated",
    "handshake",
    "inactive",
    "invalid",
    "unsigned",
    "forbidden",
    "rate_limited",
    "limited",
    "unavailable",
    "unverified",
]
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)
#: Those that a replay is for unless it says otherwise: what came from who may send, and no run came of it.
#: What came while the secret of its signature was away is ``unverified``: anybody may have sent it.
MISSED: Final = ("inactive", "rate_limited", "limited", "unavailable")
#: How many rows of each kind are looked at for one page or batch.
_WINDOW: Final = 1_000
#: Bytes of a request that a list shows.
_SHOWN: Final = 64 * 1024


class Refused(NamedTuple):
    """A request that made no run, as it is stored.

    Attributes:
        run_id: of a repeat, the run of the first.
        status: what it was answered with.
        request: like a run's payload, JSON text; None if it was not kept.
        whole: whether the body is all there.
    """

    id: UUID
    workspace_id: UUID
    workflow_id: UUID
    run_id: UUID | None
    status: int
    outcome: str
    code: str | None
    request: str | None
    whole: bool


class Delivery(NamedTuple):
    """A request to a webhook; its id says when it came, and is the run's if it made one."""

    id: UUID
    run_id: UUID | None
    status: int
    outcome: str
    code: str | None
    request: str | None
    whole: bool


class Page(NamedTuple):
    """Some of a workflow's deliveries.

    Attributes:
        rows: newest first.
        further: the bound to look on from; None if there is nothing more.
    """

    rows: list[Delivery]
    further: UUID | None


class Filter(msgspec.Struct, frozen=True):
    """Which deliveries a replay is for.

    Attributes:
        given: as the caller wrote it.
        outcomes: any of these.
    """

    given: dict[str, Any]
    outcomes: tuple[str, ...]


class Replay(NamedTuple):
    """A replay of many deliveries.

    Attributes:
        filter: JSON text of a `Filter`.
        above, below: deliveries with ids between these are still to be looked at.
        matched: deliveries it was for, as far as it got; ``done`` and ``failed`` of them.
        created_by: the subject of the token.
    """

    id: UUID
    workspace_id: UUID
    workflow_id: UUID
    filter: str
    above: UUID
    below: UUID
    per_second: int
    matched: int
    done: int
    failed: int
    created_by: str
    created_at: datetime
    completed_at: datetime | None

    @property
    def wanted(self) -> Filter:
        """Which deliveries it is for."""
        return msgspec.json.decode(self.filter, type=Filter)


class Due(NamedTuple):
    """What a batch of a replay is about.

    Attributes:
        rows: id, request and whether that is whole, oldest first.
        above: where to go on; None if there is nothing more.
    """

    rows: list[tuple[UUID, str | None, bool]]
    above: UUID | None


async def add(connection: Executes, rows: Sequence[Refused]) -> None:
    """Keep requests that made no run."""
    await connection.execute(_SQL["add"], *columns(rows, len(Refused._fields)))


async def page(
    connection: Connection, workflow_id: UUID, low: UUID, high: UUID, *, outcomes: Sequence[str] | None, limit: int
) -> Page:
    """The newest deliveries of a workflow with ids between these bounds."""
    records = await connection.fetch(_SQL["page"], workflow_id, low, high, limit, outcomes, _WINDOW, _SHOWN)
    found, bound = _told(records)
    rows = [Delivery(*tuple(record.values())[:-1]) for record in found]
    rows.sort(key=lambda row: row.id, reverse=True)
    return Page(rows, rows[-1].id if len(rows) == limit else bound)


async def find(connection: Connection, workspace_id: UUID, delivery_id: UUID) -> tuple[Delivery, UUID] | None:
    """A delivery of a workspace, and its workflow's id."""
    record = await connection.fetchrow(_SQL["refused"], workspace_id, delivery_id)
    if record is None:
        record = await connection.fetchrow(_SQL["accepted"], workspace_id, delivery_id)
    return None if record is None else (Delivery(*tuple(record.values())[:-1]), record["workflow_id"])


async def to_replay(connection: Connection, replay: Replay, limit: int) -> Due:
    """The next deliveries that a replay is for."""
    bounds = (replay.workflow_id, replay.above, replay.below)
    records = await connection.fetch(_SQL["to_replay"], *bounds, limit, list(replay.wanted.outcomes), _WINDOW)
    found, bound = _told(records)
    rows = sorted(((row["id"], row["request"], row["whole"]) for row in found), key=lambda row: row[0])
    return Due(rows, rows[-1][0] if len(rows) == limit else bound)


async def add_replay(
    connection: Connection,
    replay_id: UUID,
    wanted: Filter,
    *,
    workspace_id: UUID,
    workflow_id: UUID,
    bounds: tuple[UUID, UUID],
    per_second: int,
    created_by: str,
) -> Replay:
    """Keep a replay, of deliveries with ids between the bounds."""
    text = msgspec.json.encode(wanted).decode()
    row = (replay_id, workspace_id, workflow_id, text, *bounds, per_second, created_by)
    return Replay(*(await connection.fetchrow(_SQL["add_replay"], *row) or ()))


async def get_replay(connection: Connection, workspace_id: UUID, replay_id: UUID) -> Replay | None:
    """A replay of a workspace."""
    record = await connection.fetchrow(_SQL["get_replay"], workspace_id, replay_id)
    return None if record is None else Replay(*record)


async def take_replay(connection: Connection, *, besides: Sequence[UUID] = ()) -> Replay | None:
    """Take a replay that is due until the transaction ends, of none of the workspaces ``besides``; None without one."""
    record = await connection.fetchrow(_SQL["take_replay"], list(besides))
    return None if record is None else Replay(*tuple(record.values())[:-1])


async def move_replay(
    connection: Connection, replay_id: UUID, above: UUID | None, *, matched: int, done: int, failed: int, pause: float
) -> None:
    """Note what a batch did, in its own transaction; without ``above`` the replay is complete.

    ``pause``: seconds after which the next batch is due.
    """
    await connection.execute(_SQL["move_replay"], replay_id, above, matched, done, failed, pause)


async def remove_old(connection: Connection, days: int, limit: int) -> int:
    """Remove requests, and completed replays, that are older than so many days; gives how many requests."""
    await connection.execute(_SQL["delete_old_replays"], days, limit)
    return changed(await connection.execute(_SQL["delete_old"], days, limit))


async def remove_of(connection: Connection, workflow_id: UUID, limit: int) -> int:
    """Remove requests of a deleted workflow; gives how many."""
    return changed(await connection.execute(_SQL["delete_of"], workflow_id, limit))


def _told(records: Sequence[asyncpg.Record]) -> tuple[list[asyncpg.Record], UUID | None]:
    """The rows, and the bound of what was looked at if there may be more."""
    found = [record for record in records if not record["seen"]]
    return found, next((record["id"] for record in records if record["seen"]), None)
