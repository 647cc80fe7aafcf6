"""The commit of advances: guard, atomicity, counters, joins, endings, and the order of locks."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shared.lanes import Reference
from shared.queries import load
from shared.states import RUN_TRANSITIONS, RunStatus
from shared.store.advance import commit, still_mine
from shared.store.taken import claim, load_ready, outputs, put_back, release
from tests.engine import graph, mint, workflow
from tests.rows import advance, arrival, opening, result, steps_of
from tests.standing import ME, claimed, run_with


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def everything(connection):
    """All that a commit could have written."""
    return [
        await connection.fetch(f"SELECT * FROM {table} ORDER BY 1, 2, 3")
        for table in ("runs", "steps", "open_steps", "joins")
    ]


async def open_nodes(connection, run_id):
    records = await connection.fetch("SELECT node_id, status FROM open_steps WHERE run_id = $1", run_id)
    return {record["node_id"]: record["status"] for record in records}


async def test_an_advance_without_a_claim_takes_a_ready_step(database):
    """The step goes, its result and what it opens come, the run turns running, and the counters follow."""
    run_id = await run_with(database)
    claim_id = mint.uuid()
    openings = [opening("a", "running", claim_id), opening("b")]
    committed = await commit(database, [advance(run_id, "t", openings=openings, next_claim=claim_id)], ME)
    assert committed.held == {0: True}
    assert (committed.joins, committed.ended) == ([], [])
    assert await open_nodes(database, run_id) == {"a": "running", "b": "ready"}
    row = await database.fetchrow("SELECT status, open_steps, seq, started_at IS NOT NULL FROM runs")
    assert tuple(row) == ("running", 2, 1, True)
    assert await still_mine(database, [claim_id, mint.uuid()], ME) == {claim_id}
    assert await still_mine(database, [claim_id], mint.uuid()) == set()


@pytest.mark.parametrize(
    "case", ["gone", "claimed by another", "claimless at a claimed one", "wrong claim", "waiting", "no run"]
)
async def test_an_advance_that_lost_its_step_writes_nothing(database, case):
    """No result, opening, arrival or counter of it, in any table."""
    run_id = await run_with(database, "a", "b")
    mine = None
    if case == "gone":
        await commit(database, [advance(run_id, "a")], ME)
    elif case == "claimed by another":
        mine = await claimed(database, run_id, "a")
        await release(database, [mine], ME)
        await claimed(database, run_id, "a", mint.uuid())
    elif case == "claimless at a claimed one":
        await claimed(database, run_id, "a")
    elif case == "wrong claim":
        mine = mint.uuid()
    elif case == "waiting":
        await database.execute("UPDATE open_steps SET status = 'waiting', due_at = now() WHERE node_id = 'a'")
    before = await everything(database)
    lost = advance(
        mint.uuid() if case == "no run" else run_id,
        "a",
        mine,
        results=[result("a"), result("x", own=False)],
        openings=[opening("y"), opening("z", "running", mint.uuid())],
        arrivals=[arrival("j", 1, 1, 2)],
        outcome="failed",
        error_message="no",
    )
    committed = await commit(database, [lost], ME)
    assert (committed.held, committed.joins, committed.ended) == ({}, [], [])
    assert await everything(database) == before


async def test_losers_write_nothing_beside_winners(database):
    """In one batch, of one run and of several, what the winners write is there and nothing of the losers is."""
    one, two = await run_with(database, "a", "b", "c"), await run_with(database, "a")
    await claimed(database, one, "b")

    def full(run_id, name):
        return advance(
            run_id,
            name,
            results=[result(name), result(f"{name}-r", own=False)],
            openings=[opening(f"{name}-o")],
            arrivals=[arrival(f"{name}-j", 2, 1, 2)],
        )

    batch = [full(one, "b"), full(one, "a"), full(two, "x"), full(two, "a"), full(one, "c")]
    committed = await commit(database, batch, ME)
    assert committed.held == {1: True, 3: True, 4: True}
    assert sorted(committed.joins) == sorted([(one, "a-j", "-"), (one, "c-j", "-"), (two, "a-j", "-")])
    assert set(await steps_of(database, one)) == {"t", "a", "a-r", "c", "c-r"}
    assert set(await steps_of(database, two)) == {"t", "a", "a-r"}
    assert set(await open_nodes(database, one)) == {"b", "a-o", "a-j", "c-o", "c-j"}
    assert set(await open_nodes(database, two)) == {"a-o", "a-j"}
    assert {row[0] for row in await database.fetch("SELECT node_id FROM joins")} == {"a-j", "c-j"}


async def test_one_step_in_a_batch_twice_is_settled_once(database):
    """A message that came twice to one worker: one of its two advances wins, whole."""
    run_id = await run_with(database, "a")
    twice = [advance(run_id, "a", openings=[opening(f"o{n}")], arrivals=[arrival("j", 1, 1, 2)]) for n in range(2)]
    committed = await commit(database, twice, ME)
    assert len(committed.held) == 1
    winner = next(iter(committed.held))
    assert await open_nodes(database, run_id) == {f"o{winner}": "ready"}
    assert await database.fetchval("SELECT arrived FROM joins") == 1


async def test_log_numbers_go_on_from_one_commit_to_the_next(database):
    """In a run nobody contends for, they have no gap, over batches with several of its advances too."""
    run_id = await run_with(database, "a", "b", "c")
    await commit(database, [advance(run_id, "a", results=[result("a"), result("x")]), advance(run_id, "b")], ME)
    await commit(database, [advance(run_id, "c", results=[result("c"), result("y")])], ME)
    seqs = [row[0] for row in await database.fetch("SELECT seq FROM steps WHERE run_id = $1 ORDER BY seq", run_id)]
    assert seqs == list(range(6))


async def test_the_last_step_ends_the_run(database):
    """It turns completed with the commit that leaves nothing open, and the commit says so."""
    run_id = await run_with(database, "a", "b")
    assert (await commit(database, [advance(run_id, "a")], ME)).ended == []
    (ended,) = (await commit(database, [advance(run_id, "b")], ME)).ended
    assert (ended.run_id, ended.status, ended.trigger_type) == (run_id, "completed", "manual")
    assert 0 <= ended.seconds < 60
    assert await database.fetchval("SELECT status FROM runs") == "completed"


async def failing(connection, run_id, name="a", claim_id=None, **fields):
    values = {"results": [result(name, status="failed")], "outcome": "failed", "error_message": "no"} | fields
    return await commit(connection, [advance(run_id, name, claim_id, **values)], ME)


async def test_a_failure_cancels_the_ready_and_the_waiting(database):
    """They are recorded as cancelled, and the run is failed at once if nothing is in flight."""
    run_id = await run_with(database, "a", "b", "w")
    await database.execute(
        "UPDATE open_steps SET status = 'waiting', due_at = now() + interval '1 h', attempt = 2 WHERE node_id = 'w'"
    )
    (ended,) = (await failing(database, run_id)).ended
    assert ended.status == "failed"
    assert await steps_of(database, run_id) == {"t": "success", "a": "failed", "b": "cancelled", "w": "cancelled"}
    assert await database.fetchval("SELECT attempt FROM steps WHERE node_id = 'w'") == 2
    row = await database.fetchrow("SELECT status, outcome, error_message, open_steps FROM runs")
    assert tuple(row) == ("failed", "failed", "no", 0)


async def test_steps_in_flight_settle_after_a_failure_without_firing(database):
    """Their results are recorded, their openings and arrivals are not; with the last of them the run turns failed."""
    run_id = await run_with(database, "a", "b", "c")
    one, two = await claimed(database, run_id, "b"), await claimed(database, run_id, "c")
    assert (await failing(database, run_id)).ended == []
    assert await database.fetchval("SELECT status FROM runs") == "running"
    assert not await database.fetchval("SELECT bool_or(stop) FROM open_steps")
    late = advance(
        run_id,
        "b",
        one,
        results=[result("b"), result("behind", own=False)],
        openings=[opening("o")],
        arrivals=[arrival("j", 2, 2, 2)],
    )
    committed = await commit(database, [late], ME)
    assert (committed.held, committed.joins, committed.ended) == ({0: False}, [], [])
    (ended,) = (await failing(database, run_id, "c", two, error_message="later")).ended
    assert ended.status == "failed"
    steps = await steps_of(database, run_id)
    assert steps == {"t": "success", "a": "failed", "b": "success", "c": "failed"}
    assert await database.fetchval("SELECT error_message FROM runs") == "no"


async def test_terminate_stops_what_is_in_flight(database):
    """Its steps in flight carry the stop flag, what is ready goes, and the run ends as it was told with its output."""
    run_id, bystander = await run_with(database, "a", "b", "c"), await run_with(database, "b")
    held, elsewhere = await claimed(database, run_id, "b"), await claimed(database, bystander, "b")
    ending = advance(run_id, "a", outcome="completed", output="7", abort=True)
    assert (await commit(database, [ending], ME)).ended == []
    stops = await database.fetch(load("incarnations")["held"], ME)
    assert {row["claim_id"]: row["stop"] for row in stops} == {held: True, elsewhere: False}
    aborted = advance(run_id, "b", held, results=[result("b", status="cancelled")])
    (ended,) = (await commit(database, [aborted], ME)).ended
    assert ended.status == "completed"
    assert await database.fetchval("SELECT output FROM runs WHERE id = $1", run_id) == "7"
    assert (await steps_of(database, run_id))["c"] == "cancelled"


async def test_a_claim_that_is_being_made_is_stopped_too(database, other):
    """`terminate` waits for a claim under way on a step of its run, and puts the stop flag on it."""
    run_id = await run_with(database, "a", "b")
    claiming = other.transaction()
    await claiming.start()
    await claimed(other, run_id, "b")
    ending = asyncio.create_task(commit(database, [advance(run_id, "a", outcome="completed", abort=True)], ME))
    watcher = await asyncpg.connect(**_address(other))
    try:
        while not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert not ending.done()
        await claiming.commit()
        await ending
        assert await watcher.fetchval("SELECT stop FROM open_steps WHERE node_id = 'b'")
    finally:
        await watcher.close()


def _address(connection):
    (host, port), params = connection._addr, connection._params
    return {"host": host, "port": port, "user": params.user, "database": params.database, "password": params.password}


async def test_terminal_runs_never_change(database):
    """No advance, claim or release touches a run that has ended."""
    for how in ("completed", "failed"):
        run_id = await run_with(database, "a")
        held = await claimed(database, run_id, "a")
        fields = {} if how == "completed" else {"outcome": "failed", "error_message": "no"}
        await commit(database, [advance(run_id, "a", held, **fields)], ME)
        assert await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id) == how
        assert RUN_TRANSITIONS[RunStatus(how)] == frozenset()
        before = await everything(database)
        await commit(database, [advance(run_id, "a", held, outcome="cancelled")], ME)
        await commit(database, [advance(run_id, "a"), advance(run_id, "t")], ME)
        await release(database, [held], ME)
        await put_back(database, [held], ME)
        assert await claim(database, [(Reference(run_id, "a", "-", claim=True), mint.uuid())], ME) == {}
        assert await load_ready(database, [Reference(run_id, "a", "-", claim=False)]) == {}
        assert await everything(database) == before


async def test_a_claim_is_granted_once(database, other):
    """Two workers that claim the same steps at once share them out: each step has one claim."""
    run_id = await run_with(database, *(f"n{n}" for n in range(40)))
    references = [Reference(run_id, f"n{n}", "-", claim=True) for n in range(40)]
    orders = random.Random(1).sample(references, 40), random.Random(2).sample(references, 40)
    one, two = await asyncio.gather(
        *(
            claim(connection, [(reference, mint.uuid()) for reference in order], incarnation)
            for connection, order, incarnation in zip((database, other), orders, (ME, mint.uuid()), strict=True)
        )
    )
    assert set(one) & set(two) == set()
    granted = {loaded.claim_id for loaded in (*one.values(), *two.values())}
    assert granted == {
        row[0] for row in await database.fetch("SELECT claim_id FROM open_steps WHERE claim_id IS NOT NULL")
    }


async def test_a_claim_twice_in_one_batch_is_granted_once(database):
    """Two references to one step in one batch: one of the claim ids is in force and was given out."""
    run_id = await run_with(database, "a")
    reference = Reference(run_id, "a", "-", claim=True)
    found = await claim(database, [(reference, mint.uuid()), (reference, mint.uuid())], ME)
    assert [loaded.claim_id for loaded in found.values()] == [
        await database.fetchval("SELECT claim_id FROM open_steps")
    ]


async def test_release_and_put_back_need_the_claim_of_this_incarnation(database):
    """A claim id of another incarnation, or of a step claimed anew, gives nothing back."""
    run_id = await run_with(database, "a")
    held = await claimed(database, run_id, "a")
    for give in (release, put_back):
        await give(database, [held], mint.uuid())
        await give(database, [mint.uuid()], ME)
        assert await open_nodes(database, run_id) == {"a": "running"}
    await release(database, [held], ME)
    row = await database.fetchrow("SELECT status, sent_at, claim_first FROM open_steps")
    assert tuple(row) == ("ready", None, True)
    held = await claimed(database, run_id, "a")
    await put_back(database, [held], ME)
    assert await database.fetchval("SELECT status = 'ready' AND sent_at IS NOT NULL FROM open_steps")


async def test_outputs_are_those_of_the_runs_asked_for(database):
    """Only stored outputs of settled steps come, each under its run; a retried attempt has none."""
    one, two = await run_with(database, "a", "b"), await run_with(database, "a")
    await commit(database, [advance(one, "a", results=[result("a", output='"one"')])], ME)
    retried = [result("b", status="retried", output=None)]
    await commit(database, [advance(one, "b", results=retried, openings=[opening("b", attempt=2)])], ME)
    await commit(database, [advance(two, "a", results=[result("a", output='"two"')])], ME)
    wanted = [(one, "a", "-"), (one, "b", "-"), (one, "zz", "-"), (two, "a", "-"), (two, "b", "-"), (two, "a", "0")]
    assert await outputs(database, wanted) == {(one, "a", "-"): '"one"', (two, "a", "-"): '"two"'}


async def test_random_batches_on_two_connections_neither_deadlock_nor_lose_a_count(database_url, database):
    """Three hundred batches each of the same runs in random order, with claims between them and runs that end."""
    flow = await workflow(database, *graph("t>a"))
    names = [f"n{n:03}" for n in range(120)]
    run_ids = [await run_with(database, *names, flow=flow) for _ in range(8)]
    failures: Counter[str] = Counter()

    async def work(seed):
        rng = random.Random(seed)
        connection = await asyncpg.connect(database_url)
        incarnation = mint.uuid()
        try:
            for _ in range(300):
                picks = {(rng.choice(run_ids), rng.choice(names)) for _ in range(12)}
                picks = rng.sample(sorted(picks), len(picks))
                try:
                    await step(rng, connection, incarnation, picks)
                except asyncpg.PostgresError as error:
                    failures[type(error).__name__] += 1
        finally:
            await connection.close()

    async def step(rng, connection, incarnation, picks):
        claims = {}
        if rng.random() < 0.3:
            references = [(Reference(run_id, name, "-", claim=True), mint.uuid()) for run_id, name in picks[:4]]
            claims = {
                key[:2]: loaded.claim_id for key, loaded in (await claim(connection, references, incarnation)).items()
            }
        batch = [
            advance(
                run_id,
                name,
                claims.get((run_id, name)),
                openings=[opening(f"{name}x")] if rng.random() < 0.3 and not name.endswith("x") else [],
                arrivals=[arrival(f"j{rng.randrange(5)}", 1, 1, 10_000)],
            )
            for run_id, name in picks
        ]
        if rng.random() < 0.02:
            doomed, name = picks[0]
            batch = [unit for unit in batch if unit.run_id != doomed]
            failed = advance(doomed, name, claims.get((doomed, name)), outcome="failed", error_message="no")
            batch.insert(rng.randrange(len(batch) + 1), failed)
        await commit(connection, batch, incarnation)

    await asyncio.gather(work(1), work(2))
    assert failures == {}
    counts = await database.fetch(
        "SELECT (SELECT sum(arrived) FROM joins j WHERE j.run_id = r.id),"
        " (SELECT count(*) FROM steps s WHERE s.run_id = r.id AND node_id <> 't' AND status = 'success')"
        " FROM runs r WHERE r.outcome IS NULL"
    )
    assert counts
    assert [arrived for arrived, _ in counts] == [settled for _, settled in counts]
