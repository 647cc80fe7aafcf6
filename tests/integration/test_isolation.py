"""Steps that ended their workers run in processes of their own."""

from pathlib import Path

import pytest

from shared.ids import Prefix, encode
from shared.lanes import Reference
from shared.metrics import POISON_STEPS
from tests import killers
from tests.engine import Engine, eventually, first, graph, registry, start_run, workflow
from tests.rows import error_of, output_of, steps_of
from worker.isolation import Isolation

RETRY = {"max_attempts": 5, "delay": 0, "on": ["network", "timeout", "429", "5xx", "4xx", "error"]}


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where calls are noted."""
    path = tmp_path / "notes"
    monkeypatch.setenv("KILLERS", str(path))
    return path


def isolate(engine, isolation):
    """Let an engine run suspects so."""
    engine.executor._isolation = engine.executor._settling._isolation = isolation


async def run_apart(engine, database, spec, node_id, crashes=2, command=killers.APART, **data):
    """A run whose step has brought its workers down so often; it stands at that step."""
    hangs = any(node.get("name") == "spin" for node in data.values())
    isolate(engine, Isolation(command, patience=3.0 if hangs else 30.0))
    flow = await workflow(database, *graph(spec, **data))
    run_id = await start_run(database, flow)
    if node_id != "t":
        await engine.take(first(run_id, flow))
        await eventually(lambda: any(bell.reference.node_id == node_id for bell in engine.mailbox.bells))
        await engine.idle()
        engine.mailbox.references()
    await database.execute(
        "UPDATE open_steps SET crashes = $1, claim_first = true WHERE node_id = $2", crashes, node_id
    )
    await engine.take(Reference(run_id, node_id, "-", claim=True))
    return run_id


async def test_an_effect_runs_apart_and_goes_on(database_url, database, notes):
    """A child renders its data and calls it with the same key and attempt; what stands behind it runs here again."""
    before = POISON_STEPS._value.get()
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(
            engine,
            database,
            "t>x t>a a>f1 f1>b",
            "a",
            a={"value": "{{ run.id }} \ud800"},
            f1={"value": "{{ a.value }}"},
        )
        await engine.finish(run_id, until="completed", seconds=60)
        output = await output_of(database, run_id, "a")
        assert output["apart"] is True
        assert (await output_of(database, run_id, "f1")) == {"value": output["value"], "apart": True}
        assert (await output_of(database, run_id, "b"))["apart"] is False
        await engine.idle()
        assert len(engine.held) == 0
    assert output["value"].startswith("fl_run_")
    assert output["value"].endswith("\ud800")
    assert POISON_STEPS._value.get() == before + 1
    assert f"a {encode(Prefix.RUN, run_id)}:a:- apart" in notes.read_text().splitlines()


@pytest.mark.parametrize("how", ["exit", "segfault", "memory"])
async def test_an_effect_that_crashes_apart_fails_for_good(database_url, database, notes, how):
    """Its step fails with worker_crashed whatever its retry says, and the worker lives; eaten memory is an error."""
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(
            engine, database, "t>x t>a", "a", a={"name": how, "retry": RETRY if how != "memory" else None}
        )
        await engine.finish(run_id, until="failed", seconds=60)
        error = await error_of(database, run_id, "a")
    assert error["code"] == ("internal_error" if how == "memory" else "worker_crashed")
    assert notes.read_text().count(":a:- apart") == 1
    if how != "memory":
        assert ("status 3" if how == "exit" else "SIGSEGV") in error["message"]


async def test_an_effect_that_hangs_its_process_is_killed(database_url, database, notes):
    """It gets its timeout and the time to start, no more."""
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(engine, database, "t>x t>a", "a", a={"name": "spin", "timeout": 0.5})
        await engine.finish(run_id, until="failed", seconds=60)
    error = await error_of(database, run_id, "a")
    assert error["code"] == "worker_crashed"
    assert "hangs" in error["message"]


@pytest.mark.parametrize(("how", "caught"), [("exit", False), ("segfault", True), ("spin", False)])
async def test_the_pure_node_that_crashes_is_the_one_that_fails(database_url, database, notes, how, caught):
    """Not the step its walk came by: that, and the nodes before and behind it, keep their results."""
    spec = "t>f1 f1>f2 f2>f3:error" if caught else "t>f1 f1>f2 f2>f3"
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(
            engine, database, spec, "t", crashes=1, f1={"value": 1}, f2={"name": how, "continue_on_error": caught}
        )
        await engine.finish(run_id, until="completed" if caught else "failed", seconds=60)
        assert (await error_of(database, run_id, "f2"))["code"] == "worker_crashed"
    steps = {"t": "success", "f1": "success", "f2": "failed"} | ({"f3": "success"} if caught else {})
    assert await steps_of(database, run_id) == steps


async def test_the_pure_node_behind_an_effect_is_the_one_that_fails(database_url, database, notes):
    """An effect whose walk crashes behind it succeeds apart; it was called once more with the same key."""
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(engine, database, "t>x t>a a>f1", "a", f1={"name": "segfault"})
        await engine.finish(run_id, until="failed", seconds=60)
    assert await steps_of(database, run_id) == {"t": "success", "x": "success", "a": "success", "f1": "failed"}


async def test_everything_a_walk_does_runs_apart(database_url, database, notes):
    """Iterators divide, waits begin and resume, conditions decide in children too, as they would here."""
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(
            engine,
            database,
            "t>c c>d:true d>i i>f1:item i>f2:done",
            "t",
            crashes=1,
            c={
                "component": "string_condition",
                "input": "{{ run.trigger_type }}",
                "operator": "equals",
                "value": "manual",
            },
            d={"component": "delay", "duration": 0.01, "unit": "seconds"},
            i={"component": "iterator", "items": [1, 2]},
        )
        await engine.idle()
        await database.execute("UPDATE open_steps SET crashes = 1")
        await engine.finish(run_id, until="completed", seconds=60)
    assert (await steps_of(database, run_id)).keys() >= {"t", "c", "d", "i", "f1", "f2"}


async def test_failures_cross_over_as_they_are(database_url, database, notes):
    """An error of the node's own keeps its code and its category, so that it is tried again like any other."""
    retry = {"max_attempts": 2, "delay": 0, "on": ["error"]}
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(engine, database, "t>x t>a", "a", a={"name": "raise", "retry": retry})
        await engine.finish(run_id, until="failed", seconds=60)
    assert (await error_of(database, run_id, "a"))["code"] == "internal_error"
    assert await database.fetchval("SELECT count(*) FROM steps WHERE node_id = 'a'") == 2


@pytest.mark.parametrize("node_id", ["a", "t"])
async def test_a_stop_kills_what_runs_apart_and_hands_it_back(database_url, database, notes, node_id):
    """Neither counts as a crash of the step."""
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(
            engine, database, "t>x t>a" if node_id == "a" else "t>f1", node_id, a={"name": "spin"}, f1={"name": "spin"}
        )
        await eventually(lambda: notes.exists() and "apart" in notes.read_text())
        await engine.stop(grace=0.1)
        row = await database.fetchrow("SELECT status, crashes FROM open_steps WHERE node_id = $1", node_id)
    assert tuple(row) == ("ready", 2)
    assert node_id not in (await steps_of(database, run_id))
    assert not engine.executor._isolation._running


async def test_two_crashes_are_needed_for_an_effect(database_url, database, notes):
    """After one crash it still runs here."""
    async with Engine.running(database_url, registry()) as engine:
        run_id = await run_apart(engine, database, "t>x t>a", "a", crashes=1)
        await engine.finish(run_id, until="completed", seconds=60)
    assert not notes.exists()


async def test_a_process_that_cannot_start_is_not_the_steps_fault(database_url, database, notes):
    """The step is put back, with back-off; once processes start again it goes on."""
    async with Engine.running(database_url, killers.known()) as engine:
        run_id = await run_apart(engine, database, "t>x t>a", "a", command=("/bin/false",))
        await engine.idle()
        isolate(engine, Isolation(("/nowhere",)))
        for _ in range(2):
            row = await database.fetchrow("SELECT status, crashes, sent_at IS NOT NULL FROM open_steps")
            assert tuple(row) == ("ready", 2, True)
            await engine.take(Reference(run_id, "a", "-", claim=True))
            await engine.idle()
        assert len(engine.held) == 0
        isolate(engine, Isolation(killers.APART))
        await engine.take(Reference(run_id, "a", "-", claim=True))
        await engine.finish(run_id, until="completed", seconds=60)
    assert (await output_of(database, run_id, "a"))["apart"] is True
