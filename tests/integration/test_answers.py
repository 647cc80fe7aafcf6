"""Waits for answers in the engine: what wakes them, what they give out, and what survives what."""

import json

import pytest

from shared.links import Place
from shared.store import answers
from shared.store.cancel import cancel_runs
from shared.store.taken import claim, release
from tests.engine import LINKS, Engine, Gates, eventually, first, graph, mint, registry, start_run, workflow
from tests.rows import error_of, output_of, status_of, steps_of

ASK = {"component": "approval", "text": "{{ fa.value }}?"}


async def answer(database, place, outcome="approved", data=None):
    """Answer past the api; gives the messages."""
    async with database.transaction():
        await answers.lock_run(database, place.run_id)
        assert await answers.answer(database, place, outcome, json.dumps(data))
        asked = await answers.find(database, place)
        return await answers.wake(database, place) if asked.waits else []


async def test_an_answer_takes_its_handle(database_url, database):
    """The run awaits a person, holds no worker, and goes on by the outcome's handle with what was answered."""
    drawn = graph(
        "t>fa fa>w w>fy:approved w>fn:rejected w>fo:timeout",
        fa={"value": "Pay"},
        w=ASK,
        fn={"value": "{{ w.data.comment }}"},
    )
    flow = await workflow(database, *drawn)
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="awaiting_ui_interaction")
        await engine.idle()
        asked = await answers.find(database, Place(run_id, "w", "-"))
        assert json.loads(asked.question)["text"] == "Pay?"
        assert asked.waits
        engine.mailbox.announce(await answer(database, Place(run_id, "w", "-"), "rejected", {"comment": "no"}))
        assert await status_of(database, run_id) == "running"
        await engine.finish(run_id)
    assert await output_of(database, run_id, "w") == {"outcome": "rejected", "data": {"comment": "no"}}
    assert await output_of(database, run_id, "fn") == {"value": "no"}
    assert await steps_of(database, run_id) == {
        "t": "success",
        "fa": "success",
        "w": "success",
        "fn": "success",
        "fy": "skipped",
        "fo": "skipped",
    }


async def test_a_wait_ends_by_its_timeout(database_url, database):
    """Nobody answers: the handle is `timeout`, and the output says so."""
    drawn = graph("t>w w>fy:approved w>fo:timeout", w={**ASK, "text": "?", "timeout": 0.01})
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(await workflow(database, *drawn))
    assert await output_of(database, run_id, "w") == {"outcome": "timeout", "data": None}
    steps = await steps_of(database, run_id)
    assert (steps["fy"], steps["fo"]) == ("skipped", "success")


async def test_a_wait_lasts_a_week_unless_told_otherwise_and_a_delay_as_long_as_it_says(database_url, database):
    """Seven days for an answer; thirty days of delay are not cut; time waited for people is idle time."""
    drawn = graph(
        "t>w t>d t>c",
        w={**ASK, "text": "?"},
        d={"component": "delay", "duration": 30, "unit": "days"},
        c={"component": "wait_for_callback", "timeout": 3600 * 24 * 365},
    )
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(await workflow(database, *drawn), until="awaiting_ui_interaction")
    waits = await database.fetch(
        "SELECT node_id, waits, round(extract(epoch FROM due_at - started_at) / 86400)::int AS days FROM open_steps"
        " WHERE run_id = $1 ORDER BY node_id",
        run_id,
    )
    assert [tuple(wait) for wait in waits] == [("c", "callback", 365), ("d", "timer", 30), ("w", "person", 7)]
    assert await database.fetchval("SELECT idle_since IS NOT NULL FROM runs WHERE id = $1", run_id)


@pytest.mark.parametrize("spec", ["t>a a>w w>fy:approved", "t>a t>b a>w b>w w>fy:approved"], ids=["chain", "join"])
async def test_an_answer_before_the_wait_begins_is_used_when_it_does(database_url, database, spec):
    """It is kept; the step goes on in the transaction that begins its wait, and nothing has to wake it later."""
    gates = Gates()
    gates.shut("a")
    drawn = graph(spec, w={**ASK, "text": "?"})
    flow = await workflow(database, *drawn, registry(gates))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await engine.follow()
        await eventually(lambda: gates.calls["a"] == 1)
        assert await answer(database, Place(run_id, "w", "-"), "approved", {"comment": None}) == []
        assert (await status_of(database, run_id)) == "running"
        gates.gates["a"].set()
        await engine.finish(run_id)
    assert await output_of(database, run_id, "w") == {"outcome": "approved", "data": {"comment": None}}
    assert (await steps_of(database, run_id))["fy"] == "success"


async def test_links_lead_to_the_step_of_their_item(database_url, database):
    """In a body the link is that of the same item; outside of it there is none; each item has an answer of its own."""
    drawn = graph(
        "t>i i>fa:item fa>w w>fb:approved w>fc:rejected i>fz:done",
        i={"component": "iterator", "items": "{{ t.items }}", "concurrency": 3},
        fa={"value": "{{ run.links.w }}"},
        w={**ASK, "text": "{{ i.item }}?"},
        fb={"value": "yes to {{ i.item }}"},
        fc={"value": "no to {{ i.item }}"},
        fz={"value": '{% assign n = "w" %}{{ run.links[n] | default: "none" }} {{ i.count }}'},
    )
    async with Engine.running(database_url) as engine:
        flow = await workflow(database, *drawn)
        run_id = await engine.run(flow, '{"items":["a","b","c"]}', until="awaiting_ui_interaction")
        links = await database.fetch("SELECT item, output FROM steps WHERE node_id = 'fa' ORDER BY item")
        places = [LINKS.read(json.loads(link["output"])["value"].rpartition("/")[2]) for link in links]
        assert places == [Place(run_id, "w", str(place)) for place in range(3)]
        for place, outcome in ((2, "approved"), (0, "rejected"), (1, "approved")):
            engine.mailbox.announce(await answer(database, places[place], outcome))
        await engine.finish(run_id)
    values = await database.fetch("SELECT item, output FROM steps WHERE node_id IN ('fb', 'fc') AND output IS NOT NULL")
    assert {value["item"]: json.loads(value["output"])["value"] for value in values} == {
        "0": "no to a",
        "1": "yes to b",
        "2": "yes to c",
    }
    assert await output_of(database, run_id, "fz") == {"value": "none 3"}


async def test_links_work_in_every_earlier_node(database_url, database):
    """A pure node, an effect and a branch beside the wait see the same link."""
    drawn = graph(
        "t>fa fa>b b>w b>fc",
        fa={"value": "{{ run.links.w }}"},
        b={"value": "{{ run.links.w }}"},
        fc={"value": '{{ run.links["w"] }}'},
        w={"component": "wait_for_callback"},
    )
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(await workflow(database, *drawn), until="awaiting_ui_interaction")

        async def is_known() -> bool:
            await engine.follow()  # the branch beside the wait may be announced with what began the wait
            return await output_of(database, run_id, "fc") is not None

        await eventually(is_known)
    expected = {"value": LINKS.url(Place(run_id, "w", "-"))}
    assert [await output_of(database, run_id, name) for name in ("fa", "b", "fc")] == [expected] * 3


async def test_nothing_of_a_wait_is_in_memory(database_url, database):
    """The worker that began the wait is gone, the answer comes while none is there, and the next one goes on."""
    drawn = graph("t>w w>a:received", w={"component": "wait_for_callback"}, a={"value": "{{ w.data.n }}"})
    flow = await workflow(database, *drawn)
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="awaiting_ui_interaction")
    bells = await answer(database, Place(run_id, "w", "-"), "received", {"n": 5})
    async with Engine.running(database_url) as engine:
        engine.mailbox.announce(bells)
        await engine.finish(run_id)
    assert await output_of(database, run_id, "a") == {"value": 5}


async def test_an_answer_survives_the_worker_that_took_it_up(database_url, database):
    """The woken step was claimed and given back unfinished: it goes on with the same answer elsewhere."""
    drawn = graph("t>w w>fy:approved", w={**ASK, "text": "?"})
    flow = await workflow(database, *drawn)
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="awaiting_ui_interaction")
        (bell,) = await answer(database, Place(run_id, "w", "-"), "approved", 1)
        claim_id = mint.uuid()
        assert await claim(database, [(bell.reference, claim_id)], engine.incarnation.id)
        await release(database, [claim_id], engine.incarnation.id)
        await engine.take(bell.reference)
        await engine.finish(run_id)
    assert await output_of(database, run_id, "w") == {"outcome": "approved", "data": 1}


async def test_a_cancelled_run_waits_for_nobody(database_url, database):
    """The wait is cancelled with the run; what is known of it says so."""
    flow = await workflow(database, *graph("t>w w>fy:approved", w={**ASK, "text": "?"}))
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="awaiting_ui_interaction")
        await cancel_runs(database, [run_id])
        await engine.finish(run_id, until="cancelled")
    asked = await answers.find(database, Place(run_id, "w", "-"))
    assert asked.run_over
    assert asked.wait_over
    assert (await steps_of(database, run_id))["w"] == "cancelled"


async def test_a_question_that_is_too_large_fails_its_step(database_url, database):
    """What a page would show is held to the limit of outputs."""
    flow = await workflow(
        database,
        *graph(
            "t>fa fa>w w>fy:approved", fa={"value": "x" * 600_000}, w={**ASK, "text": "{{ fa.value }}{{ fa.value }}"}
        ),
    )
    async with Engine.running(database_url) as engine:
        run_id = await engine.run(flow, until="failed")
    assert (await error_of(database, run_id, "w"))["code"] in ("output_too_large", "template_error")


async def test_an_answer_does_not_end_a_wait_that_could_not_begin(database_url, database):
    """A step between two attempts to begin is not woken by it: the next attempt begins anew."""
    retry = {"max_attempts": 2, "delay": 3600, "on": ["error"]}
    flow = await workflow(database, *graph("t>w w>fy:approved", w={**ASK, "text": "{{ t.x }}", "retry": retry}))
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await engine.idle()
        assert await answer(database, Place(run_id, "w", "-")) == []
        await database.execute("UPDATE open_steps SET due_at = now() WHERE run_id = $1", run_id)
        await engine.finish(run_id, until="failed")
    attempts = await database.fetch("SELECT attempt, status FROM steps WHERE node_id = 'w' ORDER BY attempt")
    assert [tuple(record) for record in attempts] == [(1, "retried"), (2, "failed")]
    assert (await error_of(database, run_id, "w"))["code"] == "template_error"
