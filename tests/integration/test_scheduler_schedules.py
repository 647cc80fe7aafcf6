"""Workflows whose slot has come; two schedulers at a time."""

import asyncio
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from scheduler import schedules
from shared.metrics import SCHEDULE_SLOTS
from shared.schedule import Schedule, next_slot, read_policy
from tests.duties import add_workflow, add_workspace, ago, exhaust, mint, pair

INTERVAL = {"schedule_type": "interval", "schedule_value": "1 hour"}


async def slot_ago(database: asyncpg.Connection, seconds: float) -> datetime:
    """A slot, which is a whole second."""
    return (await ago(database, seconds)).replace(microsecond=0)


async def test_a_slot_makes_one_run_however_many_schedulers(database, database_url, broker_url):
    """Each due workflow gets one run that knows its slot, and its next slot from this one, not from now."""
    slot = await slot_ago(database, 5)
    workspace = await add_workspace(database)
    flows = [await add_workflow(database, workspace, next_run_at=slot, **INTERVAL) for _ in range(40)]
    async with pair(database_url, broker_url) as (one, two):
        await asyncio.gather(*(each.schedules.work() for each in (one, two, one, two)))
        runs = await database.fetch("SELECT * FROM runs")
        assert sorted(run["workflow_id"] for run in runs) == sorted(flows)
        assert sorted(run["id"] for run in runs) == sorted(
            run_id for run_id, _ in one.heard.steps() + two.heard.steps()
        )
    payload = {"scheduled_at": slot.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    assert {(run["trigger_type"], json.loads(run["trigger_payload"]) == payload) for run in runs} == {
        ("scheduled", True)
    }
    rows = await database.fetch("SELECT DISTINCT next_run_at FROM workflows")
    assert [row["next_run_at"] for row in rows] == [slot + timedelta(hours=1)]
    slots = await database.fetch(
        "SELECT s.workflow_id, s.slot, r.workflow_id AS of FROM schedule_slots s JOIN runs r ON r.id = s.run_id"
    )
    assert Counter(row["slot"] for row in slots) == {slot: 40}
    assert all(row["workflow_id"] == row["of"] for row in slots)


async def test_missed_slots_make_a_single_run_and_the_grid_goes_on(database, database_url, broker_url):
    """After an outage the newest missed slot is fired, once, and the next one lies on the old grid."""
    slot = await slot_ago(database, 3600 * 5 + 1800)
    flow = await add_workflow(database, next_run_at=slot, **INTERVAL)
    before = SCHEDULE_SLOTS.labels("missed")._value.get()
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.schedules.work, two.schedules.work)
    assert await database.fetchval("SELECT next_run_at FROM workflows WHERE id = $1", flow) == slot + timedelta(hours=6)
    fired = await database.fetch("SELECT slot FROM schedule_slots")
    assert [row["slot"] for row in fired] == [slot + timedelta(hours=5)]
    assert await database.fetchval("SELECT count(*) FROM runs") == 1
    assert SCHEDULE_SLOTS.labels("missed")._value.get() - before == 5


@pytest.mark.parametrize("due", [1, 10])
async def test_all_missed_slots_make_a_run_each(database, database_url, broker_url, due):
    """With `all` each missed slot makes its run, however many schedulers work and how little each does at a time."""
    slot = await slot_ago(database, 300 * 60 + 30)
    columns = {"schedule_type": "interval", "schedule_value": "1 minute", "settings": '{"missed_runs":"all"}'}
    flows = [await add_workflow(database, next_run_at=slot, **columns) for _ in range(due)]
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.schedules.work, two.schedules.work)
    grid = [slot + timedelta(minutes=n) for n in range(301)]
    for flow in flows:
        rows = await database.fetch(
            "SELECT s.slot FROM runs r JOIN schedule_slots s ON s.run_id = r.id WHERE r.workflow_id = $1 ORDER BY 1",
            flow,
        )
        assert [row["slot"] for row in rows] == grid
    assert await database.fetchval("SELECT DISTINCT next_run_at FROM workflows") == slot + timedelta(minutes=301)


async def test_at_most_a_thousand_missed_slots_are_made_up_for(database, database_url, broker_url):
    """Of more than a thousand missed slots the newest thousand are run, and the rest counts as missed."""
    slot = await slot_ago(database, 86_400 * 10)
    columns = {"schedule_type": "cron", "schedule_value": "*/5 * * * *", "settings": '{"missed_runs":"all"}'}
    await add_workflow(database, next_run_at=slot, **columns)
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.schedules.work, two.schedules.work)
    row = await database.fetchrow("SELECT count(*), min(slot), max(slot) FROM schedule_slots")
    assert row["count"] == 1000
    assert row["max"] - row["min"] == timedelta(minutes=5 * 999)
    assert await database.fetchval("SELECT next_run_at FROM workflows") == row["max"] + timedelta(minutes=5)
    assert await database.fetchval("SELECT count(*) FROM runs") == 1000


async def test_missed_slots_are_given_up(database, database_url, broker_url):
    """With `none` what an outage left is not run; what is only a little late is."""
    columns = {**INTERVAL, "settings": '{"missed_runs":"none"}'}
    missed = await add_workflow(database, next_run_at=await slot_ago(database, 62), **columns)
    late = await add_workflow(database, next_run_at=await slot_ago(database, 20), **columns)
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.schedules.work, two.schedules.work)
    assert [row["workflow_id"] for row in await database.fetch("SELECT workflow_id FROM runs")] == [late]
    now = await database.fetchval("SELECT now()")
    assert await database.fetchval("SELECT next_run_at FROM workflows WHERE id = $1", missed) > now


async def test_what_has_just_come_due_goes_before_what_an_outage_left(database, database_url, broker_url):
    """A workflow that makes up for a thousand slots holds up no other."""
    await database.execute(
        "INSERT INTO workflows (id, workspace_id, name, is_active, schedule_type, schedule_value, settings, version,"
        " trigger_node, trigger_component, next_run_at) SELECT gen_random_uuid(), $1, 'w', true, 'interval',"
        " '1 minute', $2, 1, 't', 'manual_trigger', now() - interval '1 day' FROM generate_series(1, 600)",
        await add_workspace(database),
        '{"missed_runs":"all"}',
    )
    now_due = await add_workflow(database, next_run_at=await slot_ago(database, 1), **INTERVAL)
    async with pair(database_url, broker_url) as (one, _):
        assert await one.schedules.work()
    assert await database.fetchval("SELECT count(*) FROM runs WHERE workflow_id = $1", now_due) == 1
    assert await database.fetchval("SELECT count(*) FROM runs") <= 2000


async def test_planning_ends_in_time_and_the_rest_stays_due(database, database_url, broker_url, monkeypatch):
    """However long working out slots takes, what was worked out is fired before Postgres ends the transaction."""
    monkeypatch.setattr("scheduler.schedules._PLANNING", -1.0)
    slot = await slot_ago(database, 3600 * 2000 + 1800)
    columns = {**INTERVAL, "settings": '{"missed_runs":"all"}'}
    flows = [await add_workflow(database, next_run_at=slot, **columns) for _ in range(3)]
    async with pair(database_url, broker_url) as (one, _):
        for turn in range(1, 4):
            assert await one.schedules.work()
            fired = await database.fetch("SELECT workflow_id, count(*) FROM schedule_slots GROUP BY 1")
            assert len(fired) == turn
        await exhaust(one.schedules.work)
    fired = await database.fetch("SELECT workflow_id, count(*) FROM schedule_slots GROUP BY 1")
    assert dict(fired) == dict.fromkeys(flows, 1000)


async def test_a_batch_that_is_rolled_back_is_not_counted(database, database_url, broker_url, monkeypatch):
    """Metrics tell what was committed: what is done again counts once."""
    slot = await slot_ago(database, 5)
    columns = {**INTERVAL, "settings": '{"overlap":"skip"}'}
    flow = await add_workflow(database, next_run_at=slot, **columns)
    skipped = SCHEDULE_SLOTS.labels("skipped")._value.get
    async with pair(database_url, broker_url) as (one, _):
        await one.schedules.work()
        await database.execute("UPDATE workflows SET next_run_at = $2 WHERE id = $1", flow, slot + timedelta(seconds=1))
        before = skipped()
        with monkeypatch.context() as broken:
            broken.setattr("scheduler.schedules._record", _recorded_in_vain)
            with pytest.raises(ConnectionError):
                await one.schedules.work()
        assert skipped() == before
        await one.schedules.work()
    assert skipped() == before + 1


_record = schedules._record


async def _recorded_in_vain(connection, verdicts):
    await _record(connection, verdicts)
    raise ConnectionError("the database went away before the commit")


async def test_jitter_delays_every_slot_by_the_same(database, database_url, broker_url):
    """The run comes later and knows its slot; the slot's row holds the slot itself, and the grid does not drift."""
    settings = '{"jitter":40}'
    flows = [await add_workflow(database, settings=settings, **INTERVAL) for _ in range(8)]
    slot = await slot_ago(database, 45)
    delays = {flow: read_policy(settings).delay(flow) for flow in flows}
    assert len(set(delays.values())) > 1
    for flow, delay in delays.items():
        await database.execute("UPDATE workflows SET next_run_at = $2 WHERE id = $1", flow, slot + delay)
    async with pair(database_url, broker_url) as (one, _):
        await exhaust(one.schedules.work)
    assert await database.fetchval("SELECT count(*) FROM schedule_slots WHERE slot = $1", slot) == 8
    for flow, delay in delays.items():
        following = await database.fetchval("SELECT next_run_at FROM workflows WHERE id = $1", flow)
        assert following == slot + timedelta(hours=1) + delay
    payload = await database.fetchval("SELECT DISTINCT trigger_payload FROM runs")
    assert json.loads(payload) == {"scheduled_at": slot.strftime("%Y-%m-%dT%H:%M:%S.%fZ")}


async def test_a_slot_waits_for_its_delay(database, database_url, broker_url):
    """Between a slot and its delayed run nothing happens."""
    policy = read_policy('{"jitter":3600}')
    flow = next(each for each in iter(mint.uuid, None) if policy.delay(each) > timedelta(seconds=60))
    await add_workflow(database, id=flow, settings='{"jitter":3600}', **INTERVAL)
    delay = policy.delay(flow)
    slot = await slot_ago(database, 5)
    await database.execute("UPDATE workflows SET next_run_at = $1", slot + delay)
    async with pair(database_url, broker_url) as (one, _):
        assert not await one.schedules.work()
    assert await database.fetchval("SELECT count(*) FROM runs") == 0


async def test_a_slot_that_was_fired_is_not_fired_again(database, database_url, broker_url):
    """When the clock of Postgres was set back and the workflow saved again, its old slot makes no second run."""
    slot = await slot_ago(database, 5)
    flow = await add_workflow(database, next_run_at=slot, **INTERVAL)
    async with pair(database_url, broker_url) as (one, _):
        await one.schedules.work()
        await database.execute("UPDATE workflows SET next_run_at = $1", slot)
        await one.schedules.work()
    assert await database.fetchval("SELECT count(*) FROM runs WHERE workflow_id = $1", flow) == 1
    assert await database.fetchval("SELECT next_run_at FROM workflows") == slot + timedelta(hours=1)


async def test_what_is_not_due_inactive_or_deleted_is_left_alone(database, database_url, broker_url):
    """Postgres's clock and the workflow's own state decide."""
    slot = await slot_ago(database, 5)
    await add_workflow(database, next_run_at=slot + timedelta(hours=1), **INTERVAL)
    await add_workflow(database, next_run_at=slot, is_active=False, **INTERVAL)
    await add_workflow(database, next_run_at=slot, deleted_at=slot, **INTERVAL)
    async with pair(database_url, broker_url) as (one, _):
        await exhaust(one.schedules.work)
    assert await database.fetchval("SELECT count(*) FROM runs") == 0


async def test_zone_and_clock_change_rules_are_followed(database, database_url, broker_url):
    """The next slot is reckoned in the workflow's own zone, by its own rules."""
    settings = {"dst_gap": "skip", "dst_fold": "last", "priority": "high"}
    schedule = Schedule("daily", "02:30", "Europe/Berlin", "skip", "last")
    slot = next_slot(schedule, datetime(2026, 3, 1, tzinfo=UTC))
    flow = await add_workflow(
        database,
        schedule_type="daily",
        schedule_value="02:30",
        timezone="Europe/Berlin",
        settings=json.dumps(settings),
        next_run_at=slot,
    )
    async with pair(database_url, broker_url) as (one, _):
        await one.schedules.work()
    now = await database.fetchval("SELECT now()")
    following = await database.fetchval("SELECT next_run_at FROM workflows WHERE id = $1", flow)
    assert following > now
    assert following == next_slot(schedule, await database.fetchval("SELECT slot FROM schedule_slots"))


@pytest.mark.parametrize("columns", [{"timezone": "Mars/Olympus"}, {"settings": "{"}, {"schedule_value": "5 parsecs"}])
async def test_a_schedule_that_cannot_be_read_stops_no_other(database, database_url, broker_url, columns):
    """A workflow whose schedule has become unreadable is switched off; what is due beside it is fired."""
    slot = await slot_ago(database, 5)
    bad = await add_workflow(database, next_run_at=slot, **{**INTERVAL, **columns})
    good = await add_workflow(database, next_run_at=slot, **INTERVAL)
    async with pair(database_url, broker_url) as (one, _):
        await one.schedules.work()
    assert [row["workflow_id"] for row in await database.fetch("SELECT workflow_id FROM runs")] == [good]
    assert await database.fetchval("SELECT next_run_at FROM workflows WHERE id = $1", bad) is None


async def test_old_slots_are_dropped_on_the_way(database, database_url, broker_url):
    """Slots from days ago, which nothing can come back to, go when their workflow is fired; recent ones stay."""
    slot = await slot_ago(database, 5)
    flow = await add_workflow(database, next_run_at=slot, **INTERVAL)
    for days in (1, 3, 30):
        await database.execute(
            "INSERT INTO schedule_slots (workspace_id, workflow_id, slot, run_id, created_at)"
            " SELECT workspace_id, id, $2, $3, $2 FROM workflows WHERE id = $1",
            flow,
            slot - timedelta(days=days),
            mint.uuid(),
        )
    async with pair(database_url, broker_url) as (one, _):
        await one.schedules.work()
    rows = await database.fetch("SELECT slot FROM schedule_slots ORDER BY slot")
    assert [row["slot"] for row in rows] == [slot - timedelta(days=1), slot]


async def test_five_thousand_due_at_once_are_started_within_three_seconds(database, database_url, broker_url):
    """Two schedulers share what is due among many more schedules, and none of it is started twice."""
    workspace = await add_workspace(database)
    slot = await slot_ago(database, 1)
    await database.execute(
        "INSERT INTO workflows (id, workspace_id, name, is_active, schedule_type, schedule_value, version,"
        " trigger_node, trigger_component, next_run_at) SELECT gen_random_uuid(), $1, 'w', true, 'interval',"
        " '1 hour', 1, 't', 'manual_trigger', $2::timestamptz + (n > 5000)::int * interval '1 hour'"
        " FROM generate_series(1, 20000) AS n",
        workspace,
        slot,
    )
    await database.execute("ANALYZE workflows")
    async with pair(database_url, broker_url) as (one, two):
        began = time.perf_counter()
        await exhaust(one.schedules.work, two.schedules.work)
        seconds = time.perf_counter() - began
        assert one.heard.bells
        assert two.heard.bells
    assert await database.fetchval("SELECT count(DISTINCT workflow_id) FROM runs") == 5000
    assert await database.fetchval("SELECT count(*) FROM runs") == 5000
    assert seconds < 3
