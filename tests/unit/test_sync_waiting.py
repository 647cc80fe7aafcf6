"""Requests that wait: what wakes them, what is asked of the database meanwhile, and who is forgotten."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.sync_waiting import StoppingError, Waiter, Waiters
from shared.errors import UnavailableError
from shared.store.responses import Answered
from tests.engine import eventually

ANSWER = Answered("completed", None, None, None, None)


class Database:
    """Answers for runs in ``done``; keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Mapping[UUID, Sequence[str]]] = []
        self.done: set[UUID] = set()
        self.away = False

    async def read(self, waiting: Mapping[UUID, Sequence[str]]) -> dict[UUID, Answered]:
        self.asked.append(dict(waiting))
        if self.away:
            raise UnavailableError("database_unavailable", "away")
        return {run_id: ANSWER for run_id in waiting if run_id in self.done}


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
async def waiters(database: Database) -> AsyncIterator[Waiters]:
    """Waiters that look for all only when a test says so."""
    waiters = Waiters(database.read, every=3600.0)
    yield waiters
    waiters.close()


def ask(waiters: Waiters, run_id: UUID, seconds: float = 10.0, waiter: Waiter | None = None) -> "asyncio.Task[Any]":
    """Wait for a run."""
    waiter = waiter or waiters.enter(run_id)
    return asyncio.create_task(waiters.wait(run_id, waiter, ["n2"], seconds))


async def test_a_bell_makes_it_look_for_that_run_alone(waiters: Waiters, database: Database) -> None:
    """Of many that wait, only those that rang are asked for, in one statement; others' bells cost nothing."""
    ids = [uuid4() for _ in range(5)]
    tasks = [ask(waiters, run_id) for run_id in ids]
    await asyncio.sleep(0)
    database.done |= {ids[1], ids[3]}
    waiters.ring([ids[1], ids[3], uuid4()])
    assert [await tasks[1], await tasks[3]] == [ANSWER, ANSWER]
    assert database.asked == [{ids[1]: ["n2"], ids[3]: ["n2"]}]
    waiters.ring([uuid4()])
    await asyncio.sleep(0)
    assert len(database.asked) == 1


async def test_a_bell_before_the_run_is_known_to_be_stored_counts(waiters: Waiters, database: Database) -> None:
    """The worker may be done before the api hears that its own commit went through."""
    run_id = uuid4()
    waiter = waiters.enter(run_id)
    database.done.add(run_id)
    waiters.ring([run_id])
    assert await ask(waiters, run_id, waiter=waiter) == ANSWER


async def test_without_bells_a_thousand_share_one_look(database: Database) -> None:
    """All that wait are asked for at once, and again and again until they are answered, also after a failure."""
    waiters = Waiters(database.read, every=0.01)
    ids = [uuid4() for _ in range(1000)]
    tasks = [ask(waiters, run_id) for run_id in ids]
    database.away = True
    await eventually(lambda: len(database.asked) >= 2)
    database.away = False
    database.done.update(ids)
    assert await asyncio.gather(*tasks) == [ANSWER] * 1000
    assert {len(asked) for asked in database.asked} == {1000}


async def test_time_is_up(waiters: Waiters) -> None:
    """Without an answer in time there is none."""
    assert await ask(waiters, uuid4(), seconds=0.01) is None


async def test_who_left_is_not_asked_for(database: Database) -> None:
    """A wait that was left, or whose client is gone, is forgotten; others for the same run go on."""
    waiters = Waiters(database.read, every=0.01)
    run_id = uuid4()
    gone = waiters.enter(run_id, lambda: True)
    left = waiters.enter(run_id)
    stays = waiters.enter(run_id)
    waiters.leave(run_id, left)
    assert await waiters.wait(run_id, gone, ["n2"], 10.0) is None
    database.done.add(run_id)
    assert await ask(waiters, run_id, waiter=stays) == ANSWER
    waiters.leave(run_id, gone)
    waiters.leave(run_id, stays)
    assert len(waiters) == 0


async def test_a_stop_ends_every_wait(waiters: Waiters) -> None:
    """Those who wait are told, and nobody waits anew."""
    task = ask(waiters, uuid4())
    await asyncio.sleep(0)
    waiters.close()
    with pytest.raises(StoppingError):
        await task
    with pytest.raises(StoppingError):
        waiters.enter(uuid4())
