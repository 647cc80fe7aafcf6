"""Whole schedulers, as they run: two of them beside a worker that takes its messages from the broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import redis

from scheduler.main import Scheduler
from shared.db import open_pool
from tests.api_client import config
from tests.duties import (
    LEASE,
    add_incarnation,
    add_run,
    add_workflow,
    add_workspace,
    ago,
    flood,
    mark_epoch,
    queued_references,
    running,
)
from tests.engine import eventually, graph, workflow
from worker.main import Worker


@asynccontextmanager
async def schedulers(count: int, database_url: str, broker_url: str, **changes: Any) -> AsyncIterator[list[Scheduler]]:
    """So many schedulers on one database."""
    settings = config(database_url, broker_url, **changes)
    async with AsyncExitStack() as stack:
        started = []
        for _ in range(count):
            pool = await open_pool(settings.database_url, size=settings.scheduler_pool, name="scheduler")
            stack.push_async_callback(pool.close)
            started.append(await Scheduler.start(settings, pool))
            stack.push_async_callback(started[-1].stop)
        yield started


async def unready(scheduler: Scheduler) -> dict[str, str]:
    """What readiness reports as missing."""
    results = {name: await check() for name, check in scheduler.checks().items()}
    return {name: result for name, result in results.items() if result is not None}


async def test_it_is_ready_when_every_duty_has_been_done(database_url, broker_url):
    """Right after the start nothing but duties can be missing; soon all checks pass."""
    async with schedulers(1, database_url, broker_url) as (one,):
        assert set(await unready(one)) <= {"duties"}

        async def ready() -> bool:
            return not await unready(one)

        await eventually(ready)


async def test_too_few_partitions_are_told(database, database_url, broker_url):
    """A scheduler that may not make partitions is not ready when they run out, and says so."""
    day = await database.fetchval("SELECT to_char((now() AT TIME ZONE 'UTC')::date + 2, 'YYYYMMDD')")
    await database.execute(f"DROP TABLE runs_{day}")
    await database.execute("DROP FUNCTION make_partitions")
    async with schedulers(1, database_url, broker_url) as (one,):

        async def told() -> bool:
            return list(await unready(one)) == ["partitions"]

        await eventually(told)
        assert (await unready(one))["partitions"].startswith("Partitions exist for 1 days ahead; 2")


async def test_everything_that_waits_is_moved(database, database_url, broker_url):
    """Timers, the backlog, lost messages, dead workers' steps and slots all end up in the broker, each once."""
    flow = await add_workflow(database)
    mark_epoch(broker_url)
    wanted = {
        await add_run(database, flow, {"status": "waiting", "due_at": await ago(database, -0.2)}),
        await add_run(database, flow, {"sent_at": await ago(database, 60), "sends": 1}),
        await add_run(database, flow, running(await add_incarnation(database, dead=1))),
        *await flood(database, flow, 50),
    }
    slot = (await ago(database, 2)).replace(microsecond=0)
    await add_workflow(database, schedule_type="daily", next_run_at=slot)
    async with schedulers(2, database_url, broker_url):
        await eventually(lambda: len(queued_references(broker_url)) == 54)

        async def settled() -> bool:
            return not await database.fetchval("SELECT count(*) FROM open_steps WHERE sent_at IS NULL")

        await eventually(settled)
    wanted.add(await database.fetchval("SELECT run_id FROM schedule_slots"))
    assert sorted(reference.run_id for _, reference in queued_references(broker_url)) == sorted(wanted)


async def test_a_silent_worker_is_judged_after_a_lease_and_soon(database, database_url, broker_url):
    """A new scheduler first watches for a lease; then the silent worker's step comes back within seconds."""
    flow = await add_workflow(database)
    silent = await add_incarnation(database, silent=LEASE)
    await add_run(database, flow, running(silent))
    loop = asyncio.get_running_loop()
    starting = loop.time()  # the first of them watches before the second has started
    async with schedulers(2, database_url, broker_url, lease_seconds=2.0):
        started = loop.time()
        await eventually(lambda: len(queued_references(broker_url)) == 1)
        assert starting + 2.0 <= loop.time() < started + 5.0


async def test_duties_go_on_after_the_database_was_away(database, database_url, broker_url):
    """Connections that are cut stop no duty for long."""
    flow = await add_workflow(database)
    mark_epoch(broker_url)
    async with schedulers(1, database_url, broker_url):
        killed = await database.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'edgewise-scheduler'"
        )
        assert killed >= 1
        await flood(database, flow, 10)
        await eventually(lambda: len(queued_references(broker_url)) == 10)


async def test_runs_complete_though_the_broker_is_emptied_in_the_middle(database, database_url, broker_url):
    """FLUSHALL while two hundred runs are on their way: all of them complete, whatever messages were lost."""
    delay, mapper = {"component": "delay", "duration": 1}, {"component": "data_mapper", "mapping": {}}
    flow = await workflow(database, *graph("t>a a>b b>c", a=delay, b=mapper, c=delay))
    settings = config(database_url, broker_url, worker_slots=16, worker_threads=2)
    async with schedulers(2, database_url, broker_url):
        pool = await open_pool(database_url, size=4, name="worker")
        worker = await Worker.start(settings, pool)
        ids = await flood(database, flow.workflow_id, 200)
        with redis.Redis.from_url(broker_url) as client:

            async def under_way() -> bool:
                return await database.fetchval("SELECT count(*) FROM steps WHERE node_id = 'b'") > 100

            await eventually(under_way)
            client.flushall()

            async def all_done() -> bool:
                return await database.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == len(ids)

            await eventually(all_done, 30)
        await worker.stop()
        await pool.close()


async def test_a_burst_of_schedules_holds_up_no_timer(database, database_url, broker_url):
    """A wait that is over goes on while thousands of schedules are being fired, by one scheduler alone."""
    workspace = await add_workspace(database)
    await database.execute(
        "INSERT INTO workflows (id, workspace_id, name, is_active, schedule_type, schedule_value, version,"
        " trigger_node, trigger_component, next_run_at) SELECT gen_random_uuid(), $1, 'w', true, 'interval',"
        " '1 hour', 1, 't', 'manual_trigger', date_trunc('second', now()) FROM generate_series(1, 5000)",
        workspace,
    )
    flow = await add_workflow(database)
    wait = {"status": "waiting", "waits": "timer", "due_at": await ago(database, -0.5), "claim_first": False}
    run_id = await add_run(database, flow, wait)
    async with schedulers(1, database_url, broker_url):

        async def all_fired() -> bool:
            return not await database.fetchval("SELECT count(*) FROM workflows WHERE next_run_at <= now()")

        await eventually(all_fired, seconds=60)
    sent_at = await database.fetchval("SELECT sent_at FROM open_steps WHERE run_id = $1", run_id)
    last = await database.fetchval("SELECT max(created_at) FROM schedule_slots")
    assert wait["due_at"] < last
    assert sent_at is not None
    assert sent_at < last
