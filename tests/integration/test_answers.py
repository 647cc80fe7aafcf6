"""Waits for answers in the engine: what wakes them, what they give out, and what survives what."""

import json

import asyncpg
import pytest

from shared.links import Place
from shared.store import answers
from tests.engine import Engine, graph, workflow
from tests.rows import assert_sound, output_of, steps_of

ASK = {"component": "approval", "text": "{{ fa.value }}?"}


@pytest.fixture
async def database(database_url):
    """A connection that is not the worker's."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await assert_sound(connection)
    await connection.close()


async def answer(database, place, outcome="approved", data=None):
    """Answer past the api; gives the messages."""
    async with database.transaction():
        await answers.lock_run(database, place.run_id)
        assert await answers.answer(database, place, outcome, json.dumps(data))
        asked = await answers.find(database, place)
        return await answers.wake(database, place) if asked.waits else []


async def status_of(database, run_id):
    """Of a run."""
    return await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id)


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
