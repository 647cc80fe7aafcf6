"""Runs that stand at steps: committed by hand, and claimed by nobody or by somebody."""

from shared.lanes import Reference
from shared.store.advance import commit
from shared.store.taken import claim
from tests.engine import graph, mint, start_run, workflow
from tests.rows import advance, opening

ME = mint.uuid()


async def run_with(connection, *open_nodes, flow=None):
    """A run whose trigger is settled and these nodes are ready."""
    flow = flow or await workflow(connection, *graph("t>a"))
    run_id = await start_run(connection, flow)
    if open_nodes:
        await commit(connection, [advance(run_id, "t", openings=[opening(name) for name in open_nodes])], ME)
    return run_id


async def claimed(connection, run_id, node_id, incarnation=ME):
    """The claim id under which a step is held now."""
    claim_id = mint.uuid()
    found = await claim(connection, [(Reference(run_id, node_id, "-", claim=True), claim_id)], incarnation)
    assert [loaded.claim_id for loaded in found.values()] == [claim_id]
    return claim_id
