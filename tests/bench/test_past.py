"""The past that a database is given for a benchmark."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shared.ids import uuid7
from tests.bench import past
from tests.bench.past import Past
from tests.rows import assert_sound

_NOW = datetime.now(UTC)
_RUN, _FLOW = (uuid7(round(_NOW.timestamp() * 1000), number) for number in (1, 2))
_WANTED = Past(runs=500, days=3, workflows=5)
_RUNS = """
    INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, status,
                      open_steps, seq, started_at, completed_at, outcome)
    VALUES ($1, $2, $2, 1, 1, 'webhook', '{"name":"ada"}', 'completed', 0, 2, now(), now(), 'completed')
"""
_STEPS = """
    INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, output)
    SELECT $1, $2, n, 0, now(), 1, 'n' || n, '-', 'success', CASE n WHEN 1 THEN '{"text":"x"}' END
    FROM generate_series(0, 1) AS n
"""


@pytest.fixture
async def filled(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """A database with 500 runs of the last three days, copies of one that has two steps."""
    async with asyncpg.create_pool(database_url, min_size=1, max_size=2) as pool:
        await pool.execute(_RUNS, _RUN, _FLOW)
        await pool.execute(_STEPS, _RUN, _FLOW)
        made = await past.fill(pool, _WANTED, _FLOW)
        assert (made.runs, made.steps) == (500, 1000)
        yield pool


async def test_runs_are_copies_with_their_steps(filled: asyncpg.Pool) -> None:
    """As many as asked for, each with an id of its own, both steps, and all else as it was."""
    await assert_sound(filled)
    runs = await filled.fetch('SELECT DISTINCT id FROM runs WHERE trigger_payload = \'{"name":"ada"}\'')
    assert len(runs) == 500
    steps = await filled.fetch(
        "SELECT node_id, s.output, count(*) AS there FROM steps s JOIN runs r ON r.id = run_id GROUP BY 1, 2 ORDER BY 1"
    )
    assert [tuple(step) for step in steps] == [("n0", None, 500), ("n1", '{"text":"x"}', 500)]


async def test_ids_tell_the_time_of_a_run(filled: asyncpg.Pool) -> None:
    """Ids are UUIDv7 of the moment of creation, to the millisecond, and nothing lies in the future."""
    rows = await filled.fetch(
        "SELECT id, created_at, started_at, completed_at, now() AS now FROM runs ORDER BY created_at, id"
    )
    for row in rows:
        assert (row["id"].version, row["id"].variant) == (7, "specified in RFC 4122")
        assert datetime.fromtimestamp((row["id"].int >> 80) / 1000, UTC) - row["created_at"] == timedelta(0)
        assert row["created_at"] < row["started_at"] < row["completed_at"]
        assert row["created_at"] < row["now"]


async def test_runs_are_spread_evenly(filled: asyncpg.Pool) -> None:
    """Over the days and over the workflows, the one that was copied among them."""
    days = await filled.fetch("SELECT tableoid::regclass::text, count(*) AS runs FROM runs GROUP BY 1")
    assert sorted(row["runs"] for row in days) == [166, 167, 167]
    flows = {row["workflow_id"]: row["runs"] for row in await filled.fetch(
        "SELECT workflow_id, count(*) AS runs FROM runs GROUP BY 1")}  # fmt: skip
    assert len(flows) == 5
    assert min(flows.values()) > 50
    assert _FLOW in flows


async def test_what_is_loaded_is_vacuumed_and_analysed(filled: asyncpg.Pool) -> None:
    """Every page is visible to all, and the planner knows how many rows there are, of partitions and not of parents."""
    for table, each in (("runs", 1), ("steps", 2)):
        rows = await filled.fetch(
            "SELECT reltuples, relpages, relallvisible FROM pg_class"
            " WHERE relkind = 'r' AND relname LIKE $1 || '_2%' AND relpages > 0",
            table,
        )
        assert sum(row["reltuples"] for row in rows) == 500 * each
        assert all(row["relpages"] == row["relallvisible"] for row in rows)
        assert await filled.fetchval("SELECT reltuples FROM pg_class WHERE relname = $1", table) == -1
