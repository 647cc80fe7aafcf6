"""The engine beside thousands of open steps of others, with plans that were made while there were none."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.errors import StepFailedError
from shared.nodes.base import Outcome, StepContext, Terminate
from shared.store.cancel import cancel_runs
from tests.calls import CALLED, pair, settle
from tests.engine import Engine, Gates, ProbeData, alone, eventually, first, graph, registry, start_runs, workflow
from tests.plans.past import stand

#: Half of them wait, half are held: what goes through either reads that many.
_STANDING = 2000
_READ = "SELECT sum(idx_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_indexes WHERE relname = 'open_steps'"
_ONE_AT_A_TIME = """
    UPDATE workflows SET settings = '{"max_concurrent_runs":1}', max_concurrent_runs = 1, limited = true WHERE id = $1
"""
#: How it is after a flood that began since the last ANALYZE: the table has pages, and is said to have no rows.
_PLAN_AS_OF_NOTHING = """
    ALTER TABLE open_steps SET (autovacuum_enabled = off);
    SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', 'open_steps',
                                     'relpages', 100, 'reltuples', 0::real);
    DO $$ BEGIN
        EXECUTE format('ALTER DATABASE %I SET plan_cache_mode = force_generic_plan', current_database());
    END $$
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a database in which much is open that nobody asks for here."""
    connection = await asyncpg.connect(database_url)
    await stand(connection, await workflow(connection, *graph("t>fa")), _STANDING)
    await connection.execute(_PLAN_AS_OF_NOTHING)
    yield connection
    await connection.close()


async def _items(url: str, database: asyncpg.Connection) -> None:
    """One of two items in flight fails, which stops the other."""
    gates = Gates()
    gates.shut("a")

    async def act(data: ProbeData, context: StepContext) -> Outcome:
        if context.item == "1":
            await eventually(lambda: gates.calls["a"] == 1)
            raise StepFailedError("boom", "It went wrong.")
        return await gates(data, context)

    iterator = {"component": "iterator", "items": [1, 2, 3], "concurrency": 2, "continue_on_error": True}
    known = registry(act)
    flow = await workflow(database, *graph("t>i i>a:item i>fz:error", i=iterator), known)
    async with Engine.running(url, known) as engine:
        await engine.run(flow, until="completed")
        assert gates.cancelled["a"] == 1
        flow = await workflow(database, *graph("t>i i>fb:item i>fz:done", i=iterator), known)
        await engine.run(flow, until="completed")


async def _waits(url: str, database: asyncpg.Connection) -> None:
    """Somebody is asked and does not answer; a delay ends."""
    ask = {"component": "approval", "text": "?", "timeout": 0.01}
    delay = {"component": "delay", "duration": 0.01, "unit": "seconds"}
    flow = await workflow(database, *graph("t>w w>d:timeout d>fa", w=ask, d=delay))
    async with Engine.running(url) as engine:
        await engine.run(flow, until="completed")


async def _children(url: str, database: asyncpg.Connection) -> None:
    """A run is waited for."""
    flow, _ = await pair(database, graph("t>fa", t=CALLED), "t>c")
    async with Engine.running(url) as engine:
        (run_id,) = await start_runs(database, flow)
        await engine.take(first(run_id, flow))
        await settle(engine)
        await engine.finish(run_id, until="completed")


async def _limits(url: str, database: asyncpg.Connection) -> None:
    """Of two runs one waits for the other's slot."""
    flow = await workflow(database, *graph("t>a"))
    await database.execute(_ONE_AT_A_TIME, flow.workflow_id)
    async with Engine.running(url) as engine:
        run_ids = await start_runs(database, flow, 2)
        await engine.take(*(first(run_id, flow)._replace(claim=True) for run_id in run_ids))
        for run_id in run_ids:
            await engine.finish(run_id, until="completed")


async def _ends(url: str, database: asyncpg.Connection) -> None:
    """One run ends itself with a step in flight, others are cancelled."""
    gates = Gates()
    gates.shut("a")
    known = registry(gates, lambda data: Outcome({}, terminate=Terminate("completed")))
    flow = await workflow(database, *graph("t>a t>b b>f1"), known)
    async with Engine.running(url, known) as engine:
        (run_id,) = await start_runs(database, flow)
        await engine.take(first(run_id, flow))
        await engine.finish(run_id, until="completed")
        assert gates.cancelled["a"] == 1
    assert await cancel_runs(database, await start_runs(database, flow, 20)) == 20


@pytest.mark.parametrize("do", [_items, _waits, _children, _limits, _ends])
async def test_nothing_goes_through_what_stands(do, database_url: str, database: asyncpg.Connection) -> None:
    """In functions of the schema, too: steps are found by their keys, whatever a plan was made for."""
    before = await _read(database)
    await do(database_url, database)
    await alone(database)
    assert 0 < await _read(database) - before < _STANDING / 2


async def _read(database: asyncpg.Connection) -> int:
    """Entries read of the indexes of open steps, and rows by them."""
    await database.execute("SELECT pg_stat_force_next_flush()")
    await database.execute("SELECT pg_stat_clear_snapshot()")
    read: int = await database.fetchval(_READ)
    return read
