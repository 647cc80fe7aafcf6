"""How steps end, on a real database: outputs, failures, retries, waits, skips."""

import json

import pytest

from shared.errors import StepFailedError
from shared.lanes import Reference
from shared.nodes.base import Outcome, Terminate
from tests.engine import Engine, Gates, eventually, first, graph, registry, start_run, wake_due, workflow
from tests.rows import assert_sound, error_of, output_of, status_of, steps_of


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


async def test_a_failed_attempt_waits_and_is_tried_again(database_url, database):
    """It goes to waiting, due after its delay, as attempt 2; the run goes on with the attempt that succeeds."""
    seen = []

    async def flaky(data, context):
        seen.append(context.attempt)
        if context.attempt < 3:
            raise StepFailedError("away", "Nobody there.", category="network")
        return Outcome({"value": "there"})

    retry = {"max_attempts": 3, "delay": 60, "backoff": "fixed", "jitter": False}
    flow = await workflow(database, *graph("t>a a>f1", a={"retry": retry}), registry(flaky))
    async with Engine.running(database_url, registry(flaky)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await engine.idle()
        row = await database.fetchrow(
            "SELECT status, attempt, claim_id, extract(epoch FROM due_at - started_at)::float8 AS delay FROM open_steps"
        )
        assert (row["status"], row["attempt"], row["claim_id"]) == ("waiting", 2, None)
        assert 50 < row["delay"] <= 70

        async def completed():
            await database.execute("UPDATE open_steps SET due_at = now() WHERE status = 'waiting'")
            await wake_due(engine.outside, engine.mailbox)
            await engine.follow()
            return await status_of(database, run_id) == "completed"

        await eventually(completed)
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
