"""A slot that comes while the run of an earlier one is under way: `settings.overlap`, with limits, across crashes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from scheduler.limits import Limits
from scheduler.overlap import MOST_WAITING
from shared.metrics import SCHEDULE_SLOTS
from shared.store import scheduled_runs
from tests.duties import Replica, ago, insert, mint, pair
from tests.engine import Engine, Flow, Gates, eventually, first, graph, registry, start_runs, workflow


class Stage:
    """A workflow with one effect that waits at its gate, two schedulers and a worker."""

    def __init__(self, database: asyncpg.Connection, flow: Flow, engine: Engine, pair: tuple[Replica, Replica]) -> None:
        self.database = database
        self.flow = flow
        self.engine = engine
        self.one, self.two = pair
        self.slot: datetime

    @classmethod
    @asynccontextmanager
    async def set_up(
        cls, database: asyncpg.Connection, urls: tuple[str, str], gates: Gates, **settings: Any
    ) -> AsyncIterator["Stage"]:
        """With these settings, as saving them writes them."""
        flow = await workflow(database, *graph("t>a"), registry(gates))
        async with Engine.running(urls[0], registry(gates)) as engine, pair(*urls) as replicas:
            stage = cls(database, flow, engine, replicas)
            stage.slot = (await ago(database, 50)).replace(microsecond=0)
            await stage.set(**settings)
            yield stage

    async def set(self, **settings: Any) -> None:
        """Change the settings."""
        await self.database.execute(
            "UPDATE workflows SET schedule_type = 'interval', schedule_value = '1 hour', settings = $2::text,"
            " max_concurrent_runs = ($2::text::json ->> 'max_concurrent_runs')::int,"
            " limited = $2 ~ 'max_concurrent_runs|queue|cancel_running' WHERE id = $1",
            self.flow.workflow_id,
            json.dumps(settings),
        )

    async def fire(self, count: int = 1) -> None:
        """Let the next slots come, one by one, each before two schedulers at once; messages are taken up."""
        for _ in range(count):
            self.slot += timedelta(seconds=1)
            await self.database.execute("UPDATE workflows SET next_run_at = $1", self.slot)
            await eventually(self._fired)
            await self.follow()

    async def _fired(self) -> bool:
        """Whether the slot is taken; schedulers pass by a workflow that a run is just entering."""
        await asyncio.gather(self.one.schedules.work(), self.two.schedules.work())
        found: bool = await self.database.fetchval("SELECT true FROM schedule_slots WHERE slot = $1", self.slot)
        return found

    async def follow(self) -> None:
        """Hand over what the schedulers and the worker announced."""
        for heard in (self.one.heard, self.two.heard):
            references = [reference for _, reference in heard.bells]
            heard.bells.clear()
            for reference in references:
                await self.engine.take(reference)
        await self.engine.follow()

    async def runs(self) -> list[asyncpg.Record]:
        """The schedule's runs in the order of their slots."""
        return await self.database.fetch(
            "SELECT r.id, r.status, r.error_message, r.started_at FROM runs r"
            " JOIN schedule_slots s ON s.run_id = r.id ORDER BY s.slot"
        )

    async def statuses(self) -> list[str]:
        """What became of them."""
        return [run["status"] for run in await self.runs()]

    async def until(self, *statuses: str) -> None:
        """Go on until these are the statuses."""
        limits = Limits(self.one.pool, self.one.heard)

        async def reached() -> bool:
            await limits.admit()
            await self.follow()
            return await self.statuses() == list(statuses)

        await eventually(reached)


@pytest.fixture
def gates() -> Gates:
    """An effect that waits at its gate."""
    gates = Gates()
    gates.shut("a")
    return gates


@pytest.fixture
def urls(database_url: str, broker_url: str) -> tuple[str, str]:
    """Of the database and the broker."""
    return database_url, broker_url


async def test_by_default_runs_overlap(database, urls, gates):
    """Each slot makes a run, whatever is under way, and nothing is remembered for it."""
    async with Stage.set_up(database, urls, gates) as stage:
        await stage.fire(3)
        await eventually(lambda: gates.calls["a"] == 3)
        assert await database.fetchval("SELECT count(*) FROM scheduled_runs") == 0
        gates.gates["a"].set()
        await stage.until(*["completed"] * 3)


async def test_a_slot_is_skipped_while_a_run_is_under_way(database, urls, gates):
    """It leaves a run that is cancelled and says why; once the run has ended slots are run again."""
    before = SCHEDULE_SLOTS.labels("skipped")._value.get()
    async with Stage.set_up(database, urls, gates, overlap="skip") as stage:
        await stage.fire(3)
        await eventually(lambda: gates.calls["a"] == 1)
        running, *skipped = await stage.runs()
        assert [run["status"] for run in skipped] == ["cancelled"] * 2
        assert all("overlap is skip" in run["error_message"] for run in skipped)
        assert {run["started_at"] for run in skipped} == {None}
        gates.gates["a"].set()
        await stage.until("completed", "cancelled", "cancelled")
        await stage.fire()
        await stage.until("completed", "cancelled", "cancelled", "completed")
        rows = await database.fetch("SELECT status, node_id FROM steps WHERE run_id = $1", skipped[0]["id"])
        assert [tuple(row) for row in rows] == [("cancelled", "t")]
    assert gates.calls["a"] == 2
    assert SCHEDULE_SLOTS.labels("skipped")._value.get() - before == 2
    assert running["id"] != skipped[0]["id"]


async def test_runs_that_somebody_starts_are_none_of_the_schedules(database, urls, gates):
    """They neither make a slot be skipped, nor wait for the runs of slots."""
    async with Stage.set_up(database, urls, gates, overlap="skip") as stage:
        (run_id,) = await start_runs(database, stage.flow)
        await stage.engine.take(first_of(stage, run_id))
        await eventually(lambda: gates.calls["a"] == 1)
        await stage.fire()
        await eventually(lambda: gates.calls["a"] == 2)
        await stage.set(overlap="queue")
        (run_id,) = await start_runs(database, stage.flow)
        await stage.engine.take(first_of(stage, run_id))
        await eventually(lambda: gates.calls["a"] == 3)
        gates.gates["a"].set()
        await stage.engine.finish(run_id)
        await stage.until("completed")


def first_of(stage: Stage, run_id: UUID) -> Any:
    """The reference of a run that was started by hand."""
    return first(run_id, stage.flow)._replace(claim=True)


async def test_runs_of_slots_queue(database, urls, gates):
    """One is under way at a time, in the order of slots, and each begins once the one before has ended."""
    async with Stage.set_up(database, urls, gates, overlap="queue") as stage:
        await stage.fire(4)
        await eventually(lambda: gates.calls["a"] == 1)
        assert await stage.statuses() == ["running", "pending", "pending", "pending"]
        assert await database.fetchval("SELECT count(*) FROM open_steps WHERE waits = 'concurrency'") == 3
        gates.gates["a"].set()
        await stage.until(*["completed"] * 4)
        begun = [run["started_at"] for run in await stage.runs()]
        assert begun == sorted(begun)
    assert await database.fetchval("SELECT count(*) FROM concurrency_slots") == 0


async def test_whichever_message_comes_first_slots_keep_their_order(database, urls, gates):
    """The run of a later slot that a worker takes first waits for the earlier one."""
    async with Stage.set_up(database, urls, gates, overlap="queue", missed_runs="all") as stage:
        await database.execute("UPDATE workflows SET schedule_value = '1 second', next_run_at = $1", stage.slot)
        await stage.one.schedules.work()
        references = [reference for _, reference in stage.one.heard.bells]
        stage.one.heard.bells.clear()
        assert len(references) > 40
        for reference in reversed(references):
            await stage.engine.take(reference)
        await eventually(lambda: gates.calls["a"] == 1)
        running = await database.fetch("SELECT run_id FROM open_steps WHERE status = 'running'")
        assert [row["run_id"] for row in running] == [(await stage.runs())[0]["id"]]
        gates.gates["a"].set()
        await stage.until(*["completed"] * len(references))
        begun = [run["started_at"] for run in await stage.runs()]
        assert begun == sorted(begun)


async def test_a_full_queue_skips(database, urls, gates):
    """So many runs wait and no more: a slot that comes then is skipped, and says why."""
    async with Stage.set_up(database, urls, gates, overlap="queue") as stage:
        ids = [mint.uuid() for _ in range(MOST_WAITING + 1)]
        common = {"workspace_id": stage.flow.workspace_id, "workflow_id": stage.flow.workflow_id, "priority": 1}
        run = {"version": 1, "trigger_type": "scheduled", "trigger_payload": "{}", "open_steps": 1, "slots": -1}
        step = {"node_id": "t", "status": "waiting", "waits": "concurrency"}
        await insert(database, "runs", [{"id": run_id, **common, **run} for run_id in ids])
        await insert(database, "open_steps", [{"run_id": run_id, **common, **step} for run_id in ids])
        del common["priority"]
        slots = [stage.slot - timedelta(hours=hours) for hours in range(len(ids))]
        rows = [{"slot": slot, "run_id": run_id, **common} for slot, run_id in zip(slots, ids, strict=True)]
        await insert(database, "scheduled_runs", rows)
        await stage.fire()
        (skipped,) = await stage.runs()
        assert skipped["status"] == "cancelled"
        assert "1000 runs of earlier slots" in skipped["error_message"]
        await database.execute("DELETE FROM scheduled_runs WHERE run_id = $1", ids[0])
        await stage.fire()
        assert (await stage.statuses())[1] == "pending"


async def test_the_run_of_a_later_slot_takes_the_place(database, urls, gates):
    """The run under way is cancelled, its effect aborted, and only then the new one begins."""
    async with Stage.set_up(database, urls, gates, overlap="cancel_running") as stage:
        await stage.fire()
        await eventually(lambda: gates.calls["a"] == 1)
        await stage.fire()
        await stage.until("cancelled", "running")
        await eventually(lambda: gates.calls["a"] == 2)
        assert gates.cancelled["a"] == 1
        assert "overlap is cancel_running" in (await stage.runs())[0]["error_message"]
        gates.gates["a"].set()
        await stage.until("cancelled", "completed")


async def test_a_scheduler_that_dies_before_it_cancels(database, urls, gates, monkeypatch):
    """Another one does it: it follows from the rows that a later slot's run waits for this one."""
    async with Stage.set_up(database, urls, gates, overlap="cancel_running") as stage:
        await stage.fire()
        await eventually(lambda: gates.calls["a"] == 1)
        with monkeypatch.context() as patched:

            async def nothing(*_: Any) -> int:
                return 0

            patched.setattr(scheduled_runs, "cancel_overtaken", nothing)
            await stage.fire()
        await stage.until("cancelled", "running")
        gates.gates["a"].set()
        await stage.until("cancelled", "completed")


async def test_of_missed_slots_only_the_last_takes_the_place(database, urls, gates):
    """What is made up for all at once overlaps itself: the others are not run, and say why."""
    async with Stage.set_up(database, urls, gates, overlap="cancel_running", missed_runs="all") as stage:
        slot = await ago(database, 3 * 3600)
        await database.execute("UPDATE workflows SET next_run_at = $1", slot.replace(microsecond=0))
        await stage.one.schedules.work()
        gates.gates["a"].set()
        await stage.until("cancelled", "cancelled", "cancelled", "completed")
        assert all("overlap is cancel_running" in run["error_message"] for run in (await stage.runs())[:3])


async def test_the_policy_is_read_live(database, urls, gates):
    """Runs that queued go on at once when they may overlap; runs from before are known when they may no more."""
    async with Stage.set_up(database, urls, gates, overlap="queue") as stage:
        await stage.fire(3)
        await eventually(lambda: gates.calls["a"] == 1)
        await stage.set(overlap="allow")
        await stage.until("running", "running", "running")
        await stage.fire()
        await stage.until(*["running"] * 4)
        await stage.set(overlap="skip")
        async with database.transaction():
            await scheduled_runs.add_open(database, stage.flow.workflow_id)
        assert await database.fetchval("SELECT count(*) FROM scheduled_runs") == 4
        gates.gates["a"].set()
        await stage.until(*["completed"] * 4)
        await stage.fire()
        await stage.until(*["completed"] * 5)


async def test_limits_hold_beside_overlap(database, urls, gates):
    """A run that its turn has come for still waits for a slot of the workflow, and is not skipped before its turn."""
    async with Stage.set_up(database, urls, gates, overlap="queue", max_concurrent_runs=1, on_limit="skip") as stage:
        await stage.fire(2)
        await eventually(lambda: gates.calls["a"] == 1)
        assert await stage.statuses() == ["running", "pending"]
        (run_id,) = await start_runs(database, stage.flow)
        await stage.engine.take(first_of(stage, run_id))
        await stage.engine.finish(run_id)
        assert await database.fetchval("SELECT status FROM runs WHERE id = $1", run_id) == "cancelled"
        gates.gates["a"].set()
        await stage.until("completed", "completed")
