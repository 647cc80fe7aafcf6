"""Which advances may share a batch."""

import asyncio
from collections import deque
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from shared.advances import ChildCall
from shared.store.advance import Committed, Ended
from tests.engine import mint
from tests.rows import advance, opening
from worker import commits
from worker.commits import Commits, next_batch

units = st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=30)


def waiting_of(drawn) -> Any:
    """Entries that know their place: (advance, place)."""
    return deque(
        (advance(UUID(int=run), "a", results=(), outcome="failed" if ends else None), place)
        for place, (run, ends) in enumerate(drawn)
    )


@given(units, st.integers(1, 12))
def test_batches_keep_order_and_endings_are_alone(drawn, limit):
    """Nothing is lost, doubled or, within its run, reordered; an ending is the only one of its run in its batch."""
    waiting = waiting_of(drawn)
    batches = []
    while waiting:
        batch = next_batch(waiting, limit)
        assert 1 <= len(batch) <= limit
        batches.append(batch)
    taken = [place for batch in batches for _, place in batch]
    assert sorted(taken) == list(range(len(drawn)))
    for run in range(4):
        places = [place for place in taken if drawn[place][0] == run]
        assert places == sorted(places)
    for batch in batches:
        for unit, place in batch:
            if unit.outcome is not None:
                assert [other for one, other in batch if one.run_id == unit.run_id] == [place]


@given(units, st.integers(1, 12))
def test_a_batch_takes_all_that_it_may(drawn, limit):
    """A batch below its limit leaves only advances of runs that it, or something older that it left, has to do with."""
    waiting = waiting_of(drawn)
    if not waiting:
        return
    batch = next_batch(waiting, limit)
    if len(batch) < limit:
        ending = {unit.run_id for unit, _ in batch if unit.outcome is not None}
        left_endings = {unit.run_id for unit, _ in waiting if unit.outcome is not None}
        assert {unit.run_id for unit, _ in waiting} <= ending | left_endings


def test_few_of_a_batch_are_judged():
    """Of calls and events eight go into a commit; others pass them by, but for those of the same run."""
    a_call = ChildCall("a", "-", mint.uuid(), mint.uuid(), "{}", waits=True)
    calling = [advance(mint.uuid(), "a", results=(), calls=[a_call]) for _ in range(20)]
    behind, other = advance(calling[15].run_id, "b", results=()), advance(mint.uuid(), "c", results=())
    waiting: Any = deque((unit, place) for place, unit in enumerate([*calling, behind, other]))
    assert [place for _, place in next_batch(waiting, 512)] == [*range(8), 21]
    assert [place for _, place in next_batch(waiting, 512)] == [*range(8, 16), 20]
    assert [place for _, place in next_batch(waiting, 512)] == [16, 17, 18, 19]
    assert not waiting


def commits_that_answer(monkeypatch, answers, mine=()):
    """A `Commits` over a database that gives these answers, the claims of ``mine`` being in force."""
    given_answers = deque(answers)

    async def commit(pool, advances, incarnation):
        answer = given_answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def still_mine(pool, claims, incarnation):
        return set(claims) & set(mine)

    monkeypatch.setattr(commits, "commit", commit)
    monkeypatch.setattr(commits, "still_mine", still_mine)
    joined: list[Any] = []
    return Commits(None, mint.uuid, joined.extend, lambda _: None, lambda _: None), joined  # type: ignore[arg-type]


def going_on(claim_id):
    return advance(mint.uuid(), "a", openings=[opening("b", "running", claim_id)], next_claim=claim_id)


async def test_an_advance_is_written_if_its_step_was_held(monkeypatch):
    """True when the run goes on, false when the step was lost or the run is being ended."""
    answers = [Committed({0: True}, [], [], []), Committed({}, [], [], []), Committed({0: False}, [], [], [])]
    work, _ = commits_that_answer(monkeypatch, answers)
    assert [await work.enqueue(going_on(mint.uuid())) for _ in range(3)] == [True, False, False]


async def test_a_lost_answer_is_settled_by_the_claims_in_force(monkeypatch):
    """After a lost connection an advance whose claim is in force was written, another was not."""
    for known in (True, False):
        claim_id = mint.uuid()
        answers = [OSError(), Committed({}, [], [], [])]
        work, _ = commits_that_answer(monkeypatch, answers, [claim_id] if known else [])
        assert await work.enqueue(going_on(claim_id)) is known


async def test_claims_decide_nothing_when_no_answer_was_lost(monkeypatch):
    """An advance that lost its step is not written, whatever claim is in force."""
    claim_id = mint.uuid()
    work, _ = commits_that_answer(monkeypatch, [Committed({}, [], [], [])], [claim_id])
    assert await work.enqueue(going_on(claim_id)) is False


async def test_joins_that_open_are_handed_on(monkeypatch):
    """Whoever settled the last edge takes the join up."""
    key = (mint.uuid(), "j", "-")
    work, joined = commits_that_answer(monkeypatch, [Committed({0: True}, [key], [], [])])
    await work.enqueue(advance(mint.uuid(), "a"))
    await asyncio.wait_for(work.drain(), 5)
    assert joined == [key]


def test_runs_are_counted_by_how_they_ended_and_began():
    """However many a commit ended or started, each counts once under its own labels."""
    failed, started = {"status": "failed", "trigger": "manual"}, {"trigger": "error"}

    def counts() -> tuple[float, float]:
        finished = REGISTRY.get_sample_value("edgewise_runs_finished_total", failed)
        return finished or 0.0, REGISTRY.get_sample_value("edgewise_runs_started_total", started) or 0.0

    before = counts()
    ended = [Ended(mint.uuid(), status, "manual", 0.1, freed=False) for status in ("failed", "completed", "failed")]
    commits._count(Committed({}, [], ended, ["error", "workflow", "error", "error"]))
    assert [after - was for was, after in zip(before, counts(), strict=True)] == [2, 3]
