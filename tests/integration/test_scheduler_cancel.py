"""Cancelling runs: what becomes of each kind of step, and of the run, whoever else is at work."""

import asyncio
import random
from collections import Counter
from uuid import UUID

import asyncpg

from shared.lanes import Reference
from shared.metrics import RUNS_FINISHED
from shared.store.cancel import cancel_runs, cancel_workflow_runs, settle_ended
from shared.store.taken import claim as take
from tests.duties import add_incarnation, add_run, add_workflow, ago, flood, mint, running
from tests.engine import Engine, eventually, first, graph, registry, start_run, workflow
from tests.rows import steps_of, waits_for_locks


async def test_a_run_with_nothing_in_flight_is_cancelled_at_once(database):
    """Ready and waiting steps are recorded as cancelled, and the run is over in the same transaction."""
    flow = await add_workflow(database)
    waiting = {"status": "waiting", "due_at": await ago(database, -60)}
    run_id = await add_run(database, flow, {}, waiting, {"sent_at": await ago(database, 1)}, seq=7)
    before = RUNS_FINISHED.labels("cancelled", "manual")._value.get()
    assert await cancel_runs(database, [run_id]) == 1
    run = await database.fetchrow("SELECT * FROM runs")
    assert (run["status"], run["outcome"], run["open_steps"], run["seq"]) == ("cancelled", "cancelled", 0, 10)
    assert run["completed_at"] is not None
    assert run["cancel_requested_at"] is not None
    assert await steps_of(database, run_id) == dict.fromkeys(("n0", "n1", "n2"), "cancelled")
    seqs = await database.fetch("SELECT seq FROM steps ORDER BY seq")
    assert [row["seq"] for row in seqs] == [7, 8, 9]
    assert RUNS_FINISHED.labels("cancelled", "manual")._value.get() - before == 1


async def test_a_step_in_flight_is_stopped_and_awaited(database):
    """The run goes on until its worker has settled the step; a second call changes nothing."""
    flow = await add_workflow(database)
    run_id = await add_run(database, flow, {}, running(await add_incarnation(database)), status="running")
    for _ in range(2):
        assert await cancel_runs(database, [run_id]) == 1
        rows = await database.fetch("SELECT node_id, status, stop FROM open_steps")
        assert [tuple(row) for row in rows] == [("n1", "running", True)]
        run = await database.fetchrow("SELECT status, outcome, open_steps FROM runs")
        assert tuple(run) == ("running", "cancelled", 1)


async def test_what_a_dead_worker_holds_is_not_awaited(database):
    """Its lease is lost already."""
    flow = await add_workflow(database)
    run_id = await add_run(database, flow, running(await add_incarnation(database, dead=1)), running(mint.uuid()))
    await cancel_runs(database, [run_id])
    assert await database.fetchval("SELECT status FROM runs") == "cancelled"
    assert await steps_of(database, run_id) == {"n0": "cancelled", "n1": "cancelled"}


async def test_terminal_and_unknown_runs_are_passed_over(database):
    """What is over stays as it ended."""
    flow = await add_workflow(database)
    done = await add_run(database, flow, status="completed", completed_at=await ago(database, 1))
    assert await cancel_runs(database, [done, mint.uuid()]) == 0
    assert await cancel_runs(database, []) == 0
    run = await database.fetchrow("SELECT status, outcome, cancel_requested_at FROM runs")
    assert tuple(run) == ("completed", None, None)


async def test_a_run_that_is_failing_stays_failed(database):
    """The first decision counts: cancelling then only stops what is in flight."""
    flow = await add_workflow(database)
    alive = await add_incarnation(database)
    run_id = await add_run(database, flow, {}, running(alive), outcome="failed", status="running")
    await cancel_runs(database, [run_id])
    assert tuple(await database.fetchrow("SELECT node_id, stop FROM open_steps")) == ("n1", True)
    assert await database.fetchval("SELECT outcome FROM runs") == "failed"


async def test_settling_touches_only_runs_that_are_being_ended(database):
    """A run that goes on keeps its steps; one whose outcome is decided loses what is not in flight."""
    flow = await add_workflow(database)
    goes_on = await add_run(database, flow, {})
    ends = await add_run(
        database, flow, {}, running(await add_incarnation(database)), outcome="failed", status="running"
    )
    assert await settle_ended(database, [goes_on, ends]) == 1
    rows = await database.fetch("SELECT run_id, node_id, stop FROM open_steps")
    assert {tuple(row) for row in rows} == {(goes_on, "n0", False), (ends, "n1", False)}


async def test_all_open_runs_of_a_workflow_are_cancelled_up_to_a_thousand(database):
    """Other workflows are left alone, and one call is bounded; calling again goes on."""
    flow, other = await add_workflow(database), await add_workflow(database)
    await flood(database, flow, 1300)
    await flood(database, other, 3)
    assert [await cancel_workflow_runs(database, flow) for _ in range(3)] == [1000, 300, 0]
    rows = await database.fetch("SELECT workflow_id, status, count(*) FROM runs GROUP BY 1, 2")
    assert {tuple(row) for row in rows} == {(flow, "cancelled", 1300), (other, "pending", 3)}


async def test_a_rolled_back_cancel_leaves_everything_as_it_was(database):
    """Inside the caller's transaction, the caller decides."""
    flow = await add_workflow(database)
    run_id = await add_run(database, flow, {})
    transaction = database.transaction()
    await transaction.start()
    await cancel_runs(database, [run_id])
    await transaction.rollback()
    assert await database.fetchval("SELECT status FROM runs") == "pending"
    assert await database.fetchval("SELECT count(*) FROM open_steps") == 1


async def test_steps_that_a_waiting_cancel_could_not_see_are_cancelled_too(database, database_url):
    """A step that a commit opens while the cancel waits for the run's row does not slip through."""
    flow = await add_workflow(database)
    run_id = await add_run(database, flow, {})
    committer = await asyncpg.connect(database_url)
    transaction = committer.transaction()
    await transaction.start()
    await committer.execute("UPDATE runs SET open_steps = 2, status = 'running' WHERE id = $1", run_id)
    cancelling = asyncio.create_task(cancel_runs(database, [run_id]))
    await eventually(lambda: waits_for_locks(committer))
    await committer.execute(
        "INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, status, node_id)"
        " SELECT run_id, workspace_id, workflow_id, priority, status, 'later' FROM open_steps"
    )
    await transaction.commit()
    await cancelling
    assert await steps_of(database, run_id) == {"n0": "cancelled", "later": "cancelled"}
    assert await database.fetchval("SELECT status FROM runs") == "cancelled"
    await committer.close()


async def test_claims_and_cancels_that_race_leave_each_step_with_one_of_them(database, database_url):
    """A step that was claimed in time is stopped, any other is cancelled; nothing is lost or left ready."""
    flow = await add_workflow(database)
    alive = await add_incarnation(database)
    ids = await flood(database, flow, 200)
    claimer = await asyncpg.connect(database_url)
    shuffled = random.Random(1).sample(ids, len(ids))

    claimed: list[UUID] = []

    async def claim() -> None:
        for start in range(0, 200, 10):
            some = [(Reference(run_id, "t", "-", claim=True), mint.uuid()) for run_id in shuffled[start : start + 10]]
            claimed.extend(run_id for run_id, *_ in await take(claimer, some, alive))

    async def cancel() -> None:
        for start in range(0, 200, 7):
            await cancel_runs(database, ids[start : start + 7])

    await asyncio.gather(claim(), cancel())
    rows = await database.fetch("SELECT run_id, status, stop FROM open_steps")
    assert sorted(row["run_id"] for row in rows) == sorted(claimed)
    assert {tuple(row)[1:] for row in rows} <= {("running", True)}
    runs = Counter(row["status"] for row in await database.fetch("SELECT status FROM runs"))
    assert runs["cancelled"] == 200 - len(claimed)
    await claimer.close()


async def test_a_claim_that_is_being_made_is_stopped_and_not_undone(database, database_url):
    """A cancel waits for its end, and finds a step in flight then."""
    (run_id,) = await flood(database, await add_workflow(database), 1)
    alive = await add_incarnation(database)
    claimer = await asyncpg.connect(database_url)
    async with claimer.transaction():
        assert await take(claimer, [(Reference(run_id, "t", "-", claim=True), mint.uuid())], alive)
        cancelling = asyncio.create_task(cancel_runs(database, [run_id]))
        await eventually(lambda: waits_for_locks(claimer))
    await cancelling
    assert [tuple(row) for row in await database.fetch("SELECT status, stop FROM open_steps")] == [("running", True)]
    await claimer.close()


async def test_a_worker_at_work_aborts_within_its_next_heartbeat(database, database_url):
    """An effect that would never end is aborted and recorded, its run is cancelled, and nothing follows it."""
    begun, calls = asyncio.Event(), []

    async def forever(data, context):
        calls.append(context.node_id)
        begun.set()
        await asyncio.Event().wait()

    known = registry(forever)
    flow = await workflow(database, *graph("t>a a>b"), known)
    async with Engine.running(database_url, known) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        async with asyncio.timeout(10):
            await begun.wait()
        await cancel_runs(database, [run_id])

        async def is_cancelled() -> bool:
            return await database.fetchval("SELECT status FROM runs") == "cancelled"

        await eventually(is_cancelled, 5)
    assert calls == ["a"]
    assert (await steps_of(database, run_id))["a"] == "cancelled"
