"""Workers of two versions side by side: what the older one does not know is left to the newer one."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import pytest

from shared.lanes import Reference
from shared.nodes.registry import default_registry
from tests.duties import Replica
from tests.engine import Engine, Gates, eventually, first, graph, registry, start_runs, workflow
from tests.rows import steps_of

#: Claims of one step that a worker which does not know it may make in two minutes: at its message, then 5, 10, 20, 40 s
#: after one another.
CLAIMS = 5


@pytest.fixture
async def scheduler(database_url: str, broker_url: str) -> AsyncIterator[Replica]:
    """A scheduler whose messages a test hands on; it has seen the broker."""
    async with Replica.running(database_url, broker_url) as replica:
        await replica.steps.resend()
        yield replica


async def seconds_pass(database: asyncpg.Connection, seconds: float) -> None:
    """Every message is so much older."""
    await database.execute("UPDATE open_steps SET sent_at = sent_at - $1 * interval '1 second'", seconds)


async def sent(scheduler: Replica) -> list[Reference]:
    """What the scheduler sends again now."""
    await scheduler.steps.resend()
    references = [reference for _, reference in scheduler.heard.bells]
    scheduler.heard.bells.clear()
    return references


async def test_an_older_worker_alone_neither_fails_a_step_nor_spins(
    database_url: str, database: asyncpg.Connection, scheduler: Replica
) -> None:
    """It takes each message up, gives the step back, and is sent it again ever more rarely."""
    flow = await workflow(database, *graph("t>a"))
    run_ids = await start_runs(database, flow, 20)
    taken: Counter[UUID] = Counter()
    async with Engine.running(database_url, default_registry()) as older:
        await older.take(*(first(run_id, flow) for run_id in run_ids))
        for _ in range(120):
            await seconds_pass(database, 1)
            references = await sent(scheduler)
            taken.update(reference.run_id for reference in references)
            await older.take(*references)
            await older.idle()
            assert not older.mailbox.references()
        assert len(older.held) == 0
    assert set(taken) == set(run_ids)
    assert 3 <= min(taken.values()) <= max(taken.values()) <= CLAIMS
    states = await database.fetch("SELECT status, attempt, crashes, count(*) FROM open_steps GROUP BY 1, 2, 3")
    assert [tuple(row) for row in states] == [("ready", 1, 0, 20)]
    assert await database.fetchval("SELECT count(*) FROM steps") == 0


async def test_runs_end_on_the_newer_of_two_workers(
    database_url: str, database: asyncpg.Connection, scheduler: Replica
) -> None:
    """Whichever of them a message comes to: every run completes, every effect is called once, by the newer one."""
    gates = Gates()
    flow = await workflow(database, *graph("t>a a>f1 t>b b>c"), registry(gates))
    known = await workflow(database, *graph("t>n", n={"component": "text_transform", "template": "x"}))
    run_ids = await start_runs(database, flow, 20)
    others = await start_runs(database, known, 20)
    async with (
        Engine.running(database_url, default_registry()) as older,
        Engine.running(database_url, registry(gates)) as newer,
    ):
        pair = (older, newer)
        messages = [first(run_id, flow) for run_id in run_ids] + [first(run_id, known) for run_id in others]
        turn = 0

        async def ended() -> bool:
            nonlocal messages, turn
            turn += 1
            await asyncio.gather(*(pair[(turn + n) % 2].take(message) for n, message in enumerate(messages)))
            await seconds_pass(database, 60)
            messages = [*older.mailbox.references(), *newer.mailbox.references(), *await sent(scheduler)]
            return not await database.fetchval("SELECT count(*) FROM open_steps")

        await eventually(ended)
        await older.idle()
        await newer.idle()
    assert await database.fetchval("SELECT count(*) FROM runs WHERE status = 'completed'") == 40
    assert gates.calls == dict.fromkeys("abc", 20)
    for run_id in run_ids:
        assert await steps_of(database, run_id) == dict.fromkeys(("t", "a", "f1", "b", "c"), "success")
