"""Runs that start runs, exactly once: commits that are sent again, answers that are lost, and workers that are late."""

import asyncio

import asyncpg
import pytest

from shared.advances import Advance, ChildCall
from shared.lanes import Reference
from shared.store.advance import commit, follow_up
from shared.store.cancel import cancel_runs
from tests.calls import CALLED, beside, call, children_of, pair, runs_of, settle
from tests.engine import Engine, eventually, first, graph, mint, start_run, workflow
from tests.rows import advance, error_of, opening, output_of, result, status_of
from worker.commits import Commits


async def commit_all(database: asyncpg.Connection, *units: Advance):
    """Commit as a worker does."""
    async with database.transaction():
        committed = await commit(database, units, mint.uuid())
        await follow_up(database, units, committed)
    return committed


def calling(run_id, node, flow, *, waits):
    """An advance that begins to call at a node that it holds."""
    child = mint.uuid()
    opened = opening(node, "waiting", waits="child_run", child_run_id=child, claim_first=False)
    made = ChildCall(node, "-", child, flow.workflow_id, "{}", waits)
    return advance(run_id, node, results=[], openings=[opened], calls=[made])


@pytest.mark.parametrize("waits", [True, False])
async def test_a_commit_that_is_sent_again_starts_no_second_child(database, waits):
    """Neither the same advance again, nor a late one of another worker for the same step, even once it was woken."""
    flow = await workflow(database, *graph("t>fa", t=CALLED))
    run_id = await start_run(database, flow)
    unit = calling(run_id, "t", flow, waits=waits)
    committed = await commit_all(database, unit)
    assert (committed.held, committed.started) == ({0: True}, ["workflow"])
    again = await commit_all(database, unit)
    late = await commit_all(database, calling(run_id, "t", flow, waits=waits))
    (child,) = await children_of(database, run_id)
    await commit_all(database, advance(child["id"], "t", caller=run_id if waits else None))
    later = await commit_all(database, calling(run_id, "t", flow, waits=waits))
    assert [each.held for each in (again, late, later)] == [{}, {}, {}]
    assert len(await children_of(database, run_id)) == 1
    assert await database.fetchval("SELECT wake FROM open_steps WHERE run_id = $1", run_id) == "child"


async def test_a_child_that_is_gone_fails_the_step(database_url, database):
    """A child whose row was removed before its parent went on: the step fails and says so."""
    flow, callee = await pair(database, graph("t>fa", t=CALLED), "t>c", wait=True)
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: database.fetchval("SELECT count(*) FROM open_steps WHERE status = 'waiting'"))
        (child,) = await runs_of(database, callee)
        await cancel_runs(database, [child["id"]])
        await database.execute("DELETE FROM runs WHERE id = $1", child["id"])
        await settle(engine)
    assert "removed" in (await error_of(database, run_id, "c"))["message"]


def lose_answers(monkeypatch, wanted):
    """Let the answer to the first commit of an advance that is wanted get lost, after Postgres has committed."""
    lost = []
    commits = Commits._commit

    async def lossy(self, advances, incarnation):
        committed = await commits(self, advances, incarnation)
        if not lost and any(wanted(each) for each in advances):
            lost.append(committed)
            raise ConnectionResetError
        return committed

    monkeypatch.setattr(Commits, "_commit", lossy)
    return lost


@pytest.mark.parametrize("wait", [True, False])
async def test_a_lost_answer_to_the_commit_starts_no_second_child(database_url, database, monkeypatch, wait):
    """The commit is sent again and finds itself done; whoever finds the rows later goes on with both runs."""
    lost = lose_answers(monkeypatch, lambda advance: advance.calls)
    flow, callee = await pair(database, graph("t>fa", t=CALLED, fa={"value": 1}), "t>c", wait=wait)
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: lost)
        await engine.idle()
        (child,) = await runs_of(database, callee)
        await engine.take(Reference(run_id, "c", "-", claim=True), first(child["id"], callee))
        await settle(engine)
    assert [run["status"] for run in await runs_of(database, callee)] == ["completed"]
    assert await status_of(database, run_id) == "completed"


async def test_a_lost_answer_to_the_childs_end_wakes_the_parent_once(database_url, database, monkeypatch):
    """The child's end and the parent's wake are one commit; whoever finds the ready step goes on with it."""
    lost = lose_answers(monkeypatch, lambda advance: advance.caller)
    flow, callee = await pair(database, graph("t>fa", t=CALLED, fa={"value": 1}), "t>c")
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))

        async def is_lost():
            await engine.follow()
            return lost

        await eventually(is_lost)
        await engine.idle()
        assert await database.fetchval("SELECT wake FROM open_steps WHERE run_id = $1", run_id) == "child"
        await engine.take(Reference(run_id, "c", "-", claim=True))
        await settle(engine)
    assert len(await runs_of(database, callee)) == 1
    assert (await output_of(database, run_id, "c"))["output"] == {"value": 1}


async def test_another_worker_goes_on_with_both(database_url, database):
    """The worker that started the child is gone: nothing of it is needed any more."""
    flow, callee = await pair(database, graph("t>fa", t=CALLED, fa={"value": 1}), "t>c")
    async with Engine.running(database_url) as gone:
        run_id = await start_run(database, flow)
        await gone.take(first(run_id, flow))
        await eventually(lambda: database.fetchval("SELECT count(*) FROM open_steps WHERE status = 'waiting'"))
    (child,) = await runs_of(database, callee)
    async with Engine.running(database_url) as engine:
        await engine.take(first(child["id"], callee))
        await settle(engine)
    assert await status_of(database, run_id) == "completed"


async def test_repeated_messages_start_no_second_child(database_url, database):
    """Two workers get every message three times; steps behind joins, which nobody claims first, call once each."""
    callee = await workflow(database, *graph("t>fa", t=CALLED))
    drawn = graph("t>a t>b a>c b>c c>d", c=call(callee), d=call(callee, wait=False))
    flow = await beside(database, callee, drawn)
    async with Engine.running(database_url) as one, Engine.running(database_url) as two:
        for run_id in [await start_run(database, flow) for _ in range(20)]:
            for engine in (one, two, one):
                await engine.take(first(run_id, flow))

        async def ended():
            references = one.mailbox.references() + two.mailbox.references()
            for engine in (one, two, one):
                await asyncio.gather(*(engine.take(reference) for reference in references))
            return not await database.fetchval("SELECT count(*) FROM runs WHERE completed_at IS NULL")

        await eventually(ended, 60)
    counts = await database.fetch(
        "SELECT count(*) FROM runs WHERE parent_run_id IS NOT NULL GROUP BY parent_run_id, parent_node_id"
    )
    assert [row["count"] for row in counts] == [1] * 40


async def test_a_late_worker_does_not_begin_the_next_attempt(database):
    """A worker that read the first attempt without a claim cannot take the second one: that one is claimed."""
    flow = await workflow(database, *graph("t>fa", t=CALLED))
    run_id = await start_run(database, flow)
    await commit_all(database, calling(run_id, "t", flow, waits=False))
    failed = [result("t", status="retried")]
    again = opening("t", "ready", attempt=2)
    await commit_all(database, advance(run_id, "t", results=failed, openings=[again], wake="child"))
    late = await commit_all(database, calling(run_id, "t", flow, waits=False))
    assert late.held == {}
    assert len(await children_of(database, run_id)) == 1
