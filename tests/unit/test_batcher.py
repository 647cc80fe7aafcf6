"""Group commit, without a database."""

import asyncio
from collections import deque

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from shared.batcher import Batcher
from tests.engine import eventually
from tests.unhurried import Unhurried


class Flusher:
    """Notes each batch, waits at a gate, and refuses what holds poison."""

    def __init__(self, poison=(), answers=()):
        self.batches = []
        self.uncertain = []
        self.written = []
        self.in_flight = self.most_in_flight = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._poison = set(poison)
        self._answers = deque(answers)

    async def __call__(self, units, uncertain):
        self.batches.append(list(units))
        self.uncertain.append(uncertain)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)  # as a round trip does
            await self.gate.wait()
        finally:
            self.in_flight -= 1
        answer = self._answers.popleft() if self._answers else None
        if answer is not None:
            raise answer
        if self._poison & set(units):
            raise asyncpg.DataError("poison")
        self.written.extend(units)
        return [f"receipt {unit}" for unit in units]


async def submit_all(batcher, units):
    return await asyncio.gather(*(batcher.submit(unit) for unit in units), return_exceptions=True)


async def test_what_arrives_during_a_commit_goes_into_the_next():
    """One commit is under way; the rest waits, and goes together and in order."""
    flusher = Flusher()
    flusher.gate.clear()
    batcher = Batcher(flusher, name="test")
    first = batcher.enqueue(0)
    await eventually(lambda: flusher.in_flight == 1)
    futures = [batcher.enqueue(unit) for unit in range(1, 10)]
    assert batcher.backlog == 9
    flusher.gate.set()
    assert await asyncio.gather(first, *futures) == [f"receipt {unit}" for unit in range(10)]
    assert flusher.batches == [[0], list(range(1, 10))]
    assert flusher.most_in_flight == 1


async def test_what_arrives_in_one_turn_of_the_loop_goes_together():
    """The first of it does not go alone."""
    flusher = Flusher()
    batcher = Batcher(flusher, name="test")
    await asyncio.gather(*[batcher.enqueue(unit) for unit in range(5)])
    assert flusher.batches == [[0, 1, 2, 3, 4]]


async def test_a_crowd_keeps_a_distance_to_the_next_batch(monkeypatch):
    """As long as its own flush took, and only a crowd: what comes behind another does not wait."""
    now, pauses, turn = [100.0], [], asyncio.sleep

    async def pause(seconds):
        pauses.append(round(seconds, 6))
        now[0] += seconds
        await turn(0)

    async def flush(units, _):
        now[0] += 0.01
        return units

    monkeypatch.setattr("shared.batcher.monotonic", lambda: now[0])
    monkeypatch.setattr(asyncio, "sleep", pause)
    batcher = Batcher(flush, name="test", limit=2, is_crowd=lambda units: len(units) == 2)
    await submit_all(batcher, range(5))
    assert pauses == [0.01, 0.01]
    await batcher.submit(5)
    assert pauses == [0.01, 0.01]


async def test_one_batch_is_in_flight_at_a_time():
    """Whatever is submitted, and each batch holds at most the limit."""
    flusher = Flusher()
    batcher = Batcher(flusher, name="test", limit=4)
    assert await submit_all(batcher, range(100)) == [f"receipt {unit}" for unit in range(100)]
    assert flusher.most_in_flight == 1
    assert max(map(len, flusher.batches)) == 4
    assert flusher.written == list(range(100))


async def test_what_waits_behind_a_cancelled_batch_is_cancelled():
    """Nobody waits for a batch that never comes."""
    flusher = Flusher()
    flusher.gate.clear()
    batcher = Batcher(flusher, name="test")
    first = batcher.enqueue(0)
    await eventually(lambda: flusher.in_flight == 1)
    second = batcher.enqueue(1)
    (task,) = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    task.cancel()
    await asyncio.wait([first, second])
    assert first.cancelled() or isinstance(first.exception(), asyncio.CancelledError)
    assert second.cancelled()


@given(st.integers(1, 40), st.sets(st.integers(0, 39)))
def test_poison_fails_alone(count, poison):
    """Every poisoned unit gets its error, every other its receipt, and each is written exactly once."""

    async def case():
        flusher = Flusher(poison)
        with capture_logs():
            receipts = await submit_all(Batcher(flusher, name="test"), range(count))
        for unit, receipt in enumerate(receipts):
            assert isinstance(receipt, asyncpg.DataError) if unit in poison else receipt == f"receipt {unit}"
        assert sorted(flusher.written) == [unit for unit in range(count) if unit not in poison]

    asyncio.run(case())


async def test_a_lost_connection_makes_the_batch_uncertain():
    """The same units are sent again, with the word that they may be written already."""
    flusher = Flusher(answers=[ConnectionResetError(), asyncpg.ConnectionDoesNotExistError("x")])
    batcher = Batcher(flusher, name="test")
    assert await batcher.submit("a") == "receipt a"
    assert flusher.batches == [["a"]] * 3
    assert flusher.uncertain == [False, True, True]


async def test_the_halves_of_an_uncertain_batch_are_uncertain():
    """A batch that was lost and then refused is bisected; its units may be written already all the same."""
    flusher = Flusher()
    flusher.gate.clear()
    batcher = Batcher(flusher, name="test")
    futures = [batcher.enqueue(0)]
    await eventually(lambda: flusher.in_flight == 1)
    futures += [batcher.enqueue(unit) for unit in range(1, 5)]
    flusher._answers.extend([None, TimeoutError(), asyncpg.LockNotAvailableError("x")])
    flusher.gate.set()
    await asyncio.gather(*futures)
    assert flusher.batches == [[0], [1, 2, 3, 4], [1, 2, 3, 4], [1, 2], [3, 4]]
    assert flusher.uncertain == [False, False, True, True, True]


async def test_a_refusal_that_may_pass_is_waited_out():
    """A deadlock or a lock time-out splits a batch, and is tried again until it passes for a single unit."""
    refusals = [asyncpg.DeadlockDetectedError("x"), asyncpg.LockNotAvailableError("x")]
    flusher = Flusher(answers=refusals)
    assert await Batcher(flusher, name="test").submit("a") == "receipt a"
    assert flusher.uncertain == [False] * 3


@pytest.mark.parametrize("error", [OSError, asyncpg.DeadlockDetectedError])
def test_patience_ends(error):
    """After its patience the submitter gets what the last attempt raised."""
    flusher = Flusher(answers=[error("x") for _ in range(1000)])

    async def submit():
        with pytest.raises(error):
            await Batcher(flusher, name="test", patience=0.2).submit("a")
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=Unhurried) as runner:
        assert 0.1 < runner.run(submit()) <= 0.2
    assert len(flusher.batches) > 1


async def test_an_error_nobody_thought_of_reaches_all_of_its_batch_and_no_other():
    """A bug in a flush is not retried; what comes later is written."""
    flusher = Flusher(answers=[KeyError("bug")])
    batcher = Batcher(flusher, name="test")
    with pytest.raises(KeyError):
        await batcher.submit("a")
    assert await batcher.submit("b") == "receipt b"


async def test_a_submitter_that_gave_up_harms_nobody():
    """Its unit is written, and the receipts of the others are theirs."""
    flusher = Flusher()
    flusher.gate.clear()
    batcher = Batcher(flusher, name="test")
    futures = [batcher.enqueue(unit) for unit in range(4)]
    futures[0].cancel()
    futures[2].cancel()
    flusher.gate.set()
    assert await asyncio.gather(futures[1], futures[3]) == ["receipt 1", "receipt 3"]
    assert flusher.written == [0, 1, 2, 3]


async def test_drain_waits_for_everything():
    """What was submitted before it is written when it returns."""
    flusher = Flusher()
    batcher = Batcher(flusher, name="test", limit=2)
    futures = [batcher.enqueue(unit) for unit in range(9)]
    await batcher.drain()
    assert flusher.written == list(range(9))
    assert batcher.backlog == 0
    assert all(future.done() for future in futures)
