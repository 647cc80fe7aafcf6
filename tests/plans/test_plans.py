"""No plan reads a large table whole, however many runs there are and whatever statistics say of them."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.engine import Flow, graph, workflow
from tests.plans.explained import planned
from tests.plans.past import STATISTICS, fill, stand
from tests.plans.usual import check_usual

_RUNS = 6000

#: What reads whole tables: what is open, where all of it is asked for, and tables of a few rows.
WHOLE = {
    "duties.gauges": {"open_steps"},
    "duties.rescue": {"incarnations"},
    "migrations.ledger": {"schema_migrations"},
    "retention.hidden_runs": {"open_steps"},
    "runs_read.open": {"incarnations"},
    "sweep.old_joins": {"joins"},
}
#: What goes through an index from end to end under some statistics: where all that is open, sent, held or to be done in
#: bulk is asked for. What else does is mended as docs/postgres.md tells.
WALKED = {
    ("bulk.take", "bulk_actions_open"),
    ("duties.lost_of_ended", "open_steps_held"),
    ("duties.resend", "open_steps_sent"),
    ("duties.top_up", "open_steps_sent"),
    ("ingest.count_sent", "open_steps_sent"),
    ("limits.overdue", "open_steps_pkey"),
    ("limits.overdue", "workflows_pkey"),
    ("scheduled_runs.add_open", "open_steps_pkey"),
}
#: Indexes that any query may go through: workers have a row each; and those by another column that plans for an empty
#: table take for its key's, of tables for which fifty rows are enough to be analysed, and planned for anew.
HARMLESS = {
    "authorizations_by_workspace",
    "deliveries_by_workflow",
    "event_listeners_by_event",
    "incarnations_pkey",
    "vault_uses_pkey",
    "workflows_by_workspace",
}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection that plans as on a server with PostgreSQL's own costs."""
    connection = await asyncpg.connect(database_url, server_settings={"random_page_cost": "4"})
    yield connection
    await connection.close()


@pytest.fixture
async def flow(database: asyncpg.Connection) -> Flow:
    """A workflow with a past."""
    made = await workflow(database, *graph("t>fa"))
    await fill(database, made, _RUNS)
    return made


async def scans(database: asyncpg.Connection) -> dict[str, set[str]]:
    """Which queries would read which tables whole."""
    queries = await planned(database)
    assert len(queries) > 100
    return {query.name: query.scanned() for query in queries if query.scanned()}


async def walks(database: asyncpg.Connection) -> set[tuple[str, str]]:
    """Which queries would go through which indexes from end to end, but for the harmless."""
    return {(query.name, index) for query in await planned(database) for index in query.walked() - HARMLESS}


@pytest.mark.usefixtures("flow")
async def test_no_query_reads_a_table_whole(database: asyncpg.Connection) -> None:
    """Every named query goes by an index, but for a few, whatever statistics say of ten million runs."""
    walked = set()
    for statistics, say in STATISTICS.items():
        await say(database)
        assert await scans(database) == WHOLE, statistics
        walked |= await walks(database)
    assert walked == WALKED


async def test_plans_made_for_empty_tables_hold_when_they_are_full(database: asyncpg.Connection) -> None:
    """A plan that a connection keeps is not made anew as tables fill up: it goes by an index, too."""
    await database.execute("ANALYZE")
    assert await scans(database) == WHOLE
    assert await walks(database) <= WALKED


async def test_the_engine_reads_what_it_asks_for(database: asyncpg.Connection, flow: Flow) -> None:
    """Statements of the engine, those in functions too, open a day and look at pages by the row they are about."""
    for statistics, say in STATISTICS.items():
        await say(database)
        await check_usual(database, flow, statistics)


async def test_plans_made_for_an_empty_queue_hold_in_a_flood(database: asyncpg.Connection, flow: Flow) -> None:
    """What a connection planned while nothing was open reads no more while steps of others stand by the thousand."""
    await database.execute("SET plan_cache_mode = force_generic_plan")
    await check_usual(database, flow, "nothing is open")
    await stand(database, flow, 5000)
    await check_usual(database, flow, "much is open")
