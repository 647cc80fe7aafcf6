"""Runs that start runs: waited for or not, exactly once, ended by time, failure and cancellation, deep and many."""

import asyncio
import json

import pytest

from shared.ids import Prefix, encode
from shared.metrics import RUNS_STARTED
from shared.nodes.base import Outcome
from shared.store.cancel import cancel_runs
from shared.store.results import MAX_RUN_OUTPUT
from tests.calls import CALLED, beside, call, children_of, pair, payload_of, runs_of, settle
from tests.engine import Engine, Gates, alone, eventually, first, graph, registry, start_run, workflow
from tests.rows import error_of, output_of, status_of, steps_of

INNER = {"value": "{{ t.payload.n }}"}


async def test_a_waiting_step_goes_on_with_the_run_it_started(database_url, database):
    """The child gets the context as its payload; its only leaf's output is the step's, and what follows reads it."""
    flow, callee = await pair(database, graph("t>fa", t=CALLED, fa=INNER), context={"n": "{{ t.n }}"})
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, '{"n": 7}')
        await engine.idle()
    (child,) = await runs_of(database, callee)
    assert (child["status"], child["trigger_type"], child["parent_run_id"]) == ("completed", "workflow", run_id)
    assert (child["parent_node_id"], child["parent_item"], child["depth"]) == ("c", "-", 1)
    assert await payload_of(database, child["id"]) == {"n": 7}
    shown = encode(Prefix.RUN, child["id"])
    assert await output_of(database, run_id, "c") == {"run_id": shown, "status": "completed", "output": {"value": 7}}
    assert await output_of(database, run_id, "fz") == {"value": 7}


async def test_a_step_that_does_not_wait_goes_on_at_once(database_url, database):
    """Its run ends while the child has not begun; the child runs by itself, and its end changes nothing."""
    flow, callee = await pair(database, graph("t>fa", t=CALLED), "t>c", wait=False)
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await until_status(database, run_id, "completed")
        (child,) = await runs_of(database, callee)
        assert (child["status"], child["parent_waits"]) == ("pending", False)
        await settle(engine)
    shown = encode(Prefix.RUN, child["id"])
    assert await output_of(database, run_id, "c") == {"run_id": shown, "status": "pending", "output": None}
    assert [run["status"] for run in await runs_of(database, callee)] == ["completed"]


async def until_status(database, run_id, status):
    """Wait until a run has a status."""

    async def there():
        return await status_of(database, run_id) == status

    await eventually(there)


@pytest.mark.parametrize(
    ("spec", "data", "output"),
    [
        ("t>fa t>fb", {}, {"fa": {"value": "a"}, "fb": {"value": "b"}}),
        ("t>fa t>x", {"x": {"component": "terminate", "output": {"left": 1}}}, {"left": 1}),
        ("t>i i>fa:item", {"i": {"component": "iterator", "items": [1, 2]}}, None),
        ("t>fa fa>fb fa>fc", {"fb": {"disabled": True}}, {"fb": {"value": "a"}, "fc": {"value": "c"}}),
    ],
)
async def test_what_a_run_gives_out(database_url, database, spec, data, output):
    """Several leaves give an object by node id, terminate what it left, an iterator its results."""
    values = {name: {"value": name[1:]} for name in ("fa", "fb", "fc") if name in spec}
    values = {name: {**values.get(name, {}), **data.get(name, {})} for name in {*values, *data}}
    flow, _ = await pair(database, graph(spec, t=CALLED, **values), "t>c")
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow)
    if output is None:
        output = {"results": [{"value": "a"}, {"value": "a"}], "count": 2, "failed": []}
    assert (await output_of(database, run_id, "c"))["output"] == output


async def test_an_output_that_is_too_large_fails_the_step(database_url, database):
    """Leaves that each fit and together do not: `output_too_large`, and the child stays completed."""
    known = registry(pure=lambda _: Outcome({"text": "x" * (MAX_RUN_OUTPUT * 2 // 3)}))
    flow, callee = await pair(database, graph("t>fa t>fb", t=CALLED), "t>c", known)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    assert (await error_of(database, run_id, "c"))["code"] == "output_too_large"
    assert [run["status"] for run in await runs_of(database, callee)] == ["completed"]


async def test_a_failed_child_fails_the_step(database_url, database):
    """The message names the run and why it failed; continue_on_error takes its error edge."""
    terminate = {"component": "terminate", "status": "failed", "message": "no stock"}
    flow, callee = await pair(
        database, graph("t>x", t=CALLED, x=terminate), "t>c c>fe:error", continue_on_error=True, context={}
    )
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow)
    (child,) = await runs_of(database, callee)
    error = await error_of(database, run_id, "c")
    assert error["code"] == "child_failed"
    assert error["message"] == f"The run {encode(Prefix.RUN, child['id'])} failed: no stock"
    assert await status_of(database, run_id) == "completed"


async def test_a_retry_starts_a_fresh_child(database_url, database):
    """Each attempt has a run of its own; the last one's output counts."""
    calls = []

    def act(_):
        calls.append(1)
        return Outcome({"value": 1 / (len(calls) - 1)})

    known = registry(pure=act)
    retry = {"max_attempts": 3, "delay": 0, "on": ["error"]}
    flow, callee = await pair(database, graph("t>fa", t=CALLED), "t>c", known, retry=retry)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    assert [run["status"] for run in await runs_of(database, callee)] == ["failed", "completed"]
    assert (await output_of(database, run_id, "c"))["output"] == {"value": 1.0}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("UPDATE workflows SET deleted_at = now(), is_active = false WHERE id = $1", "workflow_gone"),
        ("UPDATE workflows SET is_active = false WHERE id = $1", "workflow_inactive"),
        ("UPDATE workflows SET trigger_component = 'manual_trigger' WHERE id = $1", "workflow_not_callable"),
        ("UPDATE workflows SET workspace_id = gen_random_uuid() WHERE id = $1", "workflow_gone"),
    ],
)
@pytest.mark.parametrize("wait", [True, False])
async def test_a_workflow_that_cannot_be_called_fails_the_step(database_url, database, change, code, wait):
    """Deleted, inactive, begun in another way or another workspace's: the step fails, and no run is started."""
    flow, callee = await pair(database, graph("t>fa", t=CALLED), "t>c", wait=wait)
    await database.execute("ALTER TABLE workflows DROP CONSTRAINT IF EXISTS workflows_workspace_id_fkey")
    await database.execute(change, callee.workflow_id)
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow)
    assert (await error_of(database, run_id, "c"))["code"] == code
    assert await runs_of(database, callee) == []
    assert await status_of(database, run_id) == "failed"


async def test_runs_stand_at_most_ten_deep(database_url, database):
    """In a chain of twelve workflows the eleventh run cannot start a twelfth, and all above fail with it."""
    flow = await workflow(database, *graph("t>fa", t=CALLED))
    for _ in range(11):
        flow = await beside(database, flow, graph("t>c", t=CALLED, c=call(flow)))
    async with Engine.running(database_url) as engine:
        await engine.run(flow)
        await settle(engine)
    runs = await database.fetch("SELECT * FROM runs ORDER BY depth")
    assert [run["depth"] for run in runs] == list(range(11))
    assert {run["status"] for run in runs} == {"failed"}
    assert (await error_of(database, runs[-1]["id"], "c"))["code"] == "call_too_deep"


async def test_a_timeout_ends_the_wait_and_not_the_child(database_url, database):
    """The step fails with `timeout`; the child runs to its end, and its end changes nothing."""
    gates = Gates()
    gates.shut("a")
    known = registry(gates)
    flow, callee = await pair(database, graph("t>a", t=CALLED), "t>c", known, timeout=0.05)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
        assert (await error_of(database, run_id, "c"))["code"] == "timeout"
        gates.gates["a"].set()
        await settle(engine)
    assert [run["status"] for run in await runs_of(database, callee)] == ["completed"]
    assert await status_of(database, run_id) == "failed"


async def test_a_hundred_children_at_once(database_url, database):
    """A fan-out of calls starts each child once, and the join behind them fires once; all are counted as started."""
    callee = await workflow(database, *graph("t>fa", t=CALLED, fa=INNER))
    names = [f"c{number}" for number in range(100)]
    spec = " ".join(f"t>{name} {name}>fz" for name in names)
    data = {name: call(callee, context={"n": place}) for place, name in enumerate(names)}
    flow = await beside(database, callee, graph(spec, **data))
    before = RUNS_STARTED.labels("workflow")._value.get()
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow)
    assert RUNS_STARTED.labels("workflow")._value.get() == before + 100
    assert len(await children_of(database, run_id)) == 100
    outputs = [(await output_of(database, run_id, name))["output"]["value"] for name in names]
    assert outputs == list(range(100))


async def test_items_of_an_iterator_call_workflows(database_url, database):
    """Each item has a child of its own, under its item path, and a failed one fails its item alone."""
    known = registry(pure=lambda data: Outcome({"value": 6 / data.value}))
    callee = await workflow(database, *graph("t>fa", t=CALLED, fa=INNER), known)
    each = {"component": "iterator", "items": [1, 0, 3], "concurrency": 2, "on_item_error": "continue"}
    flow = await beside(
        database, callee, graph("t>i i>c:item", i=each, c=call(callee, context={"n": "{{ i.item }}"})), known
    )
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow)
    children = await children_of(database, run_id)
    assert {(run["parent_item"], run["status"]) for run in children} == {
        ("0", "completed"),
        ("1", "failed"),
        ("2", "completed"),
    }
    outputs = await database.fetch("SELECT item, output FROM steps WHERE run_id = $1 AND node_id = 'c'", run_id)
    found = {item: json.loads(text)["output"]["value"] for item, text in outputs if text is not None}
    assert found == {"0": 6.0, "2": 2.0}


async def test_cancelling_the_parent_cancels_the_child(database_url, database):
    """A child in flight is aborted and ends as cancelled, and so does its parent."""
    gates = Gates()
    gates.shut("a")
    known = registry(gates)
    flow, callee = await pair(database, graph("t>a", t=CALLED), known=known)
    async with Engine.running(database_url, known) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(engine_reaches(engine, gates))
        await cancel_runs(database, [run_id])
        await settle(engine)
    assert gates.cancelled["a"] == 1
    assert [run["status"] for run in await runs_of(database, callee)] == ["cancelled"]
    assert await status_of(database, run_id) == "cancelled"
    assert await steps_of(database, run_id) == {"t": "success", "c": "cancelled"}


def engine_reaches(engine, gates, name="a"):
    """Follow what is announced until an effect has been called."""

    async def reached():
        await engine.follow()
        return gates.calls[name] > 0

    return reached


async def test_a_cancelled_child_fails_the_step(database_url, database):
    """Cancelling the child alone wakes the parent's step, which fails and says so."""
    gates = Gates()
    gates.shut("a")
    known = registry(gates)
    flow, callee = await pair(database, graph("t>a", t=CALLED), "t>c", known)
    async with Engine.running(database_url, known) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(engine_reaches(engine, gates))
        (child,) = await runs_of(database, callee)
        await cancel_runs(database, [child["id"]])
        await settle(engine)
    message = (await error_of(database, run_id, "c"))["message"]
    assert message == f"The run {encode(Prefix.RUN, child['id'])} was cancelled."


async def test_children_end_while_their_parents_are_cancelled(database_url, database):
    """Both lock the same rows in one order: sixty times, whichever is first, every run ends without a deadlock."""
    gates = Gates()
    gates.shut("a")
    known = registry(gates)
    flow, _ = await pair(database, graph("t>a", t=CALLED), known=known)
    before = await database.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    async with Engine.running(database_url, known) as engine:
        runs = [await start_run(database, flow) for _ in range(60)]
        for run_id in runs:
            await engine.take(first(run_id, flow))

        async def all_called():
            await engine.follow()
            return gates.calls["a"] == 60

        await eventually(all_called)

        async def cancel_all():
            for run_id in runs:
                await cancel_runs(database, [run_id])

        cancelling = asyncio.create_task(cancel_all())
        gates.gates["a"].set()
        await cancelling
        await settle(engine)
    ended = await database.fetch("SELECT status, count(*) FROM runs GROUP BY 1")
    assert sum(count for _, count in ended) == 120
    assert {status for status, _ in ended} <= {"completed", "cancelled"}
    await alone(database)
    after = await database.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert after == before


async def test_a_parent_that_failed_meanwhile_is_left_alone(database_url, database):
    """Another branch fails the parent while the child runs: the child ends well and its end changes nothing."""
    gates = Gates()
    gates.shut("a")
    known = registry(gates)
    callee = await workflow(database, *graph("t>a", t=CALLED), known)
    stop = {"component": "terminate", "status": "failed"}
    flow = await beside(database, callee, graph("t>c t>b b>x", c=call(callee), x=stop), known)
    async with Engine.running(database_url, known) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(engine_reaches(engine, gates))
        await until_status(database, run_id, "failed")
        gates.gates["a"].set()
        await settle(engine)
    assert [run["status"] for run in await runs_of(database, callee)] == ["completed"]
    assert await steps_of(database, run_id) == {
        "t": "success", "b": "success", "x": "success", "c": "cancelled"
    }  # fmt: skip
