"""A worker on a real database, with node types whose behaviour the test decides."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.errors import StepFailedError
from shared.ingest import Ingest, Trigger
from shared.lanes import Reference
from shared.nodes.base import Outcome, Terminate
from shared.nodes.registry import default_registry
from tests.engine import (
    Engine,
    assert_sound,
    error_of,
    eventually,
    first,
    graph,
    output_of,
    registry,
    start_run,
    start_runs,
    steps_of,
    workflow,
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is not the worker's."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await assert_sound(connection)
    await connection.close()


class Gates:
    """An effect that counts its calls, and waits at the gate of its node if there is one."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.keys: set[str] = set()
        self.cancelled: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event] = {}

    def shut(self, *names):
        for name in names:
            self.gates[name] = asyncio.Event()

    async def __call__(self, data, context):
        self.calls[context.node_id] += 1
        self.keys.add(context.idempotency_key)
        try:
            if context.node_id in self.gates:
                await self.gates[context.node_id].wait()
        except asyncio.CancelledError:
            self.cancelled[context.node_id] += 1
            raise
        return Outcome({"value": data.value, "attempt": context.attempt})


async def status_of(database, run_id):
    return await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id)


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


async def test_an_output_over_one_mebibyte_fails_its_step(database_url, database):
    """The size counts in bytes of JSON, so text outside ASCII weighs what it weighs."""
    sizes = {"f1": 1024 * 1024 - 12, "f2": 1024 * 1024 - 11, "f3": 1024 * 1024 // 2}
    texts = {"f1": "x" * sizes["f1"], "f2": "x" * sizes["f2"], "f3": "é" * sizes["f3"]}
    known = registry(pure=lambda data: Outcome({"value": texts[data.name]}))
    async with Engine.running(database_url, known) as engine:
        for name, status in (("f1", "completed"), ("f2", "failed"), ("f3", "failed")):
            flow = await workflow(database, *graph(f"t>{name}", **{name: {"name": name}}), known)
            run_id = await engine.run(flow, until=status)
            if status == "failed":
                assert (await error_of(database, run_id, name))["code"] == "output_too_large"


PAYLOADS = ["nul \\u0000 here", "\\ud800", "\\udc00\\ud800 \\ud83d\\ude00", "\\u0000\\ud834"]


@pytest.mark.parametrize("text", PAYLOADS)
async def test_nul_and_lone_surrogates_survive(database_url, database, text):
    """The run completes and the value comes back as it was sent, through pure nodes, effects and stored outputs."""
    spec = "t>f1 f1>a a>b t>b b>f2"
    data = {name: {"value": "{{ trigger.context.x }}"} for name in ("f1", "a", "b", "f2")}
    flow = await workflow(database, *graph(spec, **data))
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, f'{{"x": "{text}"}}', until="completed")
    sent = json.loads(f'"{text}"')
    for name in data:
        assert (await output_of(database, run_id, name))["value"] == sent


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\0b\udfff"])
async def test_messages_of_failures_may_hold_anything(database_url, database, text):
    """NUL and lone surrogates in an error's message and body fail the step with its own code, not with ours."""

    async def fail(data, context):
        raise StepFailedError("refused", f"no: {text}", category="4xx", body={"x": text}, step_input={"y": text})

    flow = await workflow(database, *graph("t>a"), registry(fail))
    async with Engine.running(database_url, registry(fail)) as engine:
        run_id = await engine.run(flow, until="failed")
    assert (await error_of(database, run_id, "a"))["code"] == "refused"
    assert (await error_of(database, run_id, "a"))["body"] == {"x": text}
    assert (await database.fetchval("SELECT error_message FROM runs")).startswith("no: ")


@pytest.mark.parametrize("text", ["\0", "\ud800"])
async def test_terminate_may_say_anything(database_url, database, text):
    """NUL and lone surrogates in the message and output of `terminate` end the run as it says."""
    known = registry(pure=lambda data: Outcome({}, terminate=Terminate("failed", f"no: {text}", {"x": text})))
    flow = await workflow(database, *graph("t>f1"), known)
    async with Engine.running(database_url, known) as engine:
        run_id = await engine.run(flow, until="failed")
    assert await steps_of(database, run_id) == {"t": "success", "f1": "success"}
    assert (await database.fetchval("SELECT error_message FROM runs")).startswith("no: ")


class Broken(BaseException):
    """Not even an Exception."""


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


async def test_a_failed_attempt_waits_and_is_tried_again(database_url, database):
    """It goes to waiting, due after its delay, as attempt 2; the run goes on with the attempt that succeeds."""
    seen = []

    async def flaky(data, context):
        seen.append(context.attempt)
        if context.attempt < 3:
            raise StepFailedError("away", "Nobody there.", category="network")
        return Outcome({"value": "there"})

    retry = {"max_attempts": 3, "delay": 0.2, "backoff": "fixed", "jitter": False}
    flow = await workflow(database, *graph("t>a a>f1", a={"retry": retry}), registry(flaky))
    async with Engine.running(database_url, registry(flaky)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await engine.idle()
        row = await database.fetchrow(
            "SELECT status, attempt, claim_id, extract(epoch FROM due_at - started_at)::float8 AS delay FROM open_steps"
        )
        assert (row["status"], row["attempt"], row["claim_id"]) == ("waiting", 2, None)
        assert 0.1 < row["delay"] <= 0.25
        await engine.finish(run_id, until="completed")
    assert seen == [1, 2, 3]
    attempts = await database.fetch("SELECT status, attempt FROM steps WHERE node_id = 'a' ORDER BY attempt")
    assert [tuple(row) for row in attempts] == [("retried", 1), ("retried", 2), ("success", 3)]


async def test_retries_end(database_url, database):
    """The last attempt's failure fails the run, and a category that is not listed is not tried again."""

    async def fail(data, context):
        raise StepFailedError("no", "No.", category="4xx" if context.node_id == "b" else "network")

    retry = {"max_attempts": 2, "delay": 0.0, "jitter": False}
    async with Engine.running(database_url, registry(fail)) as engine:
        for name, attempts in (("a", ["retried", "failed"]), ("b", ["failed"])):
            flow = await workflow(database, *graph(f"t>{name}", **{name: {"retry": retry}}), registry(fail))
            run_id = await engine.run(flow, until="failed")
            rows = await database.fetch(
                "SELECT status FROM steps WHERE run_id = $1 AND node_id = $2 ORDER BY attempt", run_id, name
            )
            assert [row["status"] for row in rows] == attempts


async def test_continue_on_error_takes_the_error_edge(database_url, database):
    """The failure is recorded, its other edges are dead, and the nodes behind `error` see what happened."""

    async def fail(data, context):
        if context.node_id == "a":
            raise StepFailedError("no", "No.", http_status=418, body="short and stout")
        return Outcome({"value": data.value})

    data = {"a": {"continue_on_error": True}, "b": {"value": "{{ a.error.code }}-{{ a.error.status }}"}}
    flow = await workflow(database, *graph("t>a a>b:error a>f1", **data), registry(fail))
    async with Engine.running(database_url, registry(fail)) as engine:
        run_id = await engine.run(flow, until="completed")
    assert await steps_of(database, run_id) == {"t": "success", "a": "failed", "b": "success", "f1": "skipped"}
    assert await output_of(database, run_id, "b") == {"value": "no-418"}


async def test_a_disabled_node_passes_its_input_on(database_url, database):
    """In the middle of a walk, at its start, and behind a join some of whose branches were skipped."""
    condition = {"component": "string_condition", "input": "x", "operator": "equals", "value": "x"}
    spec = "t>a a>f1 f1>c c>d:true c>e:false d>j e>j"
    data = {
        "a": {"value": 1},
        "f1": {"disabled": True},
        "c": condition,
        "d": {"value": 2},
        "e": {"value": 3},
        "j": {"disabled": True},
    }
    flow = await workflow(database, *graph(spec, **data))
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="completed")
    assert (await output_of(database, run_id, "f1"))["value"] == 1
    assert (await output_of(database, run_id, "j"))["value"] == 2
    assert (await steps_of(database, run_id))["e"] == "skipped"


async def test_skips_are_passed_on_to_the_join_and_recorded(database_url, database):
    """A branch not taken is recorded as skipped, node by node; a join all of whose edges are dead is skipped too."""
    condition = {"component": "string_condition", "input": "x", "operator": "equals", "value": "x"}
    spec = "t>c c>a:true c>b:false b>f1 c>d:false f1>j d>j j>f2 a>k f2>k"
    flow = await workflow(database, *graph(spec, c=condition))
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="completed")
    steps = await steps_of(database, run_id)
    assert {name for name, status in steps.items() if status == "skipped"} == {"b", "f1", "d", "j", "f2"}
    assert {name for name, status in steps.items() if status == "success"} == {"t", "c", "a", "k"}


async def test_a_join_that_two_walks_left_dead_is_skipped_by_whoever_takes_it(database_url, database):
    """Both effects fail onto their error edges; the join behind their outputs opens as not fired and passes it on."""

    async def fail(data, context):
        raise StepFailedError("no", "No.")

    data = {"a": {"continue_on_error": True}, "b": {"continue_on_error": True}}
    flow = await workflow(database, *graph("t>a t>b a>j b>j j>f1", **data), registry(fail))
    async with Engine.running(database_url, registry(fail)) as engine:
        run_id = await engine.run(flow, until="completed")
    steps = await steps_of(database, run_id)
    assert (steps["j"], steps["f1"]) == ("skipped", "skipped")


async def test_a_delay_waits_without_a_worker(database_url, database):
    """The wait is a row; nothing is held meanwhile; what follows sees the trigger and everything before the wait."""
    delay = {"component": "delay", "duration": 0.3}
    after = {"value": "{{ trigger.context.x }}-{{ a.value }}-{{ w.resumed_at | size }}"}
    flow = await workflow(database, *graph("t>a a>w w>f1", w=delay, a={"value": "A"}, f1=after))
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow, '{"x": "X"}')
        await engine.take(first(run_id, flow))
        await engine.idle()
        assert len(engine.held) == 0
        assert await database.fetchval("SELECT status FROM open_steps") == "waiting"
        await engine.finish(run_id, until="completed")
    assert await output_of(database, run_id, "f1") == {"value": "X-A-27"}
    waited = await database.fetchval("SELECT completed_at - created_at >= interval '0.3 s' FROM runs")
    assert waited


async def test_every_branch_sees_the_trigger_and_its_ancestors(database_url, database):
    """Steps that start a walk of their own (fork, claim, join) read stored outputs and the trigger's."""
    value = {"value": "{{ trigger.context.x }}{{ nodes['a'].value }}"}
    data = {
        "a": {"value": "A"},
        "b": value,
        "c": value,
        "j": {"value": "{{ b.value }}|{{ c.value }}|{{ t.context.x }}"},
    }
    flow = await workflow(database, *graph("t>a a>b a>c b>j c>j", **data))
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, '{"x": "X"}', until="completed")
    assert await output_of(database, run_id, "j") == {"value": "XA|XA|X"}


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


async def test_a_timeout_fails_the_step(database_url, database):
    """An effect that takes longer than its node's timeout is aborted and fails with `timeout`."""
    gates = Gates()
    gates.shut("a")
    flow = await workflow(database, *graph("t>a", a={"timeout": 0.05}), registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await engine.run(flow, until="failed")
    assert (await error_of(database, run_id, "a"))["code"] == "timeout"
    assert gates.cancelled == {"a": 1}


async def test_a_failure_cancels_what_waits_and_lets_what_runs_settle(database_url, database):
    """Ready and waiting steps go with the failure; the effect in flight is recorded, but its edges don't fire."""
    gates = Gates()
    gates.shut("a")

    async def act(data, context):
        if context.node_id == "b":
            raise StepFailedError("no", "No.")
        return await gates(data, context)

    delay = {"component": "delay", "duration": 3600}
    flow = await workflow(database, *graph("t>a t>b t>c t>w a>f1", w=delay), registry(act))
    async with Engine.running(database_url, registry(act)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["a"] == 1)
        await engine.take(Reference(run_id, "b", "-", claim=True))

        async def decided():
            return await database.fetchval("SELECT outcome FROM runs") == "failed"

        await eventually(decided)
        assert await status_of(database, run_id) == "running"
        assert (await steps_of(database, run_id))["w"] == "cancelled"
        await assert_sound(database)
        gates.gates["a"].set()
        await engine.finish(run_id, until="failed")
    steps = await steps_of(database, run_id)
    assert steps == {"t": "success", "a": "success", "b": "failed", "c": "cancelled", "w": "cancelled"}
    assert await database.fetchval("SELECT error_message FROM runs") == "No."


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
    # Sessions report when they end, so the pool is closed by now; heartbeats are in it too.
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
