"""A worker whose node types, connections or lease fail it."""

import asyncio
from collections import Counter

import pytest

from shared.lanes import Reference
from shared.nodes.base import Outcome
from tests.engine import Engine, Gates, eventually, first, graph, registry, start_run, workflow
from tests.proxy import Proxy
from tests.rows import error_of, status_of, steps_of


async def declare_dead(database):
    """What rescue does to every incarnation."""
    async with database.transaction():
        await database.execute("UPDATE incarnations SET dead_at = clock_timestamp()")
        await database.execute(
            "UPDATE open_steps SET status = 'ready', claim_id = NULL, incarnation_id = NULL, sent_at = NULL,"
            " crashes = crashes + 1, claim_first = true WHERE status = 'running'"
        )


async def test_a_worker_that_is_declared_dead_drops_everything_and_begins_anew(database_url, database):
    """Its effects are aborted, it writes nothing of them, and it goes on under a new incarnation."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a a>f1"), registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        old = engine.incarnation.id
        await declare_dead(database)
        await eventually(lambda: gates.cancelled["a"] == 1)
        await engine.idle()
        assert await database.fetchval("SELECT count(*) FROM steps WHERE node_id = 'a'") == 0
        assert await database.fetchval("SELECT status FROM open_steps WHERE node_id = 'a'") == "ready"
        await eventually(lambda: engine.incarnation.id != old)
        gates.gates["a"].set()
        await engine.take(Reference(run_id, "a", "-", claim=True))
        await engine.finish(run_id)
        assert await database.fetchval("SELECT count(*) FROM incarnations WHERE dead_at IS NULL") == 1
    assert gates.calls["a"] == 2
    assert len(gates.keys) == 1


async def test_a_late_result_writes_nothing_over_its_successor(database_url, database):
    """An effect that ends after its step was taken over and finished elsewhere changes no row."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a a>f1"), registry(gates))
    async with Engine.running(database_url, registry(gates), lease=600) as slow:
        run_id = await start_run(database, flow)
        await slow.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await slow.incarnation.stop()  # as SIGSTOP would: no heartbeat tells it
        await declare_dead(database)
        async with Engine.running(database_url, registry()) as quick:
            await quick.take(Reference(run_id, "a", "-", claim=True))
            await quick.finish(run_id)
        before = await database.fetch("SELECT * FROM steps ORDER BY seq")
        gates.gates["a"].set()
        await slow.idle()
        assert await database.fetch("SELECT * FROM steps ORDER BY seq") == before
        assert await status_of(database, run_id) == "completed"


def breaking(kind):
    """A function that breaks in a way of its own."""

    def act(data):
        if kind == "handle":
            return Outcome({}, handle="no such handle")
        if kind == "type":
            return Outcome({"x": object()})
        if kind == "nothing":
            return None
        if kind == "cancelled":
            raise asyncio.CancelledError
        if kind == "deep":
            value = {}
            for _ in range(100_000):
                value = {"x": value}
            return Outcome(value)
        raise {"error": ZeroDivisionError, "exit": SystemExit, "recursion": RecursionError}[kind]

    return act


KINDS = ["handle", "type", "nothing", "deep", "error", "recursion"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("caught", [False, True])
async def test_a_pure_node_that_breaks_fails_its_step(database_url, database, kind, caught):
    """Whatever a node type does, the step fails with internal_error, and others in its message are not touched."""
    known = registry(pure=breaking(kind))
    spec = "t>f1 f1>a:error" if caught else "t>f1 f1>a:left"
    data = {"continue_on_error": caught, "name": "forked" if kind == "handle" else ""}
    sick = await workflow(database, *graph(spec, f1=data), known)
    well = await workflow(database, *graph("t>a"), known)
    async with Engine.running(database_url, known) as engine:
        run_id, other = await start_run(database, sick), await start_run(database, well)
        await engine.take(first(run_id, sick), first(other, well))
        await engine.finish(run_id, until="completed" if caught else "failed")
        await engine.finish(other, until="completed")
        assert (await error_of(database, run_id, "f1"))["code"] == "internal_error"
        await engine.idle()
        assert len(engine.held) == 0


@pytest.mark.parametrize("kind", [*KINDS, "cancelled", "exit"])
async def test_an_effect_that_breaks_fails_its_step(database_url, database, kind):
    """Whatever an effect does, its step fails with internal_error, and the worker goes on."""
    act = breaking(kind)

    async def effect(data, context):
        return act(data) if context.node_id == "a" else Outcome({})

    known = registry(effect)
    forked = kind == "handle"
    spec = "t>a t>b a>c:left" if forked else "t>a t>b"
    flow = await workflow(database, *graph(spec, a={"name": "forked" if forked else ""}), known)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow, until="failed")
        assert (await error_of(database, run_id, "a"))["code"] == "internal_error"
        await engine.idle()
        assert len(engine.held) == 0


async def test_a_database_that_goes_away_in_the_middle_of_a_walk_leaves_no_claim_behind(database_url, database):
    """A claimed step whose plan could not be read is given back instead of being held for ever."""
    flow = await workflow(database, *graph("t>a"))
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await database.execute("ALTER TABLE workflow_versions RENAME TO gone")
        await engine.take(Reference(run_id, "t", "-", claim=True))
        await engine.idle()
        await eventually(lambda: len(engine.held) == 0)
        await database.execute("ALTER TABLE gone RENAME TO workflow_versions")

        async def released():
            return await database.fetchval("SELECT status FROM open_steps") == "ready"

        await eventually(released)
        await engine.take(Reference(run_id, "t", "-", claim=True))
        await engine.finish(run_id, until="completed")


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_of_unknown_outcome_doubles_nothing_and_the_walk_goes_on(database_url, database, cut):
    """The connection is lost before or after the commit that carries a result and the next claim."""
    calls: Counter[str] = Counter()

    async def cutting(data, context):
        calls[context.node_id] += 1
        if context.node_id in {"a", "c"}:  # the commits behind these: one goes on with an effect, one ends the run
            proxy.cut = cut
        return Outcome({})

    known = registry(cutting)
    flow = await workflow(database, *graph("t>f1 f1>a a>f2 f2>b b>c c>f3"), known)
    async with Proxy.before(database_url) as proxy:
        async with Engine.running(database_url, known, pool_url=proxy.url) as engine:
            await engine.run(flow)  # every statement is prepared now
            proxy.cut = ""
            calls.clear()
            proxy.losses = 0
            run_id = await start_run(database, flow)
            await engine.take(first(run_id, flow))
            await engine.finish(run_id, until="completed")
            await engine.idle()
            assert len(engine.held) == 0
        assert proxy.losses == 2
    assert calls == {"a": 1, "b": 1, "c": 1}
    assert len(await steps_of(database, run_id)) == 7


async def test_a_commit_whose_backend_is_killed_is_sent_again(database_url, database):
    """The backend dies while it waits for the run's row; the advance is written once all the same."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a a>b"), registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        locking = database.transaction()
        await locking.start()
        await database.execute("SELECT FROM runs FOR UPDATE")
        gates.gates["a"].set()

        async def killed():
            return await database.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%commit_advances%'"
            )

        await eventually(killed)
        await locking.rollback()
        await engine.finish(run_id, until="completed")
    assert gates.calls == {"a": 1, "b": 1}


async def test_an_advance_that_postgres_refuses_fails_its_step_alone(database_url, database):
    """A unit that breaks whatever it is batched with: its step fails with internal_error, its neighbours go on."""
    await database.execute("ALTER TABLE steps ADD CONSTRAINT no_poison CHECK (output NOT LIKE '%poison%')")
    known = registry()
    sick = await workflow(database, *graph("t>a a>b", a={"value": "poison"}), known)
    well = await workflow(database, *graph("t>a a>b"), known)
    async with Engine.running(database_url, known) as engine:
        runs = [(await start_run(database, flow), flow) for flow in (sick, well) * 4]
        await asyncio.gather(*(engine.take(first(run_id, flow)) for run_id, flow in runs))
        for run_id, flow in runs:
            await engine.finish(run_id, until="failed" if flow is sick else "completed")
            if flow is sick:
                assert (await error_of(database, run_id, "a"))["code"] == "internal_error"
        await engine.idle()
        assert len(engine.held) == 0
