"""Partitions, gauges, and what is removed; two schedulers at a time."""

import asyncio

import pytest

from shared.metrics import BACKLOG_OLDEST, BACKLOG_STEPS, OPEN_STEPS
from shared.store.duties import partition_days_ahead
from tests.duties import add_incarnation, add_run, add_workflow, ago, exhaust, flood, insert, mint, pair, running


async def test_missing_partitions_are_made(database, database_url, broker_url):
    """Days that have no partition get one, and two schedulers that do so at once are no trouble."""
    days = await database.fetch(
        "SELECT to_char((now() AT TIME ZONE 'UTC')::date + n, 'YYYYMMDD') AS day FROM generate_series(1, 14) n"
    )
    for row in days[3:]:
        await database.execute(f"DROP TABLE runs_{row['day']}, steps_{row['day']}")
    assert await partition_days_ahead(database) == 3
    async with pair(database_url, broker_url) as (one, two):
        await asyncio.gather(one.housekeeping.partitions(), two.housekeeping.partitions())
    assert await partition_days_ahead(database) == 14


async def test_gauges_tell_the_backlog_and_its_age(database, database_url, broker_url):
    """Open steps are counted by status, ready ones by priority and whether they were sent, and aged."""
    flow = await add_workflow(database)
    await add_run(
        database, flow, {"sent_at": await ago(database, 100)}, {"sent_at": await ago(database, 5)}, priority=0
    )
    await add_run(database, flow, {}, running(await add_incarnation(database)))
    await add_run(database, flow, {"status": "waiting", "due_at": await ago(database, -5)})
    async with pair(database_url, broker_url) as (one, _):
        await one.housekeeping.gauges()
        assert {status: OPEN_STEPS.labels(status)._value.get() for status in ("ready", "running", "waiting")} == {
            "ready": 3,
            "running": 1,
            "waiting": 1,
        }
        assert BACKLOG_STEPS.labels("high", "sent")._value.get() == 2
        assert BACKLOG_STEPS.labels("normal", "unsent")._value.get() == 1
        assert BACKLOG_STEPS.labels("low", "sent")._value.get() == 0
        assert BACKLOG_OLDEST._value.get() == pytest.approx(100, abs=5)
        await database.execute("DELETE FROM open_steps")
        await database.execute("UPDATE runs SET open_steps = 0, status = 'completed', completed_at = now()")
        await one.housekeeping.gauges()
        assert BACKLOG_STEPS.labels("high", "sent")._value.get() == BACKLOG_OLDEST._value.get() == 0


async def test_a_deleted_workflow_leaves_nothing_behind(database, database_url, broker_url):
    """Its open runs are cancelled, then all its rows go, in batches and by two schedulers; others keep theirs."""
    flow, other = await add_workflow(database), await add_workflow(database)
    await flood(database, flow, 1700)
    await flood(database, other, 2)
    run_id = await add_run(database, flow, {})
    workspace_id = await database.fetchval("SELECT workspace_id FROM workflows WHERE id = $1", flow)
    join = {"run_id": run_id, "workspace_id": workspace_id, "arrived": 1, "fired": 1, "node_id": "j", "item": "-"}
    await insert(database, "joins", [join])
    slot = {"workspace_id": workspace_id, "workflow_id": flow, "run_id": run_id}
    for seconds in range(3):
        await insert(database, "schedule_slots", [{**slot, "slot": await ago(database, seconds)}])
    await database.execute(
        "INSERT INTO dedupe (workspace_id, workflow_id, key, run_id)"
        " SELECT $1, $2, n::text, $3 FROM generate_series(1, 1200) AS n",
        workspace_id,
        flow,
        run_id,
    )
    request = {"status": 400, "outcome": "invalid", "request": "{}", "whole": False}
    await insert(database, "deliveries", [{**slot, **request, "id": mint.uuid()}])
    await database.execute("UPDATE workflows SET deleted_at = now(), is_active = false WHERE id = $1", flow)
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.housekeeping.deleted, two.housekeeping.deleted)
        await exhaust(one.housekeeping.deleted)
    for table in ("runs", "open_steps"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 2
    for table in ("steps", "joins", "schedule_slots", "dedupe", "deliveries"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 0
    for table, column in (("workflows", "id"), ("workflow_versions", "workflow_id")):
        assert [row[0] for row in await database.fetch(f"SELECT {column} FROM {table}")] == [other]


async def test_a_deleted_workflow_waits_for_what_is_in_flight(database, database_url, broker_url):
    """While a worker holds a step the workflow stays, and its step is stopped; other deleted ones go meanwhile."""
    flow, other = await add_workflow(database), await add_workflow(database)
    await add_run(database, flow, running(await add_incarnation(database)), status="running")
    await database.execute("UPDATE workflows SET deleted_at = now(), is_active = false")
    async with pair(database_url, broker_url) as (one, _):
        assert not await one.housekeeping.deleted()
        assert [row["id"] for row in await database.fetch("SELECT id FROM workflows")] == [flow]
        assert await database.fetchval("SELECT stop FROM open_steps")
        await database.execute("UPDATE incarnations SET dead_at = now()")
        await exhaust(one.rescue.work)
        await exhaust(one.housekeeping.deleted)
    assert await database.fetchval("SELECT count(*) FROM workflows") == 0
    assert other != flow


async def test_join_counts_go_with_the_end_of_their_run(database, database_url, broker_url):
    """Those of runs that go on stay."""
    flow = await add_workflow(database)
    over = await add_run(database, flow, status="completed", completed_at=await ago(database, 1))
    goes_on = await add_run(database, flow, {})
    for run_id in (over, goes_on):
        await database.execute(
            "INSERT INTO joins (run_id, workspace_id, arrived, fired, node_id, item)"
            " SELECT id, workspace_id, 1, 1, 'j', '-' FROM runs WHERE id = $1",
            run_id,
        )
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.housekeeping.joins, two.housekeeping.joins)
    assert [row["run_id"] for row in await database.fetch("SELECT run_id FROM joins")] == [goes_on]


async def test_kept_answers_go_after_a_day(database, database_url, broker_url):
    """An answer for an Idempotency-Key is good for 24 hours."""
    await add_workflow(database)
    workspace_id = await database.fetchval("SELECT id FROM workspaces")
    row = {
        "workspace_id": workspace_id,
        "method": "POST",
        "route": "/",
        "body_hash": b"0" * 32,
        "status": 200,
        "headers": "{}",
        "body": b"",
    }
    await insert(database, "idempotency", [{**row, "key": "old", "created_at": await ago(database, 25 * 3600)}])
    await insert(database, "idempotency", [{**row, "key": "new", "created_at": await ago(database, 23 * 3600)}])
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.housekeeping.idempotency, two.housekeeping.idempotency)
    assert [kept["key"] for kept in await database.fetch("SELECT key FROM idempotency")] == ["new"]


async def test_dedupe_keys_go_after_a_day(database, database_url, broker_url):
    """Those older than 24 hours are removed; younger ones still find repeats."""
    flow = await add_workflow(database)
    row = {"workspace_id": mint.uuid(), "workflow_id": flow, "run_id": mint.uuid()}
    for key, hours in (("old", 25), ("new", 23)):
        await insert(database, "dedupe", [{**row, "key": key, "created_at": await ago(database, hours * 3600)}])
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.housekeeping.dedupe, two.housekeeping.dedupe)
    assert [kept["key"] for kept in await database.fetch("SELECT key FROM dedupe")] == ["new"]


async def test_incarnations_go_a_day_after_their_death(database, database_url, broker_url):
    """Unless they hold something, which rescue has to give back first."""
    day = 24 * 3600
    flow = await add_workflow(database)
    holds = await add_incarnation(database, dead=2 * day)
    await add_run(database, flow, running(holds))
    kept = {holds, await add_incarnation(database), await add_incarnation(database, dead=day / 2)}
    await add_incarnation(database, dead=2 * day)
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.housekeeping.incarnations, two.housekeeping.incarnations)
    assert {row["id"] for row in await database.fetch("SELECT id FROM incarnations")} == kept
    assert mint.uuid() not in kept
