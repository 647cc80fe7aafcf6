"""Triggers with a dedupe key, on a real database: of several with one key within 24 hours the first makes the run."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import asyncpg
import pytest

from shared.db import Clock, open_pool
from shared.ingest import Accepted, Ingest, Trigger
from tests.engine import Flow, Mailbox, graph, workflow
from tests.proxy import Proxy


@pytest.fixture
async def flow(database: asyncpg.Connection) -> Flow:
    return await workflow(database, *graph("t>a"))


class Desks:
    """Ingests as several api processes have them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self.mailbox = Mailbox()

    async def open(self, url: str) -> Ingest:
        pool = await open_pool(url, size=4, name="test")
        self._stack.push_async_callback(pool.close)
        ingest = Ingest(pool, self.mailbox, Clock(), window=10_000)
        self._stack.push_async_callback(ingest.close)
        return ingest


@pytest.fixture
async def desks() -> AsyncIterator[Desks]:
    async with AsyncExitStack() as stack:
        yield Desks(stack)


def keyed(flow: Flow, key: str | None) -> Trigger:
    return Trigger(flow.workflow_id, "webhook", "{}", dedupe_key=key)


async def accept(ingest: Ingest, flow: Flow, key: str | None) -> Accepted:
    accepted = await ingest.accept(keyed(flow, key))
    assert accepted is not None
    return accepted


async def test_a_repeat_is_told_the_first_run(
    desks: Desks, database_url: str, database: asyncpg.Connection, flow: Flow
) -> None:
    """It makes no run and no message; another key, another workflow and no key at all do."""
    other = await workflow(database, *graph("t>a"))
    ingest = await desks.open(database_url)
    first = await accept(ingest, flow, "k")
    again = await accept(ingest, flow, "k")
    assert (first.is_repeat, again.is_repeat, again.run_id) == (False, True, first.run_id)
    assert (again.workflow_id, again.workspace_id) == (first.workflow_id, first.workspace_id)
    assert again.created_at == first.created_at
    others = [
        await accept(ingest, *case) for case in ((flow, "K"), (other, "k"), (flow, None), (flow, None), (flow, ""))
    ]
    assert not any(one.is_repeat for one in others)
    assert await database.fetchval("SELECT count(*) FROM runs") == 6
    assert len(desks.mailbox.bells) == 6


async def test_repeats_in_one_batch_and_across_processes_share_one_run(
    desks: Desks, database_url: str, database: asyncpg.Connection, flow: Flow
) -> None:
    """Four processes get two hundred triggers of twenty keys at once, and as many without: one run each key."""
    ingests = [await desks.open(database_url) for _ in range(4)]
    keys = [f"k{number % 20}" for number in range(200)]
    work = [accept(ingests[place % 4], flow, key) for place, key in enumerate(reversed(keys))]
    work += [accept(ingests[place % 4], flow, None) for place in range(200)]
    accepted = await asyncio.gather(*work)
    of_keys = Counter(one.run_id for one in accepted[:200])
    assert sorted(of_keys.values()) == [10] * 20
    assert len({one.run_id for one in accepted[200:]} - set(of_keys)) == 200
    assert sum(not one.is_repeat for one in accepted[:200]) == 20
    assert await database.fetchval("SELECT count(*) FROM runs") == 220
    assert {row["run_id"] for row in await database.fetch("SELECT run_id FROM dedupe")} == set(of_keys)


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_an_answer_that_was_lost_is_found_out(
    desks: Desks, database_url: str, database: asyncpg.Connection, flow: Flow, cut: str
) -> None:
    """Whether the commit happened or not, the first stays the first, and repeats in its batch are told it."""
    async with Proxy.before(database_url) as proxy:
        ingest = await desks.open(proxy.url)
        await accept(ingest, flow, "warm")
        proxy.cut = cut
        one, same, another = await asyncio.gather(*(accept(ingest, flow, key) for key in ("a", "a", "b")))
        assert proxy.losses == 1
        await ingest.close()
    assert (one.is_repeat, same.is_repeat, another.is_repeat) == (False, True, False)
    assert one.run_id == same.run_id != another.run_id
    assert await database.fetchval("SELECT count(*) FROM runs") == 3


async def test_what_may_not_run_takes_no_key(
    desks: Desks, database_url: str, database: asyncpg.Connection, flow: Flow
) -> None:
    """A trigger that was refused is not the first: once its workflow is active, the repeat makes the run."""
    ingest = await desks.open(database_url)
    await database.execute("UPDATE workflows SET is_active = false")
    assert await ingest.accept(keyed(flow, "k")) is None
    await database.execute("UPDATE workflows SET is_active = true")
    assert not (await accept(ingest, flow, "k")).is_repeat


async def test_after_a_day_a_key_is_forgotten(
    desks: Desks, database_url: str, database: asyncpg.Connection, flow: Flow
) -> None:
    """A key older than 24 hours makes a run again, and is fresh then; a younger one does not."""
    ingest = await desks.open(database_url)
    first = await accept(ingest, flow, "k")
    await database.execute("UPDATE dedupe SET created_at = now() - interval '23 hours 59 minutes'")
    assert (await accept(ingest, flow, "k")).run_id == first.run_id
    await database.execute("UPDATE dedupe SET created_at = now() - interval '24 hours 1 second'")
    second, third = await asyncio.gather(accept(ingest, flow, "k"), accept(ingest, flow, "k"))
    assert first.run_id != second.run_id == third.run_id
    assert await database.fetchval("SELECT created_at > now() - interval '1 minute' FROM dedupe")


async def test_too_much_that_waits_is_refused(
    desks: Desks, database_url: str, flow: Flow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past so many characters, or so many triggers, callers are told to come back; what waits is accepted."""
    monkeypatch.setattr("shared.ingest._MOST_CHARACTERS", 100)
    monkeypatch.setattr("shared.ingest._MOST_WAITING", 6)
    ingest = await desks.open(database_url)
    for payload, most in (('"' + "x" * 30 + '"', 3), ("1", 6)):
        triggers = [Trigger(flow.workflow_id, "webhook", payload) for _ in range(10)]
        answers = await asyncio.gather(*(ingest.accept(one) for one in triggers), return_exceptions=True)
        assert [isinstance(answer, Accepted) for answer in answers] == [True] * most + [False] * (10 - most)
        refused = {(answer.code, answer.status, answer.retry_after) for answer in answers[most:]}  # type: ignore[union-attr]
        assert refused == {("ingest_busy", 503, 1)}
