"""A workflow's own retention: it hides at once, and the scheduler removes in batches."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from scheduler.retention import Retention
from shared.ids import Prefix, decode, encode, milliseconds_of, uuid7
from tests.api_client import ApiClient
from tests.duties import add_run, ago, exhaust, insert, mint

DAY_MS = 86_400_000
KEEP = 90


@pytest.fixture
async def database(database: asyncpg.Connection) -> asyncpg.Connection:
    """A connection to a database with partitions of ten days."""
    await database.execute("SELECT make_partitions(10, 14)")
    return database


def aged(days: float) -> UUID:
    """A run id of some days ago."""
    fresh = mint.uuid()
    return uuid7(milliseconds_of(fresh) - int(days * DAY_MS), fresh.int & ((1 << 74) - 1))


async def ended(database: Any, workflow_id: UUID, days: float, **columns: Any) -> UUID:
    """A run of some days ago that has ended."""
    done = {"status": "completed", "outcome": "completed", "completed_at": await ago(database, 60), "seq": 1}
    return await add_run(database, workflow_id, id=aged(days), **{**done, **columns})


async def keep(api: ApiClient, made: dict[str, Any], days: int | None) -> None:
    """Set how long a workflow keeps its runs."""
    answer = await api.call("PUT", f"/workflows/{made['id']}", {"settings": {"keep_runs_days": days}})
    assert answer.status == 200, answer.body
    assert answer.json["settings"] == {"keep_runs_days": days}


async def listed(api: ApiClient, made: dict[str, Any], **query: str) -> tuple[list[UUID], int]:
    """The runs that the list gives, and its total."""
    answer = await api.call("GET", f"/workflows/{made['id']}/executions", params=query)
    assert answer.status == 200
    return [decode(Prefix.RUN, run["id"]) for run in answer.json["data"]], answer.json["meta"]["total"]


async def status(api: ApiClient, run_id: UUID) -> int:
    """The status of reading a run."""
    return (await api.call("GET", f"/workflows/runs/{encode(Prefix.RUN, run_id)}")).status


async def test_older_runs_are_hidden_at_once(api: ApiClient, database: asyncpg.Connection) -> None:
    """From reading, lists and totals; open ones and younger ones are shown, and null shows all again."""
    made, other = await api.create(), await api.create()
    workflow_id = decode(Prefix.WORKFLOW, made["id"])
    old, young = await ended(database, workflow_id, 5), await ended(database, workflow_id, 1)
    still_open = await add_run(database, workflow_id, {}, id=aged(6))
    others = await ended(database, decode(Prefix.WORKFLOW, other["id"]), 5)
    assert await listed(api, made) == ([young, old, still_open], 3)
    await keep(api, made, 3)
    assert await listed(api, made) == ([young, still_open], 2)
    assert await listed(api, made, status="completed") == ([young], 1)
    assert [await status(api, run_id) for run_id in (old, young, still_open, others)] == [404, 200, 200, 200]
    await keep(api, made, None)
    assert await listed(api, made) == ([young, old, still_open], 3)
    assert await status(api, old) == 200


async def test_hidden_runs_are_removed_in_batches(
    api: ApiClient, database: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    """With all that belongs to them, by two schedulers at once; what is shown, open, or another workflow's stays."""
    made, other = await api.create(), await api.create()
    workflow_id, others_id = (decode(Prefix.WORKFLOW, each["id"]) for each in (made, other))
    stays = {
        await ended(database, workflow_id, 1),
        await add_run(database, workflow_id, {}, id=aged(6)),
        await ended(database, others_id, 5),
    }
    gone = [await ended(database, workflow_id, 5) for _ in range(600)]
    for run_id in (gone[0], *stays):
        common = {"run_id": run_id, "workspace_id": run_id, "node_id": "n", "item": "-"}
        await insert(database, "joins", [{**common, "arrived": 1, "fired": 1}])
        await insert(database, "iterations", [{**common, "total": 1, "started": 1, "halts": False}])
        await insert(database, "answers", [{**common, "outcome": "ok", "data": "{}"}])
        await insert(database, "items", [{**common, "place": 0, "value": "1"}])
        step = {**common, "seq": 0, "duration_ms": 1, "attempt": 1, "started_at": await ago(database, 1)}
        await insert(database, "steps", [{**step, "status": "success"}])
    await database.execute("UPDATE runs SET seq = 1")
    one, two = Retention(pool, KEEP), Retention(pool, KEEP)
    await exhaust(one.hidden, two.hidden)
    assert await database.fetchval("SELECT count(*) FROM runs") == len(gone) + len(stays)
    await keep(api, made, 3)
    await exhaust(one.hidden, two.hidden)
    assert {row["id"] for row in await database.fetch("SELECT id FROM runs")} == stays
    for table in ("joins", "iterations", "answers", "items", "steps"):
        left = {row["run_id"] for row in await database.fetch(f"SELECT run_id FROM {table}")}
        assert left == stays, table


async def test_every_workflow_has_its_turn(api: ApiClient, database: asyncpg.Connection, pool: asyncpg.Pool) -> None:
    """However many keep their runs for a time of their own, one round after the other looks at all of them."""
    made = [await api.create(settings={"keep_runs_days": 3}) for _ in range(120)]
    for each in (made[0], made[60], made[-1]):
        await ended(database, decode(Prefix.WORKFLOW, each["id"]), 5)
    retention = Retention(pool, KEEP)
    for left in (2, 1, 0):
        assert await retention.hidden() is (left > 0)
        assert await database.fetchval("SELECT count(*) FROM runs") == left


async def test_a_child_stays_until_its_parent_has_taken_up_its_end(
    api: ApiClient, database: asyncpg.Connection, pool: asyncpg.Pool
) -> None:
    """Its output is read by then; afterwards it goes."""
    made = await api.create(settings={"keep_runs_days": 3})
    workflow_id = decode(Prefix.WORKFLOW, made["id"])
    parent, child = aged(6), aged(5)
    await add_run(database, workflow_id, {"node_id": "w", "wake": "child", "child_run_id": child}, id=parent)
    caller = {"parent_run_id": parent, "parent_node_id": "w", "parent_item": "-", "parent_waits": True}
    await ended(database, workflow_id, 5, **caller)
    await database.execute("UPDATE runs SET id = $1 WHERE parent_waits", child)
    retention = Retention(pool, KEEP)
    await exhaust(retention.hidden)
    assert await database.fetchval("SELECT count(*) FROM runs") == 2
    await database.execute("UPDATE open_steps SET child_run_id = NULL")
    await exhaust(retention.hidden)
    assert [row["id"] for row in await database.fetch("SELECT id FROM runs")] == [parent]


async def test_a_workflow_can_only_shorten_the_retention(make_api: Any) -> None:
    """More days than the installation's is 422 and says so; as many are fine, and less than one is not."""
    api = await make_api(keep_runs_days=30)
    made = await api.create(settings={"keep_runs_days": 30})
    for days in (31, 0, 1.5, "7"):
        answer = await api.call("PUT", f"/workflows/{made['id']}", {"settings": {"keep_runs_days": days}})
        assert answer.status == 422
        (fault,) = answer.json["errors"]
        assert fault["path"] == "settings.keep_runs_days"
        assert ("30" in fault["message"]) == (days == 31)
    lowered = await make_api(keep_runs_days=7)
    assert (await lowered.call("PUT", f"/workflows/{made['id']}", {"name": "other"})).status == 200
