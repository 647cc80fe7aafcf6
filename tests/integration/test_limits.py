"""Limits of workflows, on a real database: runs under way, runs with one key, time-outs, branches that end first."""

import asyncio
import json

import pytest

from scheduler.limits import Limits
from shared.errors import StepFailedError
from shared.nodes.base import Outcome
from shared.store.cancel import cancel_runs
from tests.engine import Engine, Flow, Gates, eventually, first, graph, registry, start_runs, workflow
from tests.rows import steps_of


async def limit(database, flow: Flow, **settings):
    """Settings of a workflow, as saving it writes them."""
    text = json.dumps(settings)
    await database.execute(
        "UPDATE workflow_versions SET settings = $2, run_timeout = $3 WHERE workflow_id = $1",
        flow.workflow_id,
        text,
        settings.get("run_timeout", 3600),
    )
    await database.execute(
        "UPDATE workflows SET settings = $2, max_concurrent_runs = $3, limited = $4, run_timeout = $5 WHERE id = $1",
        flow.workflow_id,
        text,
        settings.get("max_concurrent_runs"),
        "max_concurrent_runs" in settings or "concurrency_key" in settings,
        settings.get("run_timeout", 3600),
    )


async def statuses(database, run_ids):
    """What became of runs, in their order."""
    return [await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id) for run_id in run_ids]


async def queued(database):
    """How many runs wait for a slot."""
    return await database.fetchval("SELECT count(*) FROM open_steps WHERE waits = 'concurrency'")


async def begin(engine, flow, run_ids):
    """Hand the first steps over, as their messages would."""
    await engine.take(*(first(run_id, flow)._replace(claim=True) for run_id in run_ids))


@pytest.fixture
async def gates():
    """An effect that waits at its gate."""
    gates = Gates()
    gates.shut("a")
    return gates


async def test_no_more_runs_are_under_way_than_allowed(database_url, database, gates):
    """The others wait, holding no worker, and go on in order as slots are freed."""
    flow = await workflow(database, *graph("t>a"), registry(gates))
    await limit(database, flow, max_concurrent_runs=2)
    async with Engine.running(database_url, registry(gates)) as engine:
        run_ids = await start_runs(database, flow, 5)
        await begin(engine, flow, run_ids)
        await eventually(lambda: gates.calls["a"] == 2)
        await eventually(lambda: engine.capacity.used == 2)
        assert await queued(database) == 3
        waiting = [
            record["run_id"] for record in await database.fetch("SELECT run_id FROM open_steps WHERE waits IS NOT NULL")
        ]
        assert await statuses(database, waiting) == ["pending"] * 3
        gates.gates["a"].set()
        await asyncio.gather(*(engine.finish(run_id) for run_id in run_ids))
    assert await statuses(database, run_ids) == ["completed"] * 5
    assert await database.fetchval("SELECT count(*) FROM concurrency_slots") == 0


async def test_runs_that_wait_go_on_in_order(database_url, database, gates):
    """Of those that wait for one slot, the oldest gets it."""
    flow = await workflow(database, *graph("t>a"), registry(gates))
    await limit(database, flow, max_concurrent_runs=1)
    async with Engine.running(database_url, registry(gates)) as engine:
        run_ids = await start_runs(database, flow, 5)
        await begin(engine, flow, run_ids)
        await eventually(lambda: engine.capacity.used == 1)
        waiting = [
            record["run_id"] for record in await database.fetch("SELECT run_id FROM open_steps WHERE waits IS NOT NULL")
        ]
        assert len(waiting) == 4
        gates.gates["a"].set()
        await asyncio.gather(*(engine.finish(run_id) for run_id in run_ids))
    begun = [record["id"] for record in await database.fetch("SELECT id FROM runs ORDER BY started_at")]
    assert begun[1:] == sorted(waiting)


async def test_runs_over_the_limit_are_skipped_if_the_workflow_says_so(database_url, database, gates):
    """Such a run is cancelled and says why; nothing of it runs."""
    flow = await workflow(database, *graph("t>a"), registry(gates))
    await limit(database, flow, max_concurrent_runs=1, on_limit="skip")
    async with Engine.running(database_url, registry(gates)) as engine:
        one, two = await start_runs(database, flow, 2)
        await begin(engine, flow, [one])
        await eventually(lambda: gates.calls["a"] == 1)
        await begin(engine, flow, [two])
        await engine.finish(two)
        gates.gates["a"].set()
        await engine.finish(one)
    assert await statuses(database, [one, two]) == ["completed", "cancelled"]
    message = await database.fetchval("SELECT error_message FROM runs WHERE id = $1", two)
    assert "max_concurrent_runs" in message
    assert gates.calls["a"] == 1


async def test_the_oldest_run_gives_way_if_the_workflow_says_so(database_url, database, gates):
    """It is cancelled, its effect aborted, and the new run takes its place."""
    flow = await workflow(database, *graph("t>a"), registry(gates))
    await limit(database, flow, max_concurrent_runs=2, on_limit="cancel_oldest")
    async with Engine.running(database_url, registry(gates)) as engine:
        run_ids = sorted(await start_runs(database, flow, 3))
        await begin(engine, flow, run_ids[:2])
        await eventually(lambda: gates.calls["a"] == 2)
        await begin(engine, flow, run_ids[2:])
        await engine.finish(run_ids[0], until="cancelled")
        await eventually(lambda: gates.cancelled["a"] == 1)

        async def third() -> bool:
            await engine.follow()
            return gates.calls["a"] == 3

        await eventually(third)
        gates.gates["a"].set()
        await asyncio.gather(*(engine.finish(run_id) for run_id in run_ids[1:]))
    assert await statuses(database, run_ids) == ["cancelled", "completed", "completed"]


async def test_runs_with_one_key_follow_one_another(database_url, database, gates):
    """Runs with other keys pass them."""
    flow = await workflow(database, *graph("t>a"), registry(gates))
    await limit(database, flow, concurrency_key="{{ trigger.customer }}-{{ t.customer }}")
    async with Engine.running(database_url, registry(gates)) as engine:
        run_ids = [(await start_runs(database, flow, 1, json.dumps({"customer": name})))[0] for name in "xxyx"]
        await begin(engine, flow, run_ids)
        await eventually(lambda: gates.calls["a"] == 2)
        await eventually(lambda: engine.capacity.used == 2)
        assert await queued(database) == 2
        keys = await database.fetch("SELECT DISTINCT key FROM concurrency_slots WHERE key LIKE 'key:%' ORDER BY key")
        assert [record["key"] for record in keys] == ["key:x-x", "key:y-y"]
        gates.gates["a"].set()
        await asyncio.gather(*(engine.finish(run_id) for run_id in run_ids))
    assert await statuses(database, run_ids) == ["completed"] * 4


async def test_a_key_that_cannot_be_rendered_fails_the_run(database_url, database):
    """It says what is missing, and holds no slot."""
    flow = await workflow(database, *graph("t>a"))
    await limit(database, flow, concurrency_key="{{ trigger.customer }}")
    async with Engine.running(database_url) as engine:
        (run_id,) = await start_runs(database, flow)
        await begin(engine, flow, [run_id])
        await engine.finish(run_id, until="failed")
    assert "customer" in await database.fetchval("SELECT error_message FROM runs WHERE id = $1", run_id)


async def test_a_raised_limit_lets_runs_go_on(database_url, database, gates):
    """Limits are read live: the scheduler sees to runs that wait where there is room now."""
    flow = await workflow(database, *graph("t>a"), registry(gates))
    await limit(database, flow, max_concurrent_runs=1)
    async with Engine.running(database_url, registry(gates)) as engine:
        run_ids = await start_runs(database, flow, 4)
        await begin(engine, flow, run_ids)
        await eventually(lambda: engine.capacity.used == 1)
        await limit(database, flow, max_concurrent_runs=3)
        await Limits(engine.outside, engine.mailbox).admit()
        await engine.follow()
        await eventually(lambda: gates.calls["a"] == 3)
        assert await queued(database) == 1
        await limit(database, flow)
        await Limits(engine.outside, engine.mailbox).admit()
        await engine.follow()
        await eventually(lambda: gates.calls["a"] == 4)
        gates.gates["a"].set()
        await asyncio.gather(*(engine.finish(run_id) for run_id in run_ids))


async def test_a_cancelled_run_frees_its_slots(database_url, database, gates):
    """So does one that is cancelled while it waits for one."""
    flow = await workflow(database, *graph("t>a"), registry(gates))
    await limit(database, flow, max_concurrent_runs=1)
    async with Engine.running(database_url, registry(gates)) as engine:
        one, two, three = await start_runs(database, flow, 3)
        await begin(engine, flow, [one, two, three])
        await eventually(lambda: engine.capacity.used == 1)
        await cancel_runs(database, [one, two])
        await engine.finish(one, until="cancelled")
        await Limits(engine.outside, engine.mailbox).admit()
        gates.gates["a"].set()
        await engine.finish(three)
    assert await statuses(database, [one, two, three]) == ["cancelled", "cancelled", "completed"]
    assert await database.fetchval("SELECT count(*) FROM concurrency_slots") == 0


async def test_two_workers_do_not_give_one_slot_twice(database_url, database):
    """However the runs are spread, only so many are under way."""
    under_way = most = 0

    async def act(data, context):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        for _ in range(5):
            await asyncio.sleep(0)
        under_way -= 1
        return Outcome({})

    flow = await workflow(database, *graph("t>a"), registry(act))
    await limit(database, flow, max_concurrent_runs=2)
    known = registry(act)
    async with Engine.running(database_url, known) as one, Engine.running(database_url, known) as two:
        run_ids = await start_runs(database, flow, 30)
        await asyncio.gather(begin(one, flow, run_ids[::2]), begin(two, flow, run_ids[1::2]))

        async def all_ended() -> bool:
            await asyncio.gather(one.follow(), two.follow())
            return set(await statuses(database, run_ids)) == {"completed"}

        await eventually(all_ended, 60)
    assert most <= 2


async def test_a_run_that_is_active_for_too_long_fails(database_url, database, gates):
    """Its effect is aborted and the message names the limit."""
    flow = await workflow(database, *graph("t>a a>b"), registry(gates))
    await limit(database, flow, run_timeout=10)
    async with Engine.running(database_url, registry(gates)) as engine:
        (run_id,) = await start_runs(database, flow)
        await begin(engine, flow, [run_id])
        await eventually(lambda: gates.calls["a"] == 1)
        old = await age(database, run_id, 11)
        await Limits(engine.outside, engine.mailbox).timeouts()
        await engine.finish(old, until="failed")
        await eventually(lambda: gates.cancelled["a"] == 1)
    assert "run_timeout of 10 seconds" in await database.fetchval("SELECT error_message FROM runs WHERE id = $1", old)
    assert await steps_of(database, old) == {"t": "success", "a": "cancelled"}


async def age(database, run_id, seconds):
    """Make a run as if it had begun earlier; its id stays, the sweep's bound is moved instead."""
    await database.execute(
        "UPDATE runs SET started_at = started_at - make_interval(secs => $2) WHERE id = $1", run_id, float(seconds)
    )
    await database.execute("UPDATE workflows SET run_timeout = 1")
    # Until its id is older than the least time-out.
    await eventually(lambda: database.fetchval("SELECT $1 < uuid7_floor(now() - interval '1 second')", run_id))
    return run_id


async def test_what_a_run_waits_does_not_count_as_active(database_url, database):
    """A delay longer than the time-out harms nobody; the time before and after it counts together."""
    drawn = graph("t>a a>w w>b", w={"component": "delay", "duration": 3600})
    flow = await workflow(database, *drawn)
    await limit(database, flow, run_timeout=10)
    async with Engine.running(database_url) as engine:
        (run_id,) = await start_runs(database, flow)
        await begin(engine, flow, [run_id])
        await eventually(lambda: database_waits(engine, run_id))
        await age(database, run_id, 6)
        await database.execute(
            "UPDATE runs SET idle_since = idle_since - interval '1 hour', started_at = started_at - interval '1 hour'"
        )
        limits = Limits(engine.outside, engine.mailbox)
        await limits.timeouts()
        assert await statuses(database, [run_id]) == ["running"]
        await database.execute("UPDATE open_steps SET due_at = now()")
        await engine.finish(run_id)
        idle = await database.fetchval("SELECT idle_seconds FROM runs")
        assert 3600 <= idle < 3700


async def database_waits(engine, run_id):
    """Whether nothing of the run is active, and its row says so."""
    return await engine.outside.fetchval("SELECT idle_since IS NOT NULL FROM runs WHERE id = $1", run_id)


async def test_other_branches_end_before_the_run_fails(database_url, database):
    """With `finish_branches` what depends on the failed step is skipped, and the rest runs to its end."""

    async def act(data, context):
        if context.node_id == "a":
            raise StepFailedError("boom", "It went wrong.")
        return Outcome({})

    flow = await workflow(database, *graph("t>a a>x t>b b>c c>j x>j j>z"), registry(act))
    await limit(database, flow, on_failure="finish_branches")
    async with Engine.running(database_url, registry(act)) as engine:
        (run_id,) = await start_runs(database, flow)
        await begin(engine, flow, [run_id])
        await engine.finish(run_id, until="failed")
    assert await steps_of(database, run_id) == {
        "t": "success",
        "a": "failed",
        "x": "skipped",
        "b": "success",
        "c": "success",
        "j": "success",
        "z": "success",
    }
    assert await database.fetchval("SELECT error_message FROM runs WHERE id = $1", run_id) == "It went wrong."
