"""``on_crash: fail``: at most one call, whatever becomes of the worker."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.lanes import Reference
from shared.nodes.base import Outcome
from shared.nodes.registry import default_registry
from shared.store.taken import GIVEN_UP
from tests.duties import Replica
from tests.engine import Engine, Gates, eventually, first, graph, registry, start_run, workflow
from tests.proxy import Proxy
from tests.rows import error_of, steps_of

ONCE = {"on_crash": "fail"}


@pytest.fixture
async def replica(database_url: str, broker_url: str) -> AsyncIterator[Replica]:
    """A scheduler's duties."""
    async with Replica.running(database_url, broker_url) as one:
        yield one


async def rescue(database, replica):
    """The lease of every worker runs out."""
    await database.execute("UPDATE incarnations SET heartbeat_at = heartbeat_at - interval '1 hour'")
    await replica.rescue.work()


async def crashes_of(database, node_id="a"):
    return await database.fetchval("SELECT crashes FROM open_steps WHERE node_id = $1", node_id)


async def is_ready(database, node_id="a"):
    return await database.fetchval("SELECT status FROM open_steps WHERE node_id = $1", node_id) == "ready"


@pytest.mark.parametrize("caught", [False, True])
async def test_a_step_whose_worker_died_is_never_called_again(database_url, database, replica, caught):
    """Whoever takes it next settles it as failed, or sends it along its error edge."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(
        database, *graph("t>a a>b:error" if caught else "t>a a>b", a=ONCE | {"continue_on_error": caught})
    )
    async with Engine.running(database_url, registry(gates), lease=600) as lost:
        run_id = await start_run(database, flow)
        await lost.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await rescue(database, replica)
        async with Engine.running(database_url, registry(gates)) as engine:
            await engine.take(Reference(run_id, "a", "-", claim=True))
            await engine.finish(run_id, until="completed" if caught else "failed")
        error = await error_of(database, run_id, "a")
        gates.gates["a"].set()  # the first worker was only frozen: what it has to say comes too late
        await lost.idle()
        assert await error_of(database, run_id, "a") == error
    assert error["code"] == "worker_crashed"
    assert gates.calls == ({"a": 1, "b": 1} if caught else {"a": 1})


async def test_a_late_message_without_a_claim_does_not_call_it_again(database_url, database, replica):
    """A join is announced without a claim; a copy of that message that comes after a crash finds a crashed step."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>f1 t>f2 f1>a f2>a", a=ONCE))
    async with Engine.running(database_url, registry(gates), lease=600) as lost:
        run_id = await start_run(database, flow)
        await lost.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await rescue(database, replica)
        async with Engine.running(database_url, registry(gates)) as engine:
            await engine.take(Reference(run_id, "a", "-", claim=False))
            await engine.finish(run_id, until="failed")
            await engine.idle()
    assert (await error_of(database, run_id, "a"))["code"] == "worker_crashed"
    assert gates.calls == {"a": 1}


async def test_without_the_setting_it_is_called_again_with_the_same_key(database_url, database, replica):
    """The default is at least once; the crash uses no attempt up."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a"))
    async with Engine.running(database_url, registry(gates), lease=600) as lost:
        run_id = await start_run(database, flow)
        await lost.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await rescue(database, replica)
        async with Engine.running(database_url, registry()) as engine:
            await engine.take(Reference(run_id, "a", "-", claim=True))
            await engine.finish(run_id, until="completed")
    assert await database.fetchval("SELECT attempt FROM steps WHERE node_id = 'a'") == 1


async def test_a_worker_that_begins_anew_does_not_call_it_again(database_url, database, replica):
    """Its own incarnation is declared dead: the call is aborted, and the step fails for whoever takes it."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a", a=ONCE))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        old = engine.incarnation.id
        await rescue(database, replica)
        await eventually(lambda: engine.incarnation.id != old)
        await eventually(lambda: gates.cancelled["a"] == 1)
        await engine.take(Reference(run_id, "a", "-", claim=True))
        await engine.finish(run_id, until="failed")
    assert (await error_of(database, run_id, "a"))["code"] == "worker_crashed"
    assert gates.calls == {"a": 1}


async def test_a_call_that_a_stop_aborts_fails(database_url, database):
    """After the grace period a long call is aborted, and its step is settled instead of being handed back."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a", a=ONCE))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await engine.stop(grace=0.05)
    assert await steps_of(database, run_id) == {"t": "success", "a": "failed"}
    assert (await error_of(database, run_id, "a"))["code"] == "worker_stopped"
    assert await database.fetchval("SELECT status FROM runs") == "failed"


async def test_a_call_that_ignores_its_abort_counts_as_crashed(database_url, database):
    """A stop does not wait for it; the step is given back as one that is not to be called again."""
    may_end = asyncio.Event()
    calls = []

    async def stubborn(data, context):
        calls.append(context.node_id)
        while not may_end.is_set():
            try:
                await may_end.wait()
            except asyncio.CancelledError:
                continue
        return Outcome({})

    flow = await workflow(database, *graph("t>a", a=ONCE))
    async with Engine.running(database_url, registry(stubborn)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: calls == ["a"])
        await engine.stop(grace=0.0)
        assert await is_ready(database)
        assert await crashes_of(database) == 1
        async with Engine.running(database_url, registry(stubborn)) as other:
            await other.take(Reference(run_id, "a", "-", claim=True))
            await other.finish(run_id, until="failed")
        may_end.set()
        await engine.idle()
    assert calls == ["a"]
    assert (await error_of(database, run_id, "a"))["code"] == "worker_crashed"


async def test_a_claim_of_unknown_outcome_is_no_call(database_url, database):
    """The answer to a claim is lost, so nothing was called; the step is released uncounted, and then called once."""
    gates = Gates()
    flow = await workflow(database, *graph("t>a t>b", b=ONCE))
    async with (
        Proxy.before(database_url) as proxy,
        Engine.running(database_url, registry(gates), pool_url=proxy.url) as engine,
    ):
        await engine.run(flow)  # every statement is prepared now
        gates.calls.clear()
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await engine.idle()
        proxy.cut = "after"
        await engine.follow()
        await eventually(lambda: proxy.losses == 1)

        async def released():
            return await is_ready(database, "b")

        await eventually(released)
        assert await crashes_of(database, "b") == 0
        await engine.take(Reference(run_id, "b", "-", claim=True))
        await engine.finish(run_id, until="completed")
    assert gates.calls == {"a": 1, "b": 1}


async def test_a_step_put_back_for_a_newer_worker_is_called_once(database_url, database):
    """A worker that does not know a node type calls nothing, and that counts as no crash."""
    gates = Gates()
    flow = await workflow(database, *graph("t>x t>a", a=ONCE))
    async with Engine.running(database_url, registry(gates)) as new:
        run_id = await start_run(database, flow)
        await new.take(first(run_id, flow))
        await new.idle()
        (left,) = new.mailbox.references()
        async with Engine.running(database_url, default_registry()) as old:
            await old.take(left)
            await old.idle()
        assert await crashes_of(database) == 0
        await new.take(left)
        await new.finish(run_id, until="completed")
    assert gates.calls == {"x": 1, "a": 1}


async def test_a_result_that_postgres_refuses_is_a_failure(database_url, database):
    """The call was made; its result cannot be stored, so the step fails with internal_error."""
    await database.execute("ALTER TABLE steps ADD CONSTRAINT no_poison CHECK (output NOT LIKE '%poison%')")
    gates = Gates()
    flow = await workflow(database, *graph("t>a", a=ONCE | {"value": "poison"}))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await engine.run(flow, until="failed")
    assert (await error_of(database, run_id, "a"))["code"] == "internal_error"
    assert gates.calls == {"a": 1}


@pytest.mark.parametrize("settings", [{}, ONCE])
async def test_a_step_of_which_postgres_takes_nothing_is_not_run_again(database_url, database, settings):
    """Nothing that ends it can be stored: it is given up, called once, and fails as soon as that can be stored."""
    await database.execute("ALTER TABLE steps ADD CONSTRAINT no_a CHECK (node_id <> 'a')")
    gates = Gates()
    flow = await workflow(database, *graph("t>a", a=settings))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))

        async def given_up():
            return await crashes_of(database) == GIVEN_UP

        for _ in range(3):
            await eventually(given_up)
            await engine.idle()
            assert await is_ready(database)
            await engine.take(Reference(run_id, "a", "-", claim=True))
            await engine.idle()
        assert await database.fetchval("SELECT sent_at > now() - interval '1 minute' FROM open_steps")  # backs off
        await database.execute("ALTER TABLE steps DROP CONSTRAINT no_a")
        await engine.take(Reference(run_id, "a", "-", claim=True))
        await engine.finish(run_id, until="failed")
    assert gates.calls == {"a": 1}
    assert (await error_of(database, run_id, "a"))["code"] == "internal_error"


async def test_a_failure_that_leads_nowhere_storable_fails_the_run(database_url, database):
    """What stands behind the error edge cannot be stored: the run ends with the failed step alone."""
    await database.execute("ALTER TABLE steps ADD CONSTRAINT no_poison CHECK (output NOT LIKE '%poison%')")
    await database.execute("ALTER TABLE open_steps ADD CONSTRAINT no_b CHECK (node_id <> 'b')")
    flow = await workflow(database, *graph("t>a a>b:error", a={"value": "poison", "continue_on_error": True}))
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="failed")
    assert await steps_of(database, run_id) == {"t": "success", "a": "failed"}
    assert await database.fetchval("SELECT error_message FROM runs") == "Internal error: CheckViolationError."
