"""A small past that statistics make look like a large one, and what else statistics may say of it."""

from collections.abc import Awaitable, Callable

import asyncpg

from tests.engine import Flow

#: How many runs the statistics speak of.
PRETENDED = 10_000_000
_RUNS = """
    INSERT INTO runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, status, outcome,
                      open_steps, seq, created_at, started_at, completed_at)
    SELECT overlay(uuid7_floor(moment)::text PLACING substr(md5(n::text), 1, 12) FROM 25)::uuid, $1, $2, 1, 1,
           'webhook', '{}', 'completed', 'completed', 0, 2, moment, moment, moment
    FROM generate_series(1, $3::int) AS n
    CROSS JOIN LATERAL (SELECT now() - n * interval '1.5 days' / $3::int) AS at (moment)
"""
_STEPS = """
    INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, output)
    SELECT id, workspace_id, n, 0, created_at, 1, 'n' || n, '-', 'success', '{}' FROM runs, generate_series(0, 1) AS n
"""
_LIVING = "INSERT INTO incarnations (id, host, pid) VALUES (gen_random_uuid(), 'here', 1) RETURNING id"
_STANDING = """
    INSERT INTO open_steps (run_id, workspace_id, workflow_id, priority, node_id, status, due_at, started_at, claim_id,
                            incarnation_id)
    SELECT overlay(uuid7_floor(now())::text PLACING substr(md5(n::text), 1, 12) FROM 25)::uuid, $1, $2, 1, 'n',
           CASE WHEN held THEN 'running' ELSE 'waiting' END,
           CASE WHEN held THEN NULL ELSE now() + interval '1 day' END, now(),
           CASE WHEN held THEN gen_random_uuid() END, CASE WHEN held THEN $3::uuid END
    FROM generate_series(1, $4::int) AS n CROSS JOIN LATERAL (SELECT n % 2 = 0) AS half (held)
"""
_TABLES = """
    SELECT relname, relpages, reltuples FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
"""
_SET = """
    SELECT pg_restore_relation_stats('schemaname', 'public', 'relname', $1::text, 'relpages', $2::int,
                                     'reltuples', $3::real)
"""
_FORGET = """
    SELECT pg_clear_attribute_stats('public', $1::text, attname, false) FROM pg_attribute
    WHERE attrelid = $1::text::regclass AND attnum > 0
"""


async def fill(connection: asyncpg.Connection, flow: Flow, runs: int) -> None:
    """Finished runs of a workflow over the last day and a half, two steps each; statistics stay as they are."""
    for (table,) in await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND relispartition"):
        await connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
    await connection.execute("ALTER TABLE open_steps SET (autovacuum_enabled = off)")
    await connection.execute(_RUNS, flow.workspace_id, flow.workflow_id, runs)
    await connection.execute(_STEPS)


async def stand(connection: asyncpg.Connection, flow: Flow, steps: int) -> None:
    """Open steps of other runs: half of them wait for tomorrow, a worker that lives holds the others."""
    incarnation = await connection.fetchval(_LIVING)
    await connection.execute(_STANDING, flow.workspace_id, flow.workflow_id, incarnation, steps)


async def fresh(connection: asyncpg.Connection) -> None:
    """Every table analysed, its parent too; then multiplied, so that the planner takes it for ten million runs."""
    await connection.execute("ANALYZE")
    factor = PRETENDED / await connection.fetchval("SELECT count(*) FROM runs")
    for table, pages, rows in await connection.fetch(_TABLES):
        if rows > 0:
            await connection.fetchval(_SET, table, pages, rows * factor)


async def never(connection: asyncpg.Connection) -> None:
    """No table was ever analysed."""
    await _say(connection, 0, -1)


async def when_empty(connection: asyncpg.Connection) -> None:
    """Every table was analysed, for the last time when it was empty."""
    await _say(connection, 0, 0)


async def when_full(connection: asyncpg.Connection) -> None:
    """Every table was analysed when it was full; by now hardly anything is left, of the queue above all."""
    await fresh(connection)
    for table in ("open_steps", "joins", "iterations", "answers"):
        await connection.fetchval(_SET, table, 2500, 100_000)


async def _say(connection: asyncpg.Connection, pages: int, rows: float) -> None:
    for table, _, _ in await connection.fetch(_TABLES):
        await connection.fetchval(_SET, table, pages, rows)
        await connection.execute(_FORGET, table)


STATISTICS: dict[str, Callable[[asyncpg.Connection], Awaitable[None]]] = {
    "fresh": fresh,
    "never analysed": never,
    "analysed when empty": when_empty,
    "analysed when the queue was full": when_full,
}
