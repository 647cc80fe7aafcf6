"""Builders for tests of the scheduler: workflows, runs and steps as rows, and a pair of schedulers that race."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import dramatiq
import redis

from scheduler.bulk import BulkActions
from scheduler.housekeeping import Housekeeping
from scheduler.queued import Queued
from scheduler.rescue import Contact, Rescue
from scheduler.schedules import Schedules
from scheduler.steps import Steps
from shared.announcer import Announcer
from shared.broker import EPOCH_KEY, NAMESPACE, decode_references
from shared.db import Clock, open_pool
from shared.ids import Mint
from shared.ingest import Ingest
from shared.lanes import LANES, Reference
from shared.store.open_runs import RunLimits

mint = Mint()
#: Seconds of a lease in these tests; nothing waits for it, heartbeats are written in the past.
LEASE = 6.0


@dataclass
class Heard(Announcer):
    """An announcer that keeps what it is given, by lane."""

    bells: list[tuple[str, Reference]] = field(default_factory=list)

    def announce(self, doorbells: Sequence[Any]) -> None:
        self.bells.extend((bell.lane.queue, bell.reference) for bell in doorbells)

    def close(self) -> None:
        """Nothing was opened."""

    def steps(self) -> list[tuple[UUID, str]]:
        """Which steps were announced."""
        return [(reference.run_id, reference.node_id) for _, reference in self.bells]


class Replica:
    """The duties of one scheduler, with connections of its own; a test calls them."""

    def __init__(self, pool: asyncpg.Pool, broker_url: str, clock: Clock, window: int) -> None:
        self.pool = pool
        self.heard = Heard()
        self.queued = Queued(broker_url)
        self.ingest = Ingest(pool, self.heard, clock, window=window)
        self.steps = Steps(pool, self.heard, self.queued, window=window)
        self.rescue = Rescue(pool, Trusting(), lease=LEASE)
        self.schedules = Schedules(pool, self.ingest)
        self.bulk = BulkActions(pool, self.ingest, RunLimits(100_000, 100_000))
        self.housekeeping = Housekeeping(pool)

    @classmethod
    @asynccontextmanager
    async def running(cls, database_url: str, broker_url: str, *, window: int = 2000) -> AsyncIterator["Replica"]:
        """A replica, closed in the end."""
        pool = await open_pool(database_url, size=4, name="test")
        clock = Clock()
        async with pool.acquire() as connection:
            await clock.sync(connection)
        replica = cls(pool, broker_url, clock, window)
        try:
            yield replica
        finally:
            await replica.ingest.close()
            replica.queued.close()
            await pool.close()


class Trusting(Contact):
    """A contact that was never broken."""

    def __init__(self) -> None:
        super().__init__(LEASE)

    def may_judge(self, seen: Any) -> bool:
        return True


@asynccontextmanager
async def pair(database_url: str, broker_url: str, *, window: int = 2000) -> AsyncIterator[tuple[Replica, Replica]]:
    """Two replicas on one database."""
    async with (
        Replica.running(database_url, broker_url, window=window) as one,
        Replica.running(database_url, broker_url, window=window) as two,
    ):
        yield one, two


async def exhaust(*works: Callable[[], Awaitable[bool]]) -> None:
    """Call duties at the same time, each until it says that there is no more."""

    async def go_on(work: Callable[[], Awaitable[bool]]) -> None:
        while await work():
            pass

    await asyncio.gather(*(go_on(work) for work in works))


async def add_workspace(database: asyncpg.Connection) -> UUID:
    """A workspace."""
    workspace_id = mint.uuid()
    await database.execute("INSERT INTO workspaces (id, claim) VALUES ($1, $2)", workspace_id, str(workspace_id))
    return workspace_id


async def add_workflow(database: asyncpg.Connection, workspace_id: UUID | None = None, **columns: Any) -> UUID:
    """A workflow with one version; ``columns`` differ from a manual one's."""
    workflow_id = columns.pop("id", None) or mint.uuid()
    values: dict[str, Any] = {
        "id": workflow_id,
        "workspace_id": workspace_id or await add_workspace(database),
        "name": "w",
        "is_active": True,
        "schedule_type": "manual",
        "version": 1,
        "trigger_node": "t",
        "trigger_component": "manual_trigger",
        **columns,
    }
    await insert(database, "workflows", [values])
    await insert(
        database,
        "workflow_versions",
        [
            {
                **dict.fromkeys(("nodes", "edges"), "[]"),
                **dict.fromkeys(("settings", "plan"), "{}"),
                "workspace_id": values["workspace_id"],
                "workflow_id": workflow_id,
                "version": 1,
                "plan_format": 1,
                "created_by": "test",
            }
        ],
    )
    return workflow_id


async def add_run(database: asyncpg.Connection, workflow_id: UUID, *steps: Mapping[str, Any], **columns: Any) -> UUID:
    """A run with open steps; each differs from a ready one by its columns."""
    workspace_id = await database.fetchval("SELECT workspace_id FROM workflows WHERE id = $1", workflow_id)
    run = {
        "id": mint.uuid(),
        "workspace_id": workspace_id,
        "workflow_id": workflow_id,
        "version": 1,
        "priority": 1,
        "trigger_type": "manual",
        "trigger_payload": "{}",
        "open_steps": len(steps),
        **columns,
    }
    await insert(database, "runs", [run])
    common = {
        "run_id": run["id"],
        "workspace_id": workspace_id,
        "workflow_id": workflow_id,
        "priority": run["priority"],
    }
    rows = [{"node_id": f"n{number}", "status": "ready", **common, **step} for number, step in enumerate(steps)]
    for row in rows:
        await insert(database, "open_steps", [row])
    return run["id"]  # type: ignore[return-value]


async def flood(
    database: asyncpg.Connection, workflow_id: UUID, count: int, *, payload: str = "{}", **columns: Any
) -> list[UUID]:
    """Many runs with one step each, as the ingest leaves them when the window is full."""
    workspace_id = await database.fetchval("SELECT workspace_id FROM workflows WHERE id = $1", workflow_id)
    ids = [mint.uuid() for _ in range(count)]
    await database.execute(
        "INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, open_steps)"
        " SELECT id, $2, $3, 1, 1, 'manual', $4, 1 FROM unnest($1::uuid[]) AS i (id)",
        ids,
        workspace_id,
        workflow_id,
        payload,
    )
    step = {"priority": 1, "status": "ready", "node_id": "t", "claim_first": False, **columns}
    names = list(step)
    await database.execute(
        f"INSERT INTO open_steps (run_id, workspace_id, workflow_id, {', '.join(names)})"
        f" SELECT id, $2, $3, {', '.join(f'${number}' for number in range(4, 4 + len(names)))}"
        " FROM unnest($1::uuid[]) AS i (id)",
        ids,
        workspace_id,
        workflow_id,
        *step.values(),
    )
    return ids


async def insert(database: asyncpg.Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows by their columns."""
    for row in rows:
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await database.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({places})", *row.values())


async def add_incarnation(database: asyncpg.Connection, *, silent: float = 0.0, dead: float | None = None) -> UUID:
    """A worker that was last heard of ``silent`` seconds ago, and died ``dead`` seconds ago if that is given."""
    incarnation_id = mint.uuid()
    await database.execute(
        "INSERT INTO incarnations (id, host, pid, heartbeat_at, dead_at)"
        " VALUES ($1, 'h', 1, now() - $2 * interval '1 second', now() - $3 * interval '1 second')",
        incarnation_id,
        silent,
        dead,
    )
    return incarnation_id


def running(incarnation_id: UUID, **columns: Any) -> dict[str, Any]:
    """A step that an incarnation holds."""
    return {"status": "running", "claim_id": mint.uuid(), "incarnation_id": incarnation_id, **columns}


async def ago(database: asyncpg.Connection, seconds: float) -> datetime:
    """A moment on Postgres's clock."""
    moment: datetime = await database.fetchval("SELECT now() - $1 * interval '1 second'", seconds)
    return moment


def mark_epoch(broker_url: str) -> None:
    """The broker was not emptied: no scheduler sends everything again when it first looks."""
    with redis.Redis.from_url(broker_url) as client:
        client.set(EPOCH_KEY, "1")


def queued_references(broker_url: str) -> list[tuple[str, Reference]]:
    """Every reference that is in the broker, by lane, oldest first."""
    found = []
    with redis.Redis.from_url(broker_url) as client:
        for lane in LANES.values():
            for message_id in client.lrange(f"{NAMESPACE}:{lane.queue}", 0, -1):  # type: ignore[union-attr]
                body = client.hget(f"{NAMESPACE}:{lane.queue}.msgs", message_id)
                message: dramatiq.Message[Any] = dramatiq.Message.decode(body)  # type: ignore[arg-type]
                found.extend((lane.queue, reference) for reference in decode_references(message.args[0]))
    return found


def payload_of(record: asyncpg.Record) -> Any:
    """What a run was triggered with."""
    return json.loads(record["trigger_payload"])
