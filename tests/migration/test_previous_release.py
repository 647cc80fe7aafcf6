"""The release before this one works on the schema that this one's *pre* migrations leave, beside this one."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from shared.db import Clock
from shared.lanes import Reference
from shared.migrate import RELEASES, Phase, migrate, migrations
from shared.queries import parse
from shared.store.retention import expire_day
from tests.duties import add_incarnation, add_run, add_workflow, ago, running
from tests.engine import Engine, Flow, graph, mint, start_run, workflow
from tests.migration.previous import advance as old
from tests.rows import steps_of

ME = mint.uuid()
FILES = sorted(path.stem for path in old.FOLDER.glob("*.sql"))
INFINITY = float("inf")


def query(file: str, name: str) -> str:
    """A query of the release before."""
    return parse((old.FOLDER / f"{file}.sql").read_text(encoding="utf-8"))[name]


async def migrate_to_previous(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bring a database to the schema of the release before this one."""
    known = [file for file in migrations() if file[0] < RELEASES[-1]]
    with monkeypatch.context() as patched:
        patched.setattr("shared.migrate.migrations", lambda: known)
        await migrate(url)


@pytest.fixture
async def database_url(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A database of the release before, with this one's roll-out about to begin."""
    await migrate_to_previous(empty_database_url, monkeypatch)
    done = await migrate(empty_database_url, Phase.PRE)
    assert all("_pre_" in name for name in done.applied)
    return empty_database_url


async def accept(database: asyncpg.Connection, flow: Flow) -> UUID:
    """Accept a trigger as the api of the release before does."""
    run_id = mint.uuid()
    nothing = [None]
    made = await database.fetch(
        query("ingest", "accept"), [run_id], [flow.workflow_id], ["manual"], ["{}"], nothing, nothing, nothing, [True]
    )
    assert [record["id"] for record in made] == [run_id]
    return run_id


def settled(node_id: str, status: str = "success") -> old.Result:
    """A result of the step itself."""
    error = '{"code":"x","message":"x"}' if status == "failed" else None
    return old.Result(True, node_id, "-", 1, status, None, "{}", None, error, Clock().now(), 1)


def ready(node_id: str) -> old.Opening:
    """A step left to others."""
    return old.Opening(node_id, "-", "ready", 1, None, None, claim_first=True)


async def advance(
    database: asyncpg.Connection, run_id: UUID, node_id: str, claim_id: UUID | None = None, **fields: Any
) -> old.Committed:
    """Commit one advance as the worker of the release before does."""
    results = fields.pop("results", [settled(node_id)])
    unit = old.Advance(run_id, node_id, "-", claim_id, Clock().now(), results, **fields)
    done = await old.commit(database, [unit], ME)
    assert done.held == {0: True}
    return done


async def take(database: asyncpg.Connection, run_id: UUID, node_id: str) -> UUID:
    """Claim a step as the worker of the release before does."""
    claim_id = mint.uuid()
    found = await old.claim(database, [(Reference(run_id, node_id, "-", claim=True), claim_id)], ME)
    assert [step.claim_id for step in found.values()] == [claim_id]
    return claim_id


async def cancel(database: asyncpg.Connection, run_ids: list[UUID]) -> set[str]:
    """Cancel runs as the release before does; what they have come to."""
    ids = sorted(run_ids)
    async with database.transaction():
        await database.fetch(query("cancel", "lock"), ids, ids[0], ids[-1])
        done = await database.fetch(query("cancel", "settle"), ids, ids[0], ids[-1], True)
    return {row["status"] for row in done}


def ended(done: old.Committed) -> Sequence[str]:
    """How the runs that a commit ended came out."""
    return [run.status for run in done.ended]


@pytest.mark.parametrize("file", FILES)
async def test_every_query_of_the_release_before_prepares(database: asyncpg.Connection, file: str) -> None:
    """Tables, columns, functions and types that it names are all still there."""
    for text in parse((old.FOLDER / f"{file}.sql").read_text(encoding="utf-8")).values():
        await database.prepare(text)


async def test_a_run_is_carried_through_by_the_release_before(database: asyncpg.Connection) -> None:
    """Accepted, loaded, claimed, forked, joined, ended, and its outputs read; the join fires once."""
    flow = await workflow(database, *graph("t>a t>b a>j b>j"))
    run_id = await accept(database, flow)
    loaded = await old.load_ready(database, [Reference(run_id, "t", "-", claim=False)])
    assert [step.workflow_id for step in loaded.values()] == [flow.workflow_id]
    mine = mint.uuid()
    branch = old.Opening("a", "-", "running", 1, mine, None, claim_first=True)
    await advance(database, run_id, "t", openings=[branch, ready("b")], next_claim=mine)
    assert await old.still_mine(database, [mine], ME) == {mine}
    arrived = old.Arrival("j", "-", 1, 1, 2, 0)
    assert not (await advance(database, run_id, "a", mine, arrivals=[arrived])).joins
    done = await advance(database, run_id, "b", await take(database, run_id, "b"), arrivals=[arrived])
    assert done.joins == [(run_id, "j", "-")]
    assert await old.outputs(database, [(run_id, "a")]) == {run_id: {"a": "{}"}}
    assert ended(await advance(database, run_id, "j")) == ["completed"]
    assert await steps_of(database, run_id) == dict.fromkeys("tabj", "success")


async def test_a_failure_in_the_release_before_ends_the_run(database: asyncpg.Connection) -> None:
    """What is open goes with it, as it did."""
    flow = await workflow(database, *graph("t>a t>b"))
    run_id = await accept(database, flow)
    await advance(database, run_id, "t", openings=[ready("a"), ready("b")])
    failed = {"results": [settled("a", "failed")], "outcome": "failed", "error_message": "x"}
    assert ended(await advance(database, run_id, "a", await take(database, run_id, "a"), **failed)) == ["failed"]
    assert await steps_of(database, run_id) == {"t": "success", "a": "failed", "b": "cancelled"}


async def test_this_release_finishes_what_the_one_before_started(
    database: asyncpg.Connection, database_url: str
) -> None:
    """Steps it left ready, gave back, or had accepted are taken up, joins it counted included."""
    flow = await workflow(database, *graph("t>a t>b a>j b>j j>c"))
    untouched = await accept(database, flow)
    run_id = await accept(database, flow)
    await advance(database, run_id, "t", openings=[ready("a"), ready("b")])
    await advance(
        database, run_id, "a", await take(database, run_id, "a"), arrivals=[old.Arrival("j", "-", 1, 1, 2, 0)]
    )
    await old.release(database, [await take(database, run_id, "b")], ME)
    async with Engine.running(database_url) as engine:
        await engine.take(Reference(run_id, "b", "-", claim=True), Reference(untouched, "t", "-", claim=False))
        await engine.finish(run_id, until="completed")
        await engine.finish(untouched, until="completed")
        await engine.idle()
    assert await steps_of(database, run_id) == dict.fromkeys("tabjc", "success")


async def test_the_release_before_finishes_what_this_one_started(
    database: asyncpg.Connection, database_url: str
) -> None:
    """It claims a branch that this one left ready, settles the join that this one counted, and ends the run."""
    flow = await workflow(database, *graph("t>a t>b a>j b>j"))
    async with Engine.running(database_url) as engine:
        run_id = await start_run(database, flow)
        await engine.take(Reference(run_id, "t", "-", claim=False))
        await engine.idle()
    assert await steps_of(database, run_id) == {"t": "success", "a": "success"}
    claim_id = await take(database, run_id, "b")
    done = await advance(database, run_id, "b", claim_id, arrivals=[old.Arrival("j", "-", 1, 1, 2, 0)])
    assert done.joins == [(run_id, "j", "-")]
    assert ended(await advance(database, run_id, "j")) == ["completed"]


@pytest.mark.parametrize("how", ["completed", "cancelled"])
async def test_a_child_that_the_release_before_ends_wakes_its_parent(database: asyncpg.Connection, how: str) -> None:
    """And frees its slots: what this release does at the end of a run happens whoever ends it, and however."""
    flow = await workflow(database, *graph("t>a"))
    child = await accept(database, flow)
    waits = {"node_id": "w", "status": "waiting", "waits": "child_run", "child_run_id": child, "claim_first": False}
    parent = await add_run(database, flow.workflow_id, waits, status="running")
    await database.execute(
        "UPDATE runs SET parent_run_id = $2, parent_node_id = 'w', parent_item = '-', parent_waits = true, slots = 1"
        " WHERE id = $1",
        child,
        parent,
    )
    await database.execute(
        "INSERT INTO concurrency_slots (workspace_id, workflow_id, key, run_id) VALUES ($1, $2, 'k', $3)",
        flow.workspace_id,
        flow.workflow_id,
        child,
    )
    if how == "completed":
        assert ended(await advance(database, child, "t")) == ["completed"]
    else:
        await cancel(database, [child])
    assert await database.fetchval("SELECT status FROM runs WHERE id = $1", child) == how
    woken = await database.fetchrow("SELECT status, wake FROM open_steps WHERE run_id = $1", parent)
    assert tuple(woken or ()) == ("ready", "child")
    assert await database.fetchval("SELECT count(*) FROM concurrency_slots") == 0


async def test_what_the_release_before_leaves_waiting_is_idle(database: asyncpg.Connection) -> None:
    """Its delays do not count against the time a run may be active; its retries do."""
    flow = await workflow(database, *graph("t>a"))
    later = await ago(database, -3600)
    for claim_first in (False, True):
        run_id = await accept(database, flow)
        wait = old.Opening("a", "-", "waiting", 1, None, later, claim_first=claim_first)
        await advance(database, run_id, "t", openings=[wait])
        idle = await database.fetchval("SELECT idle_since IS NOT NULL FROM runs WHERE id = $1", run_id)
        assert idle is not claim_first


async def test_what_waited_when_the_roll_out_began_is_idle(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Since its wait began."""
    await migrate_to_previous(empty_database_url, monkeypatch)
    connection = await asyncpg.connect(empty_database_url)
    flow = await add_workflow(connection)
    began = await ago(connection, 7200)
    later = await ago(connection, -3600)
    wait = {"status": "waiting", "due_at": later, "started_at": began, "claim_first": False}
    delayed = await add_run(connection, flow, wait, status="running")
    await add_run(connection, flow, wait, {"node_id": "b"}, status="running")
    await migrate(empty_database_url, Phase.PRE)
    idle = await connection.fetch("SELECT id, idle_since FROM runs WHERE idle_since IS NOT NULL")
    assert [tuple(row) for row in idle] == [(delayed, began)]
    await connection.close()


async def test_the_scheduler_of_the_release_before_does_its_duties(database: asyncpg.Connection) -> None:
    """Waits are ended, lost and unsent steps sent, dead workers' steps given back, cancelled runs settled."""
    flow = await add_workflow(database)
    past = await ago(database, 100)
    waits = await add_run(database, flow, {"status": "waiting", "due_at": past, "waits": "timer"})
    unsent = await add_run(database, flow, {})
    lost = await add_run(database, flow, {"sent_at": past})
    held = await add_run(database, flow, running(await add_incarnation(database, silent=100), started_at=past))
    woken = await database.fetch(query("duties", "wake_due"), 10)
    assert [row["run_id"] for row in woken] == [waits]
    topped = await database.fetch(query("duties", "top_up"), 10, 10, 10)
    assert [row["run_id"] for row in topped] == [unsent]
    again = await database.fetch(query("duties", "resend"), 10, INFINITY, INFINITY, INFINITY)
    assert [row["run_id"] for row in again] == [lost]
    (rescued,) = await database.fetch(query("duties", "rescue"), True, 6.0, 10)
    assert (rescued["died"], rescued["returned"]) == (1, 1)
    assert await cancel(database, [waits, unsent, lost, held]) == {"cancelled"}


async def test_days_are_made_and_rewritten_during_a_roll_out(database: asyncpg.Connection) -> None:
    """What only holds until the roll-out is over is on new partitions too, and in nobody's way."""
    assert await database.fetchval("SELECT make_partitions(2, 15)") == 3
    flow = await add_workflow(database)
    run_id = await add_run(database, flow, {}, slots=1)
    await add_run(database, flow, status="completed", outcome="completed", completed_at=await ago(database, 1))
    today = await database.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    assert await expire_day(database, today) == "rewritten"
    await database.execute(
        "INSERT INTO concurrency_slots (workspace_id, workflow_id, key, run_id) VALUES ($1, $2, 'k', $3)",
        flow,
        flow,
        run_id,
    )
    assert await cancel(database, [run_id]) == {"cancelled"}
    assert await database.fetchval("SELECT count(*) FROM concurrency_slots") == 0
