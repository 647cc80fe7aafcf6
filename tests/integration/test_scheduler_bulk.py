"""Actions over many runs: worked off in batches by any number of schedulers, each run once, whoever dies when."""

import asyncio
import json
from collections import Counter
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from scheduler import bulk as duty
from shared.store import bulk, runs_scan
from shared.store.bulk import STATUSES, Filter
from shared.store.open_runs import RunLimits
from shared.store.runs_read import FIRST_ID, LAST_ID
from tests.duties import add_incarnation, add_run, add_workflow, ago, exhaust, flood, mint, pair, running


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many batches for few runs."""
    monkeypatch.setattr(runs_scan, "WINDOW", 13)
    monkeypatch.setattr(duty, "_MADE", 5)
    monkeypatch.setattr(duty, "_CANCELLED", 5)


async def begin(database: asyncpg.Connection, flow: UUID, action: str, **fields: Any) -> UUID:
    """An action over the runs of a workflow's workspace."""
    workspace_id = await database.fetchval("SELECT workspace_id FROM workflows WHERE id = $1", flow)
    values = {
        "given": {},
        "low": FIRST_ID,
        "high": LAST_ID,
        "workflow_id": None,
        "statuses": STATUSES[action],
        **fields,
    }
    bulk_id = mint.uuid()
    await bulk.add(database, bulk_id, workspace_id, action, Filter(**values), created_by="user-1")
    return bulk_id


async def ended(database: asyncpg.Connection, flow: UUID, count: int, status: str = "failed") -> list[UUID]:
    """Runs that are over, each with a payload of its own."""
    over = {"status": status, "outcome": status, "completed_at": await ago(database, 1)}
    return [await add_run(database, flow, **over, trigger_payload=json.dumps({"n": n})) for n in range(count)]


async def told(database: asyncpg.Connection, bulk_id: UUID) -> tuple[Any, ...]:
    """How far an action is: matched, done, failed, and whether it is complete."""
    row = await database.fetchrow(
        "SELECT matched, done, failed, completed_at IS NOT NULL FROM bulk_actions WHERE id = $1", bulk_id
    )
    return tuple(row)


async def test_ended_runs_run_again_once_each(database, database_url, broker_url):
    """Two schedulers share the work; every run that the filter lets through is made again once, with its payload."""
    flow, other = await add_workflow(database), await add_workflow(database)
    failed = await ended(database, flow, 40)
    await ended(database, flow, 3, "completed")
    await ended(database, other, 3)
    await flood(database, flow, 4)
    bulk_id = await begin(database, flow, "rerun", statuses=("failed",))
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.bulk.work, two.bulk.work)
        heard = one.heard.steps() + two.heard.steps()
    made = await database.fetch("SELECT id, rerun_of, trigger_payload, started_by FROM runs WHERE rerun_of IS NOT NULL")
    assert Counter(row["rerun_of"] for row in made) == Counter(failed)
    payloads = dict(await database.fetch("SELECT id, trigger_payload FROM runs WHERE rerun_of IS NULL"))
    assert all(row["trigger_payload"] == payloads[row["rerun_of"]] for row in made)
    assert {row["started_by"] for row in made} == {"user-1"}
    assert {run_id for run_id, _ in heard} == {row["id"] for row in made}
    assert await told(database, bulk_id) == (40, 40, 0, True)


async def test_open_runs_are_cancelled(database, database_url, broker_url):
    """Those of the workspace, or of the workflow alone that the filter names; what is in flight is stopped."""
    flow, other = await add_workflow(database), await add_workflow(database)
    workspace_id = await database.fetchval("SELECT workspace_id FROM workflows WHERE id = $1", flow)
    sibling = await add_workflow(database, workspace_id)
    await flood(database, flow, 30)
    for each in (flow, sibling):
        await add_run(database, each, {}, running(await add_incarnation(database)), status="running")
    await flood(database, other, 2)
    await ended(database, flow, 2)
    narrow = await begin(database, flow, "cancel", workflow_id=sibling, statuses=("running",))
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.bulk.work, two.bulk.work)
        assert await told(database, narrow) == (1, 1, 0, True)
        assert await database.fetchval("SELECT count(*) FROM runs WHERE cancel_requested_at IS NOT NULL") == 1
        wide = await begin(database, flow, "cancel")
        await exhaust(one.bulk.work, two.bulk.work)
    rows = await database.fetch("SELECT workflow_id, status, count(*) FROM runs GROUP BY 1, 2")
    assert {tuple(row) for row in rows} == {
        (flow, "cancelled", 30),
        (flow, "running", 1),
        (flow, "failed", 2),
        (sibling, "running", 1),
        (other, "pending", 2),
    }
    assert await database.fetchval("SELECT count(*) FROM open_steps WHERE stop") == 2
    assert (await told(database, wide))[2:] == (0, True)


async def test_a_scheduler_that_dies_in_the_middle_has_done_nothing(database, database_url, broker_url, monkeypatch):
    """Runs and progress are one transaction: after a failure before its commit, all is made once by the next."""
    flow = await add_workflow(database)
    failed = await ended(database, flow, 12)
    bulk_id = await begin(database, flow, "rerun")
    keep = bulk.move_on
    deaths = iter([True, False, True, False, False])

    async def die(*arguments: Any) -> None:
        await keep(*arguments)
        if next(deaths, False):
            raise ConnectionResetError

    monkeypatch.setattr(bulk, "move_on", die)
    async with pair(database_url, broker_url) as (one, _):
        for _ in range(2):
            with pytest.raises(ConnectionResetError):
                await one.bulk.work()
            assert await one.bulk.work()
        await exhaust(one.bulk.work)
    made = await database.fetch("SELECT rerun_of FROM runs WHERE rerun_of IS NOT NULL")
    assert Counter(row["rerun_of"] for row in made) == Counter(failed)
    assert await told(database, bulk_id) == (12, 12, 0, True)


async def test_runs_of_an_inactive_workflow_fail(database, database_url, broker_url):
    """They are counted, and the others run again."""
    flow = await add_workflow(database)
    workspace_id = await database.fetchval("SELECT workspace_id FROM workflows WHERE id = $1", flow)
    asleep = await add_workflow(database, workspace_id, is_active=False)
    await ended(database, flow, 3)
    await ended(database, asleep, 4)
    bulk_id = await begin(database, flow, "rerun")
    async with pair(database_url, broker_url) as (one, _):
        await exhaust(one.bulk.work)
    assert await told(database, bulk_id) == (7, 3, 4, True)


async def test_a_full_backlog_holds_reruns_back(database, database_url, broker_url):
    """Past the limit of open runs nothing is made; cancelling goes on."""
    flow = await add_workflow(database)
    await flood(database, flow, 5)
    await ended(database, flow, 5)
    bulk_id = await begin(database, flow, "rerun")
    async with pair(database_url, broker_url) as (one, _):
        one.bulk._limits = RunLimits(5, 5)
        assert not await one.bulk.work()
        assert await told(database, bulk_id) == (0, 0, 0, False)
        one.bulk._limits = RunLimits(6, 6)
        assert await one.bulk.work()
    assert (await told(database, bulk_id))[:2] == (5, 5)


async def test_a_full_workspace_holds_up_no_other(database, database_url, broker_url):
    """Of one that is full nothing is made again until there is room; others go on, and so does cancelling."""
    full, other = await add_workflow(database), await add_workflow(database)
    await flood(database, full, 5)
    for flow in (full, other):
        await ended(database, flow, 2)
    held, free = await begin(database, full, "rerun"), await begin(database, other, "rerun")
    async with pair(database_url, broker_url) as (one, _):
        one.bulk._limits = RunLimits(100, 5)
        await exhaust(one.bulk.work)
        assert await told(database, held) == (0, 0, 0, False)
        assert (await told(database, free))[::3] == (2, True)
        stop = await begin(database, full, "cancel")
        await exhaust(one.bulk.work)
        assert (await told(database, stop))[3]
        await exhaust(one.bulk.work)
    assert (await told(database, held))[1] > 0


async def test_two_actions_go_on_side_by_side(database, database_url, broker_url):
    """While one scheduler holds an action, another takes the next, and none waits."""
    flow = await add_workflow(database)
    await flood(database, flow, 3)
    first = await begin(database, flow, "cancel")
    async with pair(database_url, broker_url) as (one, _), one.pool.acquire() as held, held.transaction():
        taken = await bulk.take(held)
        assert taken is not None
        assert taken.id == first
        async with asyncio.timeout(5):
            assert not await one.bulk.work()
            second = await begin(database, flow, "cancel")
            await exhaust(one.bulk.work)
    assert await told(database, second) == (3, 3, 0, True)
    assert await told(database, first) == (0, 0, 0, False)
