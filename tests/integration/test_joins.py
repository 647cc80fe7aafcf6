"""Joins: how arrivals are counted, and what opens when, however edges arrive."""

import asyncio

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.graph.advance import Verdict, resolve
from shared.store.advance import commit
from tests.engine import graph, workflow
from tests.rows import advance, arrival
from tests.standing import ME, run_with

additions = st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=1, max_size=6)


def test_a_join_opens_once_however_its_edges_arrive(database_url):
    """Random additions in random batches on two connections at once, held against `shared.graph.advance.resolve`."""
    with asyncio.Runner() as runner:
        connections = [runner.run(asyncpg.connect(database_url)) for _ in range(2)]
        flow = runner.run(workflow(connections[0], *graph("t>a")))

        @settings(max_examples=60)
        @given(additions, st.data())
        def check(walks, data):
            degree = sum(map(len, walks))
            need = data.draw(st.integers(0, degree))
            batches = data.draw(st.lists(st.integers(0, 3), min_size=len(walks), max_size=len(walks)))
            runner.run(join_case(connections, flow, walks, degree, need, batches))

        check()
        for connection in connections:
            runner.run(connection.close())


async def join_case(connections, flow, walks, degree, need, batches):
    """Commit each walk's additions in the batch it was given, batches in pairs at once; judge what opened."""
    run_id = await run_with(connections[0], *(f"s{n}" for n in range(len(walks))), "last", flow=flow)
    groups = [
        [
            advance(run_id, f"s{n}", arrivals=[arrival("j", len(walk), sum(walk), degree, need)])
            for n, walk in enumerate(walks)
            if batches[n] == group
        ]
        for group in range(4)
    ]
    committed = []
    for pair in (groups[:2], groups[2:]):
        committed += await asyncio.gather(
            *(commit(connection, batch, ME) for connection, batch in zip(connections, pair, strict=True) if batch)
        )
    joins = [key for batch in committed for key in batch.joins]
    fired = sum(map(sum, walks))
    assert joins == [(run_id, "j", "-")]
    verdict = resolve(degree, need, degree, fired, degree, fired)
    row = await connections[0].fetchrow(
        "SELECT fired, claim_first FROM open_steps WHERE run_id = $1 AND node_id = 'j'", run_id
    )
    assert row["fired"] is (verdict is Verdict.RUN)
    assert await connections[0].fetchval("SELECT open_steps FROM runs WHERE id = $1", run_id) == 2
    counts = await connections[0].fetchrow("SELECT arrived, fired FROM joins WHERE run_id = $1", run_id)
    assert tuple(counts) == (degree, fired)


async def test_the_sql_of_a_join_is_the_arithmetic_of_resolve(database):
    """Every pair of additions to a join of up to three edges gives at each commit what `resolve` says."""
    cases = [
        (degree, need, first, second)
        for degree in range(2, 4)
        for need in range(degree + 1)
        for first in [(n, f) for n in range(1, degree) for f in range(n + 1)]
        for second in [(degree - first[0], f) for f in range(degree - first[0] + 1)]
    ]
    for degree, need, first, second in cases:
        run_id = await run_with(database, "a", "b", "c", flow=None)
        total = (0, 0)
        for name, (arrived, fired) in zip("ab", (first, second), strict=True):
            total = (total[0] + arrived, total[1] + fired)
            expected = resolve(degree, need, *total, arrived, fired)
            step = advance(run_id, name, arrivals=[arrival("j", arrived, fired, degree, need)])
            committed = await commit(database, [step], ME)
            case = (degree, need, first, second, name)
            assert bool(committed.joins) is (expected is not Verdict.NONE), case
            if committed.joins:
                found = await database.fetchval(
                    "SELECT fired FROM open_steps WHERE node_id = 'j' AND run_id = $1", run_id
                )
                assert found is (expected is Verdict.RUN), case
