"""Items of which several steps are in flight when the first of them fails."""

import asyncio

import pytest

from shared.errors import StepFailedError
from shared.nodes.base import Outcome
from tests.engine import Engine, first, graph, registry, start_run, workflow


class Meeting:
    """An effect of the first item that fails once both of its branches are in flight; all others succeed."""

    def __init__(self) -> None:
        self._met = asyncio.Barrier(2)

    async def __call__(self, data, context):
        if context.item == "0":
            await self._met.wait()
            raise StepFailedError("refused", "The far side refused.", category="error")
        return Outcome({})


@pytest.mark.parametrize(("rule", "status", "items"), [("continue", "completed", 3), ("stop", "failed", 1)])
async def test_an_iterator_goes_on_when_two_steps_of_an_item_fail(database_url, database, rule, status, items):
    """The second failure arrives when the item has ended already: it is recorded, and the item counts as finished."""
    known = registry(Meeting())
    each = {"component": "iterator", "items": [1, 2, 3], "on_item_error": rule}
    flow = await workflow(database, *graph("t>i i>a:item i>b:item i>c:done", i=each), known)
    async with Engine.running(database_url, known) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await engine.finish(run_id, until=status)
    failed = await database.fetch("SELECT node_id FROM steps WHERE status = 'failed' AND item = '0' ORDER BY 1")
    assert [row["node_id"] for row in failed] == ["a", "b"]
    assert await database.fetchval("SELECT finished FROM iterations") == items
