"""A worker on a real database, with node types whose behaviour the test decides."""

import asyncio
import base64
import random

import asyncpg

from shared.announcer import Announcer
from shared.config import load as load_config
from shared.db import Clock, open_pool
from shared.ingest import Ingest, Trigger
from shared.lanes import Reference
from shared.nodes.base import Outcome, Terminate
from shared.nodes.registry import default_registry
from tests.engine import Engine, Gates, alone, eventually, first, graph, registry, start_run, start_runs, workflow
from tests.rows import status_of, steps_of
from worker.main import Worker


async def test_a_pure_run_is_one_commit_without_a_claim(database_url, database):
    """A run of pure nodes alone ends with its first advance; nothing is ever claimed."""
    flow = await workflow(database, *graph("t>f1 f1>f2", f1={"value": "{{ trigger.context.x }}"}))
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow, '{"x": 7}')
        await engine.take(first(run_id, flow))
        assert await status_of(database, run_id) == "completed"
        assert await steps_of(database, run_id) == {"t": "success", "f1": "success", "f2": "success"}
        assert engine.capacity.used == 0
        assert len(engine.held) == 0


async def test_repeated_and_reordered_messages_give_one_result_per_step(database_url, database):
    """Every message twice, to two workers, in random order: each step has one result and each effect one call."""
    gates = Gates()
    flow = await workflow(database, *graph("t>a t>b a>f1 b>f1 f1>c"), registry(gates))
    run_ids = await start_runs(database, flow, 20)
    async with (
        Engine.running(database_url, registry(gates)) as one,
        Engine.running(database_url, registry(gates)) as two,
    ):
        references = [first(run_id, flow) for run_id in run_ids] * 2
        random.Random(3).shuffle(references)
        await asyncio.gather(*(engine.take(reference) for reference in references for engine in (one, two)))

        async def all_ended():
            for engine, other in ((one, two), (two, one)):
                for reference in engine.mailbox.references() * 2:
                    await asyncio.gather(engine.take(reference), other.take(reference))
            return await database.fetchval("SELECT bool_and(status = 'completed') FROM runs")

        await eventually(all_ended)
        await one.idle()
        await two.idle()
    assert gates.calls == {"a": 20, "b": 20, "c": 20}
    assert await database.fetchval("SELECT count(*) FROM steps") == 20 * 5


async def test_two_workers_share_a_fan_out_and_join_once(database_url, database):
    """Sixty effects over two workers meet in one join, which runs once."""
    gates = Gates()
    branches = [f"h{number}" for number in range(60)]
    spec = " ".join(f"t>{name} {name}>j" for name in branches)
    flow = await workflow(database, *graph(spec), registry(gates))
    async with (
        Engine.running(database_url, registry(gates)) as one,
        Engine.running(database_url, registry(gates)) as two,
    ):
        run_id = await start_run(database, flow)
        await one.take(first(run_id, flow))

        async def ended():
            references = one.mailbox.references() + two.mailbox.references()
            await asyncio.gather(*((one, two)[index % 2].take(ref) for index, ref in enumerate(references)))
            return await status_of(database, run_id) == "completed"

        await eventually(ended)
    assert gates.calls == dict.fromkeys([*branches, "j"], 1)
    assert len(await steps_of(database, run_id)) == 62


async def test_a_message_about_a_finished_step_does_nothing(database_url, database):
    """Redelivery after the end, with or without a claim, changes no row and leaves no slot taken."""
    gates = Gates()
    flow = await workflow(database, *graph("t>a"), registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await engine.run(flow)
        before = await database.fetch("SELECT * FROM runs")
        await engine.take(
            first(run_id, flow), Reference(run_id, "a", "-", claim=True), Reference(run_id, "t", "-", claim=True)
        )
        await engine.idle()
        assert await database.fetch("SELECT * FROM runs") == before
    assert gates.calls == {"a": 1}


async def test_an_effect_starts_only_when_its_inputs_are_committed(database_url, database):
    """Inside every effect, another connection sees all results before it, and the effect itself as running."""
    seen = []

    async def look(data, context):
        connection = await asyncpg.connect(database_url)
        try:
            settled = {record[0] for record in await connection.fetch("SELECT node_id FROM steps")}
            running = await connection.fetchval(
                "SELECT status FROM open_steps WHERE node_id = $1 AND claim_id IS NOT NULL", context.node_id
            )
        finally:
            await connection.close()
        seen.append((context.node_id, settled, running))
        return Outcome({})

    flow = await workflow(database, *graph("t>f1 f1>a a>f2 f2>b"), registry(look))
    async with Engine.running(database_url, registry(look)) as engine:
        await engine.run(flow)
    assert seen == [
        ("a", {"t", "f1"}, "running"),
        ("b", {"t", "f1", "a", "f2"}, "running"),
    ]


async def test_the_stop_flag_aborts_an_effect_and_records_it_as_cancelled(database_url, database):
    """`terminate` on one branch ends the run while the effect of the other is in flight; that takes a heartbeat."""
    gates = Gates()
    gates.shut("a")

    def end(data):
        return Outcome({}, terminate=Terminate("completed", output={"x": 1}))

    known = registry(gates, end)
    flow = await workflow(database, *graph("t>a t>b b>f1"), known)
    async with Engine.running(database_url, known) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        began = asyncio.get_running_loop().time()
        await engine.finish(run_id)
        assert asyncio.get_running_loop().time() - began < 3.0
    assert await steps_of(database, run_id) == {"t": "success", "a": "cancelled", "b": "success", "f1": "success"}
    row = await database.fetchrow("SELECT status, output FROM runs")
    assert tuple(row) == ("completed", '{"x":1}')


async def test_a_stop_lets_short_effects_finish_and_leaves_what_follows_to_others(database_url, database):
    """Within the grace period an effect ends, its result is committed, and the next effect is announced, not begun."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a a>f1 f1>b"), registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        stopping = asyncio.create_task(engine.stop(grace=20.0))
        await asyncio.sleep(0)  # the stop has begun
        gates.gates["a"].set()
        await stopping
        assert engine.mailbox.references() == [Reference(run_id, "b", "-", claim=True)]
    assert await steps_of(database, run_id) == {"t": "success", "a": "success", "f1": "success"}
    assert gates.calls == {"a": 1}


async def test_a_stop_gives_long_effects_back(database_url, database):
    """After the grace period an effect is aborted; its step is ready again for others, under no claim."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a"), registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await engine.stop(grace=0.05)
        assert gates.cancelled == {"a": 1}
        row = await database.fetchrow("SELECT status, claim_id, sent_at, claim_first, crashes FROM open_steps")
        assert tuple(row) == ("ready", None, None, True, 0)
        assert await database.fetchval("SELECT bool_and(dead_at IS NOT NULL) FROM incarnations")


async def test_a_stopping_worker_claims_nothing_and_passes_messages_on(database_url, database):
    """A message that was fetched just before the stop starts no effect; it is announced again."""
    gates = Gates()
    flow = await workflow(database, *graph("t>a"), registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await database.execute("UPDATE open_steps SET claim_first = true")
        await engine.executor.stop(0.0)
        await engine.take(Reference(run_id, "t", "-", claim=True))
        assert await database.fetchval("SELECT status FROM open_steps") == "ready"
        assert engine.mailbox.references() == [Reference(run_id, "t", "-", claim=True)]
        assert engine.capacity.used == 0
    assert not gates.calls


async def test_a_step_of_an_unknown_type_is_put_back_for_a_newer_worker(database_url, database):
    """It goes back to ready as if just sent; a worker that knows the type completes the run."""
    flow = await workflow(database, *graph("t>a"))
    async with Engine.running(database_url, default_registry()) as old:
        run_id = await start_run(database, flow)
        await old.take(Reference(run_id, "t", "-", claim=True))
        await old.idle()
        row = await database.fetchrow("SELECT status, sent_at IS NOT NULL, claim_first FROM open_steps")
        assert tuple(row) == ("ready", True, True)
        assert len(old.held) == 0
        await old.take(first(run_id, flow))
        assert await database.fetchval("SELECT status FROM open_steps") == "ready"
    async with Engine.running(database_url) as new:
        await new.take(Reference(run_id, "t", "-", claim=True))
        await new.finish(run_id, until="completed")


async def test_pure_runs_cost_few_commits(database_url, database):
    """A hundred workflows of ten pure nodes each cost at most three commits per run, the ingest included."""
    spec = " ".join(f"{'t' if n == 0 else f'f{n}'}>f{n + 1}" for n in range(10))
    flows = [await workflow(database, *graph(spec)) for _ in range(100)]
    async with Engine.running(database_url) as engine:
        ingest = Ingest(engine.pool, engine.mailbox, engine.clock, window=1000)  # type: ignore[arg-type]
        before = await commits(database)
        accepted = await asyncio.gather(*(ingest.accept(Trigger(flow.workflow_id, "manual", "{}")) for flow in flows))
        assert all(accepted)
        await asyncio.gather(*(engine.take(reference) for reference in engine.mailbox.references()))
        assert await database.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == 100
        await ingest.close()
    await alone(database)  # heartbeats are in it too
    assert await commits(database) - before <= 300
    assert await database.fetchval("SELECT count(*) FROM steps") == 100 * 11


async def commits(database):
    """Transactions committed in this database so far, by Postgres's own statistics."""
    await database.execute("SELECT pg_stat_force_next_flush()")
    return await database.fetchval("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")


async def test_slots_are_given_back_whatever_happens(database_url, database):
    """After lost steps, failures, unknown runs and duplicates every slot is free."""
    flow = await workflow(database, *graph("t>a t>b a>j b>j"))
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        nobody = Reference(flow.workflow_id, "t", "-", claim=False)
        await asyncio.gather(
            engine.take(first(run_id, flow), nobody, first(run_id, flow)),
            engine.take(nobody._replace(claim=True), Reference(run_id, "t", "-", claim=True)),
        )
        await engine.finish(run_id)
        await engine.idle()
        assert engine.capacity.free() == 256


def _settings(database_url, broker_url):
    return {
        "EDGEWISE_DATABASE_URL": database_url,
        "EDGEWISE_BROKER_URL": broker_url,
        "EDGEWISE_JWT_SECRET": "x" * 32,
        "EDGEWISE_VAULT_KEYS": "k1:" + base64.b64encode(b"x" * 32).decode(),
        "EDGEWISE_WORKER_THREADS": "2",
        "EDGEWISE_GRACE_SECONDS": "5",
    }


async def test_a_worker_that_never_reached_its_broker_says_so(database_url):
    """It is alive and not ready, and tells no time of a poll that never was."""
    async with asyncio.timeout(30):
        pool = await open_pool(database_url, size=4, name="test")
        worker = await Worker.start(load_config(_settings(database_url, "redis://127.0.0.1:1")), pool)
        assert await worker.checks()["broker"]() == "The broker has not been polled yet."
        await worker.stop()
        await pool.close()


async def test_a_worker_takes_messages_from_the_queue_and_stops_in_good_order(
    database_url, database, broker_url, monkeypatch
):
    """The whole process on this loop: ingest announces, every run is carried to its end, a stop leaves nothing."""
    gates = Gates()
    known = registry(gates)
    monkeypatch.setattr("worker.main.default_registry", lambda: known)
    config = load_config(_settings(database_url, broker_url))
    flow = await workflow(database, *graph("t>a t>b a>j b>j j>f1"), known)
    pool = await open_pool(database_url, size=4, name="test")
    announcer = Announcer(broker_url)
    clock = Clock()
    worker = await Worker.start(config, pool)
    ingest = Ingest(pool, announcer, clock, window=1000)
    await asyncio.gather(*(ingest.accept(Trigger(flow.workflow_id, "manual", "{}")) for _ in range(50)))

    async def ended():
        return await database.fetchval("SELECT bool_and(status = 'completed') FROM runs")

    await eventually(ended)
    assert gates.calls == {"a": 50, "b": 50, "j": 50}
    assert len(gates.keys) == 150
    await eventually(lambda: worker.capacity.used == 0)
    assert {name: await check() for name, check in worker.checks().items()} == dict.fromkeys(worker.checks())
    await worker.stop()
    await ingest.close()
    await asyncio.to_thread(announcer.close)
    assert await database.fetchval("SELECT bool_and(dead_at IS NOT NULL) FROM incarnations")
    await pool.close()
