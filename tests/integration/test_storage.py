"""How rows lie on pages: what is updated often is updated in place, without a new entry in any index (HOT)."""

import json
from typing import NamedTuple

import asyncpg
import pytest

from shared.store.advance import commit
from tests.engine import Engine, eventually, graph, mint, registry, start_runs, workflow
from tests.rows import advance, result

_BATCH = 40


class Updates(NamedTuple):
    """How many rows of a table were updated, and the share of those that no index learned of."""

    rows: int
    hot: float


async def updates(database: asyncpg.Connection, table: str, rows: int) -> Updates:
    """What statistics say of a table and its partitions, once they know of so many updates."""
    found = Updates(0, 0.0)

    async def told() -> bool:
        nonlocal found
        await database.execute("SELECT pg_stat_force_next_flush(), pg_stat_clear_snapshot()")
        row = await database.fetchrow(
            "SELECT sum(n_tup_upd)::int AS rows, sum(n_tup_hot_upd)::float8 AS hot FROM pg_stat_user_tables"
            " WHERE relname ~ ('^' || $1 || '(_\\d{8})?$')",
            table,
        )
        assert row is not None
        found = Updates(row["rows"], row["hot"] / max(row["rows"], 1))
        return found.rows >= rows

    await eventually(told)
    return found


@pytest.mark.parametrize("payload", ["{}", json.dumps({"text": "x" * 1000})], ids=["small", "1 KB"])
async def test_the_end_of_a_run_touches_no_index(database: asyncpg.Connection, payload: str) -> None:
    """Whole batches of neighbours end in one transaction, and their rows stay on their pages."""
    flow = await workflow(database, *graph("t>fa"))
    for _ in range(10):
        run_ids = await start_runs(database, flow, _BATCH, payload)
        results = [result("t"), result("fa", own=False)]
        done = await commit(database, [advance(run_id, "t", results=results) for run_id in run_ids], mint.uuid())
        assert len(done.ended) == _BATCH
    assert (await updates(database, "runs", 10 * _BATCH)).hot > 0.95


async def test_items_and_their_iteration_are_updated_in_place(database_url: str, database: asyncpg.Connection) -> None:
    """Each item is updated as it starts and as it ends, its iteration with every item."""
    known = registry()
    data = {"component": "iterator", "items": "{{ t.items }}", "concurrency": 50}
    flow = await workflow(database, *graph("t>i i>fa:item", i=data), known)
    async with Engine.running(database_url, known) as engine:
        await engine.run(flow, json.dumps({"items": [{"id": number} for number in range(400)]}))
    assert (await updates(database, "items", 750)).hot > 0.95
    assert (await updates(database, "iterations", 400)).hot > 0.95


async def test_arrivals_at_a_join_are_counted_in_place(database_url: str, database: asyncpg.Connection) -> None:
    """Neither the join nor the run's counters get an index entry with a branch that ends."""
    known = registry()
    flow = await workflow(database, *graph(" ".join(f"t>a{n} a{n}>fz" for n in range(40))), known)
    async with Engine.running(database_url, known) as engine:
        for _ in range(3):
            await engine.run(flow)
    assert (await updates(database, "joins", 20)).hot > 0.95
    assert (await updates(database, "runs", 60)).hot > 0.95


async def test_partitions_are_made_with_the_storage_of_their_table(database: asyncpg.Connection) -> None:
    """Those of the days to come as those that were there; steps are vacuumed in portions and frozen at once."""
    await database.fetchval("SELECT make_partitions(2, 16)")
    rows = await database.fetch(
        "SELECT split_part(relname, '_', 1) AS parent, reloptions FROM pg_class WHERE relkind = 'r' AND relispartition"
    )
    options = {parent: {tuple(row["reloptions"]) for row in rows if row["parent"] == parent} for parent in _STORAGE}
    assert options == {parent: {wanted} for parent, wanted in _STORAGE.items()}
    assert len(rows) == 3 * 19


_STORAGE = {
    "runs": ("fillfactor=45", "autovacuum_freeze_min_age=0"),
    "items": ("fillfactor=50", "autovacuum_freeze_min_age=0"),
    "steps": (
        "fillfactor=100",
        "autovacuum_freeze_min_age=0",
        "autovacuum_vacuum_insert_scale_factor=0.0",
        "autovacuum_vacuum_insert_threshold=100000",
    ),
}


async def test_a_webhook_token_leads_to_one_workflow(database: asyncpg.Connection) -> None:
    """Tokens are unique, and a workflow without one stands in no index of tokens."""
    flows = [await workflow(database, *graph("t>a")) for _ in range(2)]
    assert await database.fetchval("SELECT pg_relation_size('workflows_by_token')") == 8192  # its first page alone
    give = "UPDATE workflows SET webhook_token_hash = decode(repeat('ab', 32), 'hex'), webhook_token = '' WHERE id = $1"
    await database.execute(give, flows[0].workflow_id)
    with pytest.raises(asyncpg.UniqueViolationError):
        await database.execute(give, flows[1].workflow_id)
