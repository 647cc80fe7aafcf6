"""Cancelling runs that wait for runs they started: the whole tree ends, and what waited for a cancelled run goes on."""

import asyncio
from typing import Any
from uuid import UUID

import asyncpg

from shared.store.cancel import cancel_runs, settle_ended
from tests.duties import add_incarnation, add_run, add_workflow, ago, mint, running
from tests.engine import eventually
from tests.rows import waits_for_locks


def caller(child: UUID, **columns: Any) -> dict[str, Any]:
    """A step that waits for a run it started."""
    return {"status": "waiting", "waits": "child_run", "child_run_id": child, "node_id": "call", **columns}


async def child_of(database: asyncpg.Connection, flow: UUID, parent: UUID, *steps: Any, **columns: Any) -> UUID:
    """A run that another waits for."""
    called = {"parent_run_id": parent, "parent_node_id": "call", "parent_item": "-", "parent_waits": True}
    return await add_run(database, flow, *steps, trigger_type="workflow", **{**called, **columns})


async def family(database: asyncpg.Connection, *steps: Any, ids: list[UUID] | None = None) -> list[UUID]:
    """A run, its child and its grandchild; the last with these open steps."""
    flow = await add_workflow(database)
    ids = ids or [mint.uuid() for _ in range(3)]
    await add_run(database, flow, caller(ids[1]), id=ids[0], status="running")
    await child_of(database, flow, ids[0], caller(ids[2]), id=ids[1], status="running")
    await child_of(database, flow, ids[1], *steps, id=ids[2], status="running")
    return ids


async def statuses(database: asyncpg.Connection, ids: list[UUID]) -> list[str]:
    """The status of each run."""
    return [await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id) for run_id in ids]


async def test_a_run_is_cancelled_with_all_that_it_waits_for(database):
    """Children and their children end in the same transaction; what counts is the run that was asked for."""
    ids = await family(database, {}, {})
    assert await cancel_runs(database, ids[:1]) == 1
    assert await statuses(database, ids) == ["cancelled"] * 3
    assert await database.fetchval("SELECT count(*) FROM open_steps") == 0


async def test_a_child_in_flight_is_stopped(database):
    """Its effect is aborted; the runs above it have nothing in flight and end at once."""
    ids = await family(database, running(await add_incarnation(database)))
    await cancel_runs(database, ids[:1])
    assert await statuses(database, ids) == ["cancelled", "cancelled", "running"]
    assert await database.fetchval("SELECT stop FROM open_steps")


async def test_runs_that_are_not_waited_for_go_on(database):
    """A child that its parent did not wait for has a life of its own; so has one that ended."""
    flow = await add_workflow(database)
    parent = await add_run(database, flow, {}, status="running")
    child = await child_of(database, flow, parent, {}, parent_waits=False)
    await cancel_runs(database, [parent])
    assert await statuses(database, [parent, child]) == ["cancelled", "pending"]


async def test_what_waited_for_a_cancelled_run_goes_on(database):
    """Cancelling a child alone wakes its parent's step in the same transaction, to be sent by the next top-up."""
    ids = await family(database, {})
    assert await cancel_runs(database, ids[1:2]) == 1
    assert await statuses(database, ids) == ["running", "cancelled", "cancelled"]
    step = await database.fetchrow("SELECT run_id, node_id, status, wake, sent_at FROM open_steps")
    assert tuple(step) == (ids[0], "call", "ready", "child", None)


async def test_a_failed_child_that_is_settled_wakes_its_parent(database):
    """The end that `settle_ended` makes counts as any other."""
    flow = await add_workflow(database)
    parent_id, child_id = mint.uuid(), mint.uuid()
    await add_run(database, flow, caller(child_id), id=parent_id, status="running")
    await child_of(database, flow, parent_id, {}, id=child_id, outcome="failed", status="running")
    assert await settle_ended(database, [child_id]) == 1
    assert await statuses(database, [parent_id, child_id]) == ["running", "failed"]
    assert await database.fetchval("SELECT wake FROM open_steps") == "child"


async def test_ids_need_not_grow_down_the_tree(database):
    """A child that was minted on a slower clock is found and locked in its place."""
    ids = sorted((mint.uuid() for _ in range(3)), reverse=True)
    await family(database, {}, ids=ids)
    await cancel_runs(database, ids[:1])
    assert await statuses(database, ids) == ["cancelled"] * 3


async def test_a_child_that_starts_while_the_cancel_waits_is_cancelled_too(database, database_url):
    """The tree is looked at again once its rows are locked, also when the new run's id is the smallest."""
    flow = await add_workflow(database)
    late = mint.uuid()
    await ago(database, 0)
    parent = await add_run(database, flow, {"node_id": "call"}, status="running")
    committer = await asyncpg.connect(database_url)
    transaction = committer.transaction()
    await transaction.start()
    await committer.execute("SELECT FROM runs WHERE id = $1 FOR NO KEY UPDATE", parent)
    cancelling = asyncio.create_task(cancel_runs(database, [parent]))
    await eventually(lambda: waits_for_locks(committer))
    await committer.execute("UPDATE open_steps SET status = 'waiting', waits = 'child_run', child_run_id = $1", late)
    await child_of(committer, flow, parent, {}, id=late)
    await transaction.commit()
    assert await cancelling == 1
    assert await statuses(database, [parent, late]) == ["cancelled", "cancelled"]
    await committer.close()


async def test_cancels_of_one_tree_from_both_ends_do_not_deadlock(database, database_url):
    """Whoever begins where, rows are locked in the order of ids."""
    second = await asyncpg.connect(database_url)
    for _ in range(20):
        ids = await family(database, {}, {})
        await asyncio.gather(cancel_runs(database, ids[:1]), cancel_runs(second, ids[2:]))
        assert (await statuses(database, ids))[1:] == ["cancelled"] * 2
        assert await cancel_runs(database, ids) in (0, 1)
        assert await statuses(database, ids) == ["cancelled"] * 3
    await second.close()
