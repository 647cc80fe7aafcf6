"""Error workflows: a failed run starts the one that its workflow names, once, in the transaction that ends it."""

import json

import pytest

from shared.ids import Prefix, encode
from shared.metrics import RUNS_STARTED
from shared.store.advance import commit
from shared.store.cancel import cancel_runs, fail_runs
from tests.calls import CALLED, FAILED, beside, call, payload_of, runs_of, settle
from tests.engine import Engine, Flow, first, graph, mint, start_run, workflow
from tests.rows import advance, output_of
from worker.commits import Commits

STOP = {"component": "terminate", "status": "failed", "message": "out of stock"}


async def handled(database, drawn=None, handler=None) -> tuple[Flow, Flow]:
    """A workflow that fails, and the one that this starts."""
    flow = await workflow(database, *(drawn or graph("t>x", x=STOP)))
    other = await beside(database, flow, handler or graph("t>fa", t=FAILED, fa={"value": "{{ t.error.message }}!"}))
    await names(database, flow, other)
    return flow, other


async def names(database, flow, other):
    """Let the failures of a workflow start another."""
    await database.execute(
        "UPDATE workflows SET error_workflow_id = $2 WHERE id = $1", flow.workflow_id, other.workflow_id
    )


async def test_a_failed_run_starts_the_error_workflow(database_url, database):
    """It is told what failed and how; it belongs to the failed run, and is counted as started."""
    flow, other = await handled(database)
    before = RUNS_STARTED.labels("error")._value.get()
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow)
        await settle(engine)
    (started,) = await runs_of(database, other)
    assert (started["status"], started["trigger_type"], started["parent_run_id"]) == ("completed", "error", run_id)
    assert (started["parent_waits"], started["depth"]) == (False, 1)
    assert await output_of(database, started["id"], "fa") == {"value": "out of stock!"}
    assert await payload_of(database, started["id"]) == {
        "error": {"message": "out of stock"},
        "run": {
            "id": encode(Prefix.RUN, run_id),
            "workflow_id": encode(Prefix.WORKFLOW, flow.workflow_id),
            "version": 1,
            "trigger_type": "manual",
        },
    }
    assert RUNS_STARTED.labels("error")._value.get() == before + 1


@pytest.mark.parametrize("change", ["is_active = false", "deleted_at = now(), is_active = false"])
async def test_an_error_workflow_that_is_off_is_not_started(database_url, database, change):
    """Inactive or deleted, it changes nothing about the failed run."""
    flow, other = await handled(database)
    await database.execute(f"UPDATE workflows SET {change} WHERE id = $1", other.workflow_id)
    async with Engine.running(database_url) as engine:
        await engine.run(flow, until="failed")
        await settle(engine)
    assert await runs_of(database, other) == []


async def test_completed_and_cancelled_runs_start_none(database_url, database):
    """Only a failure does."""
    flow, other = await handled(database, graph("t>fa"))
    async with Engine.running(database_url) as engine:
        await engine.run(flow, until="completed")
        await cancel_runs(database, [await start_run(database, flow)])
        await settle(engine)
    assert [run["status"] for run in await runs_of(database, flow)] == ["completed", "cancelled"]
    assert await runs_of(database, other) == []


async def test_the_failure_of_an_error_workflow_starts_none(database_url, database):
    """Two that name each other end after one run of each."""
    flow, other = await handled(database, handler=graph("t>x", t=FAILED, x=STOP))
    await names(database, other, flow)
    async with Engine.running(database_url) as engine:
        await engine.run(flow)
        await settle(engine)
    assert [run["status"] for run in await runs_of(database, other)] == ["failed"]
    assert len(await runs_of(database, flow)) == 1


async def test_a_run_that_is_ended_from_outside_starts_it(database_url, database):
    """A run that took longer than its time-out has failed too; ending it twice starts one run, which is sent later."""
    flow, other = await handled(database)
    run_id = await start_run(database, flow)
    before = RUNS_STARTED.labels("error")._value.get()
    assert await fail_runs(database, [run_id], "too slow") == 1
    assert await fail_runs(database, [run_id], "too slow") == 0
    assert RUNS_STARTED.labels("error")._value.get() == before + 1
    async with Engine.running(database_url) as engine:
        await settle(engine)
    (started,) = await runs_of(database, other)
    assert (await payload_of(database, started["id"]))["error"] == {"message": "too slow"}
    assert started["status"] == "completed"


async def test_a_commit_that_is_sent_again_starts_no_second_one(database):
    """The advance that ends the run is guarded by its step, so what follows from it happens once."""
    flow, other = await handled(database)
    run_id = await start_run(database, flow)
    unit = advance(run_id, "t", outcome="failed", error_message="x")
    answers = [await commit(database, [unit], mint.uuid()) for _ in range(3)]
    assert [answer.started for answer in answers] == [["error"], [], []]
    assert [bell.new for bell in answers[0].bells] == [True]
    assert len(await runs_of(database, other)) == 1


async def test_a_failed_child_starts_its_own_error_workflow(database_url, database):
    """The child's failure and that of the run that waited for it: each starts what its own workflow names."""
    callee, inner = await handled(database, graph("t>x", t=CALLED, x=STOP))
    flow = await beside(database, callee, graph("t>c", c=call(callee)))
    outer = await beside(database, callee, graph("t>fa", t=FAILED))
    await names(database, flow, outer)
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await settle(engine)
    (child,) = await runs_of(database, callee)
    (of_child,), (of_parent,) = await runs_of(database, inner), await runs_of(database, outer)
    assert (of_child["parent_run_id"], of_parent["parent_run_id"]) == (child["id"], run_id)
    assert json.loads(of_parent["trigger_payload"])["error"]["message"].endswith("failed: out of stock")


async def test_an_error_workflow_with_a_limit_is_held_to_it(database_url, database):
    """Three failures at once: its runs take turns, and each takes place."""
    flow, other = await handled(database)
    await database.execute(
        "UPDATE workflows SET max_concurrent_runs = 1, limited = true WHERE id = $1", other.workflow_id
    )
    async with Engine.running(database_url) as engine:
        for _ in range(3):
            await engine.take(first(await start_run(database, flow), flow))
        await settle(engine)
    assert [run["status"] for run in await runs_of(database, other)] == ["completed"] * 3
    assert await database.fetchval("SELECT count(*) FROM concurrency_slots") == 0


async def test_a_lost_answer_to_the_end_starts_no_second_one(database_url, database, monkeypatch):
    """The commit that ended the run is sent again and finds itself done; the error workflow's run is there once."""
    lost = []
    commits = Commits._commit

    async def lossy(self, advances, incarnation):
        committed = await commits(self, advances, incarnation)
        if not lost:
            lost.append(committed)
            raise ConnectionResetError
        return committed

    monkeypatch.setattr(Commits, "_commit", lossy)
    flow, other = await handled(database)
    async with Engine.running(database_url) as engine:
        await engine.run(flow, until="failed")
        await engine.idle()
        (started,) = await runs_of(database, other)
        await engine.take(first(started["id"], other))
        await settle(engine)
    assert [run["status"] for run in await runs_of(database, other)] == ["completed"]
    assert [each.started for each in lost] == [["error"]]


async def test_errors_and_calls_do_not_go_round_for_ever(database_url, database):
    """An error workflow that calls a workflow whose failures start it again stops ten runs deep."""
    flow, other = await handled(database)
    await database.execute(
        "UPDATE workflows SET trigger_component = 'workflow_trigger' WHERE id = $1", flow.workflow_id
    )
    drawn = graph("t>c", t=FAILED, c=call(flow))
    again = await beside(database, flow, drawn)
    await names(database, flow, again)
    async with Engine.running(database_url) as engine:
        await engine.run(flow)
        await settle(engine)
    started = await runs_of(database, again)
    assert [run["depth"] for run in started] == [1, 3, 5, 7, 9, 11]  # the last one's call is refused
    assert {run["status"] for run in started} == {"failed"}
    assert await runs_of(database, other) == []
