"""What a tick of the scheduler reads with a hundred thousand active schedules: hardly anything, and what is due."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from functools import partial

import asyncpg
import pytest

from shared.store import duties
from shared.store.schedules import lock_due, move
from tests.duties import add_workspace
from tests.plans.explained import Traced, traced
from tests.plans.past import never, when_empty

COUNT = 100_000
DUE = 500
#: Pages of an index and rows of a table that finding nothing may take: it looks at the head of the index.
IDLE_PAGES, IDLE_ROWS = 40, 2
#: To move one workflow on: its row and the new one, an entry in each of its indexes, and its slots of days ago.
PAGES_EACH = 24
MILLISECONDS = 5.0
_FILL = """
    INSERT INTO workflows (id, workspace_id, name, is_active, schedule_type, schedule_value, version, trigger_node,
                           trigger_component, next_run_at)
    SELECT gen_random_uuid(), $1, 'w', true, 'interval', '1 hour', 1, 't', 'manual_trigger',
           now() + interval '10 minutes' + n * interval '36 ms'
    FROM generate_series(1, $2) AS n
"""


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that plans as on a server with PostgreSQL's own costs, and many schedules."""
    connection = await asyncpg.connect(database_url, server_settings={"random_page_cost": "4"})
    await connection.execute(_FILL, await add_workspace(connection), COUNT)
    yield connection
    await connection.close()


async def trace_of(database: asyncpg.Connection, work: Callable[[], Awaitable[object]]) -> Traced:
    """What the second of two calls reads: the first looks types up, and plans."""
    await work()
    async with traced(database) as trace:
        await work()
    return trace


async def analysed(connection: asyncpg.Connection) -> None:
    """Statistics are true."""
    await connection.execute("ANALYZE workflows")


async def make_due(database: asyncpg.Connection, seconds: float) -> None:
    """Let some have been due for so long, and the others not yet."""
    await database.execute("UPDATE workflows SET next_run_at = now() + interval '1 hour' WHERE next_run_at < now()")
    await database.execute(
        "UPDATE workflows SET next_run_at = now() - $1 * interval '1 second'"
        " WHERE id IN (SELECT id FROM workflows ORDER BY id LIMIT $2)",
        seconds,
        DUE,
    )


async def test_a_tick_reads_what_is_due_and_no_more(database: asyncpg.Connection) -> None:
    """Whatever statistics say: when nothing is due it reads a few pages, else some for each workflow that is."""

    async def look() -> None:
        await duties.probe(database)

    async def fire_none() -> None:
        for is_late in (False, True):
            assert not await lock_due(database, DUE, late=60, is_late=is_late)

    async def fire(*, is_late: bool) -> None:
        transaction = database.transaction()
        await transaction.start()
        due = await lock_due(database, DUE, late=60, is_late=is_late)
        assert len(due) == DUE
        following = due[0].now + timedelta(hours=1)
        await move(database, [(each.workflow_id, following) for each in due])
        await transaction.rollback()

    assert await idle_milliseconds(database) < MILLISECONDS
    for say in (analysed, never, when_empty):
        await database.execute("UPDATE workflows SET next_run_at = now() + interval '1 hour' WHERE next_run_at < now()")
        await say(database)
        for work in (look, fire_none):
            trace = await trace_of(database, work)
            assert "workflows" not in trace.scanned(), say
            assert trace.pages() <= IDLE_PAGES, (say, work)
            assert trace.rows() <= IDLE_ROWS, (say, work)
        for seconds, is_late in ((1, False), (600, True)):
            await make_due(database, seconds)
            trace = await trace_of(database, partial(fire, is_late=is_late))
            assert "workflows" not in trace.scanned(), say
            assert trace.pages() <= DUE * PAGES_EACH, (say, seconds)


async def idle_milliseconds(database: asyncpg.Connection) -> float:
    """How long a look takes while nothing is due; the best of some, for the machine has more to do."""
    await database.execute("VACUUM ANALYZE workflows")
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        assert not (await duties.probe(database)).slots
        taken.append(1000 * (time.perf_counter() - began))
    return min(taken)
