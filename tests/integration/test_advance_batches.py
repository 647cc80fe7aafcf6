"""Units of one run that meet in one batch: numbers, counters and results stay sound."""

import pytest

from shared.db import Clock
from shared.store.advance import commit
from tests.engine import graph, mint, start_run, workflow
from tests.rows import advance, opening, result, steps_of

ME = mint.uuid()


@pytest.fixture
async def run_id(database):
    """A run whose steps a and b are ready."""
    run_id = await start_run(database, await workflow(database, *graph("t>a t>b")))
    await commit(database, [advance(run_id, "t", openings=[opening("a"), opening("b")])], ME)
    return run_id


async def test_a_unit_that_only_begins_an_effect_behind_one_with_results(database, run_id):
    """The run's row moves by the results of the first, although the last unit of the run brings none."""
    claim_id = mint.uuid()
    begins = advance(run_id, "b", results=[], openings=[opening("b", "running", claim_id)], next_claim=claim_id)
    await commit(database, [advance(run_id, "a"), begins], ME)
    assert await database.fetchval("SELECT seq FROM runs") == 2
    await commit(database, [advance(run_id, "b", claim_id)], ME)
    assert await database.fetchval("SELECT status FROM runs") == "completed"


async def test_an_attempt_that_fails_while_its_run_is_being_ended_is_the_result(database, run_id):
    """It was to be tried again; nobody does, so it stands as failed and not as an attempt that another follows."""
    claim_id = mint.uuid()
    begins = advance(run_id, "b", results=[], openings=[opening("b", "running", claim_id)], next_claim=claim_id)
    await commit(database, [begins], ME)
    await commit(database, [advance(run_id, "a", results=[result("a", status="failed")], outcome="failed")], ME)
    again = opening("b", "waiting", attempt=2, due_at=Clock().now())
    late = advance(run_id, "b", claim_id, results=[result("b", status="retried")], openings=[again])
    await commit(database, [late], ME)
    assert await steps_of(database, run_id) == {"t": "success", "a": "failed", "b": "failed"}
    assert await database.fetchval("SELECT status FROM runs") == "failed"
