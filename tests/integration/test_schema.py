"""What the schema itself promises: partitions by the time in an id, and states as CHECKs."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.ids import milliseconds_of, uuid7
from shared.migrate import PARTITION_DAYS_AHEAD, PARTITION_DAYS_BACK
from shared.states import RUN_TERMINAL, STEP_OPEN, RunStatus, StepStatus, TriggerType, Waits
from shared.store.advance import commit
from tests.engine import graph, mint, start_run, workflow
from tests.rows import advance

DAY = timedelta(days=1)
INSERT = (
    "INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, open_steps)"
    " VALUES ($1, $1, $1, 1, 1, 'manual', '{}', 1)"
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection, for rows that no engine would write."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def legal(database, table, column):
    """The values that the CHECK on one column, or on its domain, allows."""
    definitions = await database.fetch(
        "SELECT pg_get_constraintdef(c.oid) FROM pg_attribute a"
        " JOIN pg_constraint c ON c.contypid = a.atttypid OR (c.conrelid = a.attrelid AND c.conkey = ARRAY[a.attnum])"
        " WHERE a.attrelid = $1::text::regclass AND a.attname = $2 AND c.contype = 'c'",
        table,
        column,
    )
    (found,) = (row[0] for row in definitions if "ARRAY[" in row[0])
    return set(re.findall(r"'(\w+)'::text", found))


async def test_the_states_are_those_of_the_tables(database):
    """The CHECKs and `shared.states` list the same values."""
    assert await legal(database, "runs", "status") == set(RunStatus)
    assert await legal(database, "runs", "outcome") == set(RUN_TERMINAL)
    assert await legal(database, "runs", "trigger_type") == set(TriggerType)
    assert await legal(database, "open_steps", "status") == set(STEP_OPEN)
    assert await legal(database, "open_steps", "waits") == set(Waits)
    assert await legal(database, "steps", "status") == set(StepStatus) - STEP_OPEN


@pytest.mark.parametrize("moment", [datetime(2025, 10, 31, 12, 30, 15, 123000, UTC), datetime(1970, 1, 1, tzinfo=UTC)])
async def test_the_floor_of_a_moment_is_the_least_id_of_it(database, moment):
    """Every UUIDv7 of that millisecond lies above it, every one of the millisecond before below."""
    floor = await database.fetchval("SELECT uuid7_floor($1)", moment)
    milliseconds = round(moment.timestamp() * 1000)
    assert milliseconds_of(floor) == milliseconds
    assert floor <= uuid7(milliseconds)
    if milliseconds:
        assert uuid7(milliseconds - 1, (1 << 74) - 1) < floor


async def test_partitions_are_there_from_two_days_back_to_a_fortnight_ahead(database):
    """A run of any moment in between finds its partition, the first and last millisecond of a day too."""
    assert await database.fetchval("SELECT partition_days_ahead()") == PARTITION_DAYS_AHEAD
    today = (await database.fetchval("SELECT now()")).replace(hour=0, minute=0, second=0, microsecond=0)
    for days in range(-PARTITION_DAYS_BACK, PARTITION_DAYS_AHEAD + 1):
        for moment in (today + days * DAY, today + (days + 1) * DAY - timedelta(milliseconds=1)):
            run_id = uuid7(round(moment.timestamp() * 1000))
            table = await database.fetchval(f"{INSERT} RETURNING tableoid::regclass::text", run_id)
            assert table == f"runs_{(today + days * DAY):%Y%m%d}"
    beyond = uuid7(round((today + (PARTITION_DAYS_AHEAD + 1) * DAY).timestamp() * 1000))
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(INSERT, beyond)


async def test_making_partitions_again_makes_what_is_missing(database):
    """It is idempotent, and a gap is filled and counted as the end until then."""
    assert await database.fetchval("SELECT make_partitions(2, 14)") == 0
    assert await database.fetchval("SELECT make_partitions(2, 15)") == 3
    gap = await database.fetchval("SELECT to_char((now() AT TIME ZONE 'UTC')::date + 3, 'YYYYMMDD')")
    await database.execute(f"DROP TABLE steps_{gap}")
    assert await database.fetchval("SELECT partition_days_ahead()") == 2
    assert await database.fetchval("SELECT make_partitions(2, 15)") == 1
    assert await database.fetchval("SELECT partition_days_ahead()") == 15


async def test_a_batch_over_two_days_finds_both_partitions(database):
    """The bounds that let Postgres pass over partitions hold the runs of both days."""
    flow = await workflow(database, *graph("t>a"))
    run_ids = []
    for days in (-1, 0, 1):
        run_ids.append(await start_run(database, flow))
        moved = uuid7(milliseconds_of(run_ids[-1]) + days * 86_400_000, days + 1)
        await database.execute("UPDATE runs SET id = $2 WHERE id = $1", run_ids[-1], moved)
        await database.execute("UPDATE open_steps SET run_id = $2 WHERE run_id = $1", run_ids[-1], moved)
        run_ids[-1] = moved
    committed = await commit(database, [advance(run_id, "t") for run_id in run_ids], mint.uuid())
    assert sorted(ended.run_id for ended in committed.ended) == sorted(run_ids)


IMPOSSIBLE = {
    "a terminal run with open steps": "UPDATE runs SET status = 'completed', completed_at = now()",
    "a terminal run without an end": "UPDATE runs SET status = 'completed', open_steps = 0",
    "an ended run that is not terminal": "UPDATE runs SET completed_at = now()",
    "fewer than no steps": "UPDATE runs SET open_steps = -1",
    "running without a claim": "UPDATE open_steps SET status = 'running'",
    "a claim without running": "UPDATE open_steps SET claim_id = run_id",
    "an incarnation without running": "UPDATE open_steps SET incarnation_id = run_id",
    "waiting for nothing": "UPDATE open_steps SET status = 'waiting'",
    "a settled open step": "UPDATE open_steps SET status = 'success'",
    "more fired than arrived": "UPDATE joins SET fired = 2",
    "a failure without an error": "UPDATE steps SET status = 'failed'",
    "an error without a failure": "UPDATE steps SET error = '{}'",
    "an open settled step": "UPDATE steps SET status = 'ready'",
}


@pytest.mark.parametrize("case", IMPOSSIBLE)
async def test_the_database_refuses_what_cannot_be(database, case):
    """CHECKs state the invariants of rows."""
    flow = await workflow(database, *graph("t>a"))
    done = await start_run(database, flow)
    await start_run(database, flow)
    await commit(database, [advance(done, "t")], mint.uuid())
    await database.execute("DELETE FROM runs WHERE id = $1", done)
    await database.execute("INSERT INTO joins VALUES ($1, $1, 1, 1, 'j', '-')", done)
    with pytest.raises(asyncpg.CheckViolationError):
        await database.execute(IMPOSSIBLE[case])
