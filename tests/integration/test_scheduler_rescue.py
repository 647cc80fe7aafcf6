"""Taking steps from workers that have died; two schedulers at a time."""

import asyncio

from scheduler.rescue import Contact, Rescue
from shared.metrics import RESCUED
from tests.duties import LEASE, add_incarnation, add_run, add_workflow, exhaust, flood, mint, pair, running
from tests.engine import steps_of


async def test_steps_of_a_silent_worker_come_back_once(database, database_url, broker_url):
    """Two schedulers give each step back once, unsent and to be claimed, with the crash counted; the worker is dead."""
    flow = await add_workflow(database)
    silent = await add_incarnation(database, silent=LEASE + 1)
    lost = [await add_run(database, flow, running(silent, sends=4), {"sends": 2}) for _ in range(20)]
    before = RESCUED._value.get()
    async with pair(database_url, broker_url) as (one, two):
        alive = await add_incarnation(database, silent=LEASE - 1)  # last, since it has a second left
        kept = await add_run(database, flow, running(alive))
        await asyncio.gather(one.rescue.work(), two.rescue.work())
        assert RESCUED._value.get() - before == 20
        rows = await database.fetch(
            "SELECT run_id, claim_id, incarnation_id, sent_at, sends, crashes, claim_first FROM open_steps"
            " WHERE node_id = 'n0' AND status = 'ready'"
        )
        assert sorted(row["run_id"] for row in rows) == sorted(lost)
        assert {tuple(row)[1:] for row in rows} == {(None, None, None, 0, 1, True)}
        assert await database.fetchval("SELECT status FROM open_steps WHERE run_id = $1", kept) == "running"
        dead = await database.fetch("SELECT id FROM incarnations WHERE dead_at IS NOT NULL")
        assert [row["id"] for row in dead] == [silent]
        await exhaust(one.steps.top_up)
        assert all(bell.claim for _, bell in one.heard.bells)
        assert {run_id for run_id, _ in one.heard.steps()} == set(lost)


async def test_what_a_dead_worker_claimed_late_comes_back(database, database_url, broker_url):
    """Dead is final: a claim that was made after it is no claim."""
    flow = await add_workflow(database)
    await add_run(database, flow, running(await add_incarnation(database, dead=100)))
    async with pair(database_url, broker_url) as (one, _):
        await one.rescue.work()
    assert await database.fetchval("SELECT status FROM open_steps") == "ready"


async def test_a_worker_that_left_in_good_order_is_not_waited_for(database, database_url, broker_url):
    """Steps of a retired incarnation come back though its last heartbeat is young."""
    flow = await add_workflow(database)
    await add_run(database, flow, running(await add_incarnation(database, silent=0, dead=0)))
    async with pair(database_url, broker_url) as (one, _):
        await one.rescue.work()
    assert await database.fetchval("SELECT status FROM open_steps") == "ready"


async def test_a_worker_without_a_row_is_given_a_lease(database, database_url, broker_url):
    """An incarnation that is nowhere to be found may be about to register; after a lease its steps come back."""
    flow = await add_workflow(database)
    await add_run(database, flow, running(mint.uuid()))
    await database.execute("UPDATE open_steps SET started_at = now()")
    async with pair(database_url, broker_url) as (one, _):
        await one.rescue.work()
        assert await database.fetchval("SELECT status FROM open_steps") == "running"
        await database.execute("UPDATE open_steps SET started_at = now() - interval '1 minute'")
        await one.rescue.work()
        assert await database.fetchval("SELECT status FROM open_steps") == "ready"


async def test_more_steps_than_a_batch_all_come_back(database, database_url, broker_url):
    """A full batch says that there is more, and what is left is found though its worker is dead by then."""
    flow = await add_workflow(database)
    silent = await add_incarnation(database, silent=60)
    await flood(database, flow, 2300, status="running", claim_id=mint.uuid(), incarnation_id=silent)
    async with pair(database_url, broker_url) as (one, two):
        await exhaust(one.rescue.work, two.rescue.work)
        await exhaust(one.rescue.work)
    assert await database.fetchval("SELECT count(*) FROM open_steps WHERE status = 'ready' AND crashes = 1") == 2300


async def test_nobody_is_judged_before_a_lease_of_contact(database, database_url, broker_url):
    """A scheduler that has just begun finds old heartbeats and waits; it gives back only what is surely lost."""
    flow = await add_workflow(database)
    await add_run(database, flow, running(await add_incarnation(database, silent=3600)))
    surely = await add_run(database, flow, running(await add_incarnation(database, dead=1)))
    async with pair(database_url, broker_url) as (one, _):
        rescue = Rescue(one.pool, Contact(LEASE), lease=LEASE)
        await rescue.work()
        ready = await database.fetch("SELECT run_id FROM open_steps WHERE status = 'ready'")
        assert [row["run_id"] for row in ready] == [surely]


async def test_steps_of_a_run_that_is_being_ended_are_settled(database, database_url, broker_url):
    """What a dead worker held of a cancelled run does not come back: it is recorded, and the run is over."""
    flow = await add_workflow(database)
    silent, alive = await add_incarnation(database, silent=60), await add_incarnation(database)
    ending = {"outcome": "cancelled", "status": "running"}
    over = await add_run(database, flow, running(silent, stop=True), running(silent, stop=True), **ending)
    failed = await add_run(database, flow, running(silent), outcome="failed", status="running")
    half = await add_run(database, flow, running(silent, stop=True), running(alive, stop=True), **ending)
    async with pair(database_url, broker_url) as (one, two):
        await asyncio.gather(one.rescue.work(), two.rescue.work())
        await exhaust(one.rescue.work)
        assert one.heard.bells == two.heard.bells == []
    rows = await database.fetch("SELECT id, status, open_steps FROM runs")
    assert {row["id"]: (row["status"], row["open_steps"]) for row in rows} == {
        over: ("cancelled", 0),
        failed: ("failed", 0),
        half: ("running", 1),
    }
    assert await steps_of(database, over) == {"n0": "cancelled", "n1": "cancelled"}
    assert await steps_of(database, half) == {"n0": "cancelled"}


async def test_a_step_that_somebody_is_settling_is_passed_over(database, database_url, broker_url):
    """A row that another transaction holds is neither waited for nor taken."""
    flow = await add_workflow(database)
    await add_run(
        database,
        flow,
        running(await add_incarnation(database, dead=1)),
        running(await add_incarnation(database, dead=1)),
    )
    async with pair(database_url, broker_url) as (one, _):
        async with database.transaction():
            await database.fetch("SELECT 1 FROM open_steps WHERE node_id = 'n0' FOR UPDATE")
            async with asyncio.timeout(5):
                await one.rescue.work()
        rows = await database.fetch("SELECT node_id FROM open_steps WHERE status = 'ready'")
    assert [row["node_id"] for row in rows] == ["n1"]
