"""Days of runs that are over are dropped or rewritten while traffic goes on; two schedulers at a time."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from scheduler.housekeeping import Housekeeping
from scheduler.retention import Retention
from shared.ids import Prefix, decode, encode, uuid7
from shared.store.duties import partition_days_ahead
from shared.store.retention import expire_day, expired_days
from tests.duties import add_run, add_workflow, ago, exhaust, insert
from tests.engine import Engine, Gates, eventually, first, graph, mint, registry, start_run, workflow
from tests.rows import steps_of, waits_for_locks

KEEP = 90
#: Days ago; all of their runs are older than `KEEP`.
OVER = 100
DAY_MS = 86_400_000
TABLES = ("runs", "steps", "items")


@pytest.fixture
async def database(database: asyncpg.Connection) -> AsyncIterator[asyncpg.Connection]:
    """A connection that is no scheduler's, to a database with a day of partitions that is over."""
    await add_day(database, OVER)
    yield database
    assert await database.fetch("SELECT relname FROM pg_class WHERE relname LIKE '%\\_kept'") == []


async def day_of(database: Any, days_ago: int) -> date:
    """A day on Postgres's clock."""
    today: date = await database.fetchval("SELECT (now() AT TIME ZONE 'UTC')::date")
    return today - timedelta(days=days_ago)


async def add_day(database: Any, days_ago: int) -> None:
    """The partitions of a day, as `make_partitions` made them when it was young."""
    day = await day_of(database, days_ago)
    low, high = (day_id(day + timedelta(days=days)) for days in (0, 1))
    for parent in TABLES:
        child = f"{parent}_{day:%Y%m%d}"
        await database.execute(f"CREATE TABLE {child} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)")
        await database.execute(f"ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES FROM ('{low}') TO ('{high}')")


def day_id(day: date) -> UUID:
    """The least run id of a day."""
    return uuid7((day - date(1970, 1, 1)).days * DAY_MS)


async def old_id(database: Any, days_ago: int = OVER) -> UUID:
    """A fresh run id of a day that is over."""
    day = day_id(await day_of(database, days_ago)).int
    return UUID(int=day + (mint.uuid().int & ((1 << 74) - 1)))


async def ended_run(database: Any, workflow_id: UUID, run_id: UUID, **columns: Any) -> UUID:
    """A run that has ended, with a step."""
    done = {"status": "completed", "outcome": "completed", "seq": 1, "completed_at": await ago(database, 3 * 86400)}
    await add_run(database, workflow_id, id=run_id, **{**done, **columns})
    await database.execute(
        "INSERT INTO steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status)"
        " SELECT id, workspace_id, 0, 1, now(), 1, 't', '-', 'success' FROM runs WHERE id = $1",
        run_id,
    )
    return run_id


async def accept(database: Any, flow: Any, run_id: UUID) -> UUID:
    """Accept a trigger, and move it to a day that is over."""
    made = await start_run(database, flow)
    await database.execute("UPDATE runs SET id = $2 WHERE id = $1", made, run_id)
    await database.execute("UPDATE open_steps SET run_id = $2 WHERE run_id = $1", made, run_id)
    return run_id


async def run_ids(database: Any) -> set[UUID]:
    """The runs there are."""
    return {row["id"] for row in await database.fetch("SELECT id FROM runs")}


async def partitions(database: Any, days_ago: int = OVER) -> int:
    """How many of the tables have a partition for a day."""
    day = await day_of(database, days_ago)
    found: int = await database.fetchval(
        "SELECT count(*) FROM unnest($1::text[]) AS t (name) WHERE to_regclass(name) IS NOT NULL",
        [f"{table}_{day:%Y%m%d}" for table in TABLES],
    )
    return found


async def test_a_day_that_is_over_is_dropped(database, pool):
    """Its partitions go with all their runs; younger runs, the audit trail and the days ahead stay."""
    flow = await add_workflow(database)
    await add_day(database, KEEP)
    kept = {
        await ended_run(database, flow, await old_id(database, KEEP)),
        await ended_run(database, flow, mint.uuid()),
    }
    await ended_run(database, flow, await old_id(database))
    entry = {"id": mint.uuid(), "workspace_id": mint.uuid(), "actor": "a", "action": "workflow.create", "target": "t"}
    await insert(database, "audit", [{**entry, "at": await ago(database, 2 * OVER * 86400)}])
    assert await expired_days(database, KEEP) == [await day_of(database, OVER)]
    await Retention(pool, KEEP).days()
    assert await run_ids(database) == kept
    assert await partitions(database) == 0
    assert await partitions(database, KEEP) == len(TABLES)
    assert await database.fetchval("SELECT count(*) FROM audit") == 1
    await database.execute(f"DROP TABLE runs_{await day_of(database, -14):%Y%m%d}")
    await Housekeeping(pool).partitions()
    assert await partition_days_ahead(database) == 14
    assert await expired_days(database, KEEP) == []


async def test_two_days_are_kept_whatever_the_setting(database, pool):
    """The days that `make_partitions` makes are not dropped again."""
    await Retention(pool, 1).days()
    assert await partitions(database) == 0
    assert await partitions(database, 2) == len(TABLES)
    assert await database.fetchval("SELECT make_partitions(2, 14)") == 0


async def test_an_open_run_survives_the_rewrite_of_its_day_and_ends_after_it(database, database_url, pool):
    """An effect is in flight meanwhile; its result, and what follows it, are written as if nothing had happened."""
    gates = Gates()
    gates.shut("b")
    flow = await workflow(database, *graph("t>a a>b b>c", c={"value": "{{ a.attempt }}"}), registry(gates))
    gone = await ended_run(database, flow.workflow_id, await old_id(database))
    async with Engine.running(database_url, registry(gates)) as engine:
        run_id = await accept(database, flow, await old_id(database))
        await engine.take(first(run_id, flow))
        await eventually(lambda: gates.calls["b"] == 1)
        await Retention(pool, KEEP).days()
        assert await run_ids(database) == {run_id}
        assert await steps_of(database, run_id) == {"t": "success", "a": "success"}
        gates.gates["b"].set()
        await engine.finish(run_id, until="completed")
        await engine.idle()
    assert await steps_of(database, run_id) == dict.fromkeys("tabc", "success")
    assert gates.calls == {"a": 1, "b": 1, "c": 1}
    assert await steps_of(database, gone) == {}
    assert await partitions(database) == len(TABLES)


async def test_no_update_is_lost_while_workers_commit(database, database_url, pool):
    """Runs of many effects are carried on while their day is rewritten again and again; each ends whole."""
    gates = Gates()
    names = [f"n{number}" for number in range(12)]
    held = ["n3", "n6", "n9"]  # each goes on when the day was rewritten once more
    gates.shut(*held)
    spec = " ".join(f"{source}>{target}" for source, target in zip(["t", *names], names, strict=False))
    flow = await workflow(database, *graph(spec), registry(gates))
    day = await day_of(database, OVER)
    outcomes: Counter[str] = Counter()
    async with Engine.running(database_url, registry(gates)) as engine:
        run_ids = [await accept(database, flow, await old_id(database)) for _ in range(30)]
        assert await expire_day(database, day) == "rewritten"
        working = asyncio.gather(*(engine.take(first(run_id, flow)) for run_id in run_ids))

        async def over() -> bool:
            await ended_run(database, flow.workflow_id, await old_id(database))  # there is something to remove again
            async with pool.acquire() as connection:
                outcomes[await expire_day(connection, day)] += 1
            for name in held[: outcomes["rewritten"]]:
                gates.gates[name].set()
            await engine.follow()
            return not await database.fetchval("SELECT count(*) FROM open_steps")

        await eventually(over)
        await working
        await engine.idle()
    assert outcomes["rewritten"] >= 3
    assert gates.calls == dict.fromkeys(names, 30)
    for run_id in run_ids:
        assert await steps_of(database, run_id) == dict.fromkeys(["t", *names], "success")
        row = await database.fetchrow("SELECT status, seq FROM runs WHERE id = $1", run_id)
        assert tuple(row) == ("completed", len(names) + 1)


async def test_what_waited_for_the_rewrite_sees_the_run(database, pool):
    """Statements that were held up look at the new partition: reading, claiming, the outputs a step is built on."""
    flow = await add_workflow(database)
    open_id = await add_run(database, flow, {"node_id": "a"}, {"node_id": "b"}, id=await old_id(database), seq=1)
    step = {"run_id": open_id, "workspace_id": open_id, "seq": 0, "duration_ms": 1, "attempt": 1}
    step |= {"started_at": await ago(database, 1), "node_id": "t", "item": "-", "status": "success", "output": "{}"}
    await insert(database, "steps", [step])
    item = {"run_id": open_id, "workspace_id": open_id, "place": 0, "node_id": "i", "item": "-", "value": "7"}
    await insert(database, "items", [item])
    iteration = {
        "run_id": open_id,
        "workspace_id": open_id,
        "total": 1,
        "started": 1,
        "halts": False,
        "node_id": "i",
        "item": "-",
    }
    await insert(database, "iterations", [iteration])
    await ended_run(database, flow, await old_id(database))
    key = f"ARRAY['{open_id}'::uuid], ARRAY"
    asked = [
        f"SELECT FROM read_steps({key}['a'], ARRAY['-'])",
        f"SELECT FROM take_steps({key}['b'], ARRAY['-'], ARRAY['{open_id}'::uuid], '{open_id}')",
        f"SELECT FROM step_outputs({key}['t'], ARRAY['-'])",
        f"SELECT FROM item_values({key}['i'], ARRAY['-'], ARRAY[0])",
        f"SELECT FROM runs WHERE id = '{open_id}' FOR UPDATE",
        f"SELECT FROM steps WHERE run_id = '{open_id}'",
    ]
    async with pool.acquire() as connection:
        others = [await asyncpg.connect(**_same(connection)) for _ in asked]
        for other, query in zip(others, asked, strict=True):
            await other.fetch(query.replace(str(open_id), str(mint.uuid())))  # it has its plan, as in a worker
        transaction = connection.transaction()
        await transaction.start()
        assert await expire_day(connection, await day_of(database, OVER)) == "rewritten"
        waiting = [asyncio.create_task(other.fetch(query)) for other, query in zip(others, asked, strict=True)]
        await eventually(lambda: waits_for_locks(database, len(asked)))
        await transaction.commit()
        assert [len(await task) for task in waiting] == [1] * len(asked)
        for other in others:
            await other.close()


async def test_reading_a_run_that_is_being_moved_finds_it(database, pool, api):
    """The api reads at one moment; where that lies before the move and the look after it, it looks again."""
    made = await api.create()
    workflow_id = decode(Prefix.WORKFLOW, made["id"])
    run_id = await add_run(database, workflow_id, {"node_id": "n1"}, id=await old_id(database))
    await ended_run(database, workflow_id, await old_id(database))
    path = f"/workflows/runs/{encode(Prefix.RUN, run_id)}"
    async with pool.acquire() as connection:
        async with connection.transaction():
            assert await expire_day(connection, await day_of(database, OVER)) == "rewritten"
            reading = asyncio.create_task(api.call("GET", path))
            await eventually(lambda: waits_for_locks(database, 1))
        answer = await reading
    assert (answer.status, answer.json["id"]) == (200, path.rpartition("/")[2])


def _same(connection: Any) -> dict[str, Any]:
    """Where a connection leads."""
    host, port = connection._con._addr
    given = connection._con._params
    return {"host": host, "port": port, "user": given.user, "password": given.password, "database": given.database}


async def test_no_function_looks_at_partitions_with_an_older_snapshot(database):
    """A STABLE function would see neither the old nor the new partition after having waited for a rewrite."""
    tables = [row[0] for row in await database.fetch("SELECT unnest(partitioned_tables())")]
    assert tables == list(TABLES)
    stable = await database.fetch(
        "SELECT proname FROM pg_proc JOIN pg_language l ON l.oid = prolang"
        " WHERE pronamespace = 'public'::regnamespace AND provolatile <> 'v' AND l.lanname = 'plpgsql'"
    )
    assert stable == []


async def test_a_rewrite_that_is_killed_leaves_everything_as_it_was(database, database_url, pool):
    """The scheduler's connection ends before the commit; the next turn does it all."""
    flow = await add_workflow(database)
    gone = await ended_run(database, flow, await old_id(database))
    stays = await add_run(database, flow, {}, id=await old_id(database))
    victim = await asyncpg.connect(database_url)
    await victim.execute("BEGIN")
    assert await expire_day(victim, await day_of(database, OVER)) == "rewritten"
    await database.execute("SELECT pg_terminate_backend($1)", victim.get_server_pid())
    await eventually(victim.is_closed)
    assert await run_ids(database) == {gone, stays}
    assert await steps_of(database, gone) == {"t": "success"}
    await Retention(pool, KEEP).days()
    assert await run_ids(database) == {stays}


@pytest.mark.parametrize("stays", [False, True])
async def test_traffic_that_holds_its_locks_goes_first(database, database_url, pool, stays):
    """The rewrite or drop gives way within its lock time-outs, changes nothing, and is done at a later turn."""
    flow = await add_workflow(database)
    old = {await ended_run(database, flow, await old_id(database))}
    if stays:
        old.add(await add_run(database, flow, {}, id=await old_id(database)))
    busy = await asyncpg.connect(database_url)
    for table in TABLES:
        await busy.execute("BEGIN")
        await busy.execute(f"SELECT FROM {table}")
        async with asyncio.timeout(5):
            assert await expire_day(database, await day_of(database, OVER)) == "busy"
        assert await run_ids(database) == old
        await busy.execute("COMMIT")
    await busy.close()
    await Retention(pool, KEEP).days()
    assert len(await run_ids(database)) == int(stays)


async def test_two_schedulers_do_not_get_into_each_others_way(database, pool):
    """One does a day; the other finds it busy or done, and neither fails."""
    flow = await add_workflow(database)
    for days in range(OVER + 1, OVER + 5):
        await add_day(database, days)
        await ended_run(database, flow, await old_id(database, days))
    stays = await add_run(database, flow, {}, id=await old_id(database))
    one, two = Retention(pool, KEEP), Retention(pool, KEEP)

    async def done() -> bool:
        await asyncio.gather(one.days(), two.days())
        return await run_ids(database) == {stays}

    await eventually(done)
    assert await expired_days(database, KEEP) == [await day_of(database, OVER)]


async def test_a_run_that_outlived_its_day_is_shown_for_a_day_after_its_end(database, pool):
    """Then it goes, and at last its day; a day in which nothing is to be removed is left alone."""
    flow = await add_workflow(database)
    await ended_run(database, flow, await old_id(database))
    slow = await add_run(database, flow, {}, id=await old_id(database))
    slower = await add_run(database, flow, {}, id=await old_id(database))
    day = await day_of(database, OVER)
    assert await expire_day(database, day) == "rewritten"
    assert await expire_day(database, day) == "nothing"
    for run_id in (slow, slower):
        await database.execute("DELETE FROM open_steps WHERE run_id = $1", run_id)
        await database.execute(
            "UPDATE runs SET open_steps = 0, status = 'failed', outcome = 'failed', completed_at = now() WHERE id = $1",
            run_id,
        )
    assert await expire_day(database, day) == "nothing"
    await database.execute("UPDATE runs SET completed_at = now() - interval '25 hours' WHERE id = $1", slow)
    assert await expire_day(database, day) == "rewritten"
    assert await run_ids(database) == {slower}
    await database.execute("UPDATE runs SET completed_at = now() - interval '25 hours'")
    assert await expire_day(database, day) == "dropped"
    assert await expire_day(database, day) == "nothing"


async def test_a_child_stays_until_its_parent_has_taken_up_its_end(database):
    """Whatever its age, and whether or not its day was rewritten before."""
    flow = await add_workflow(database)
    child = await old_id(database)
    parent = await add_run(database, flow, {"node_id": "w", "wake": "child", "child_run_id": child})
    await ended_run(database, flow, child, parent_run_id=parent, parent_node_id="w", parent_item="-", parent_waits=True)
    await ended_run(database, flow, await old_id(database))
    day = await day_of(database, OVER)
    assert await expire_day(database, day) == "rewritten"
    assert await expire_day(database, day) == "nothing"
    assert await run_ids(database) == {parent, child}
    await database.execute("DELETE FROM open_steps")
    await database.execute(
        "UPDATE runs SET open_steps = 0, status = 'failed', outcome = 'failed', completed_at = now() WHERE id = $1",
        parent,
    )
    assert await expire_day(database, day) == "dropped"


async def test_nothing_is_read_whole(database, database_url):
    """Open runs are found by keys, kept rows are copied by keys, and what is attached is not checked row by row."""
    flow = await add_workflow(database)
    for _ in range(50):
        await ended_run(database, flow, await old_id(database))
    for _ in range(5):
        await add_run(database, flow, {}, id=await old_id(database))
    connection = await asyncpg.connect(database_url, server_settings={"client_min_messages": "debug1"})
    told: list[str] = []
    connection.add_log_listener(lambda _, message: told.append(message.message))
    await connection.execute("BEGIN")
    day = await day_of(database, OVER)
    assert len(await connection.fetchval("SELECT kept_runs($1)", day)) == 5
    scans = await connection.fetch("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_scan > 0")
    assert [row["relname"] for row in scans] == []
    assert await expire_day(connection, day) == "rewritten"
    scans = await connection.fetch("SELECT relname FROM pg_stat_xact_user_tables WHERE seq_tup_read > 0")
    assert [row["relname"] for row in scans] == []
    await connection.execute("COMMIT")
    await connection.close()
    implied = [text for text in told if "is implied by existing constraints" in text]
    assert len(implied) == len(TABLES), told


async def test_rows_of_dropped_runs_go_from_the_other_tables(database, pool):
    """Joins, iterations, answers, slots and keys; those of runs that are open, or young, stay."""
    flow = await add_workflow(database)
    gone = await ended_run(database, flow, await old_id(database))
    stays = await add_run(database, flow, {}, id=await old_id(database))
    young = await ended_run(database, flow, mint.uuid())
    for run_id in (gone, stays, young):
        common = {"run_id": run_id, "workspace_id": run_id, "node_id": "n", "item": "-"}
        await insert(database, "joins", [{**common, "arrived": 1, "fired": 1}])
        await insert(database, "iterations", [{**common, "total": 1, "started": 1, "halts": False}])
        await insert(database, "answers", [{**common, "outcome": "ok", "data": "{}"}])
    for days in (1, OVER):
        at = await ago(database, days * 86400)
        row = {"workspace_id": flow, "workflow_id": flow, "run_id": gone, "created_at": at}
        await insert(database, "schedule_slots", [{**row, "slot": at}])
        await insert(database, "dedupe", [{**row, "key": str(days)}])
    one, two = Retention(pool, KEEP), Retention(pool, KEEP)
    await one.days()
    await exhaust(one.leftovers, two.leftovers)
    for table in ("joins", "iterations", "answers"):
        left = {row["run_id"] for row in await database.fetch(f"SELECT run_id FROM {table}")}
        assert left == {stays, young}, table
    for table in ("schedule_slots", "dedupe"):
        assert await database.fetchval(f"SELECT count(*) FROM {table}") == 1, table
