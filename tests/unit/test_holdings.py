"""What a worker holds, compared with what the database says it holds."""

import asyncio
import time

import pytest

from tests.engine import mint
from worker.holdings import Abort, Held


class Effect:
    """A claim with a task in flight."""

    def __init__(self, held, *, confirmed=True, running=True):
        self.id = mint.uuid()
        self.entry = held.enter(self.id)
        if confirmed:
            held.confirm(self.id)
        self.task = asyncio.get_running_loop().create_task(asyncio.Event().wait())
        if running:
            self.entry.task = self.task

    async def was_aborted(self):
        await asyncio.sleep(0)
        aborted = self.task.cancelled() or self.task.cancelling() > 0
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        return aborted


async def test_what_both_know_goes_on():
    """A claim that is in the database and in memory is left alone."""
    held = Held()
    effect = Effect(held)
    assert held.compare(time.monotonic(), {effect.id: False}) == []
    assert held.get(effect.id) is effect.entry
    assert not await effect.was_aborted()


async def test_what_the_database_has_alone_is_to_be_released():
    """A claim whose answer was lost, or that was left."""
    held, unknown, left = Held(), mint.uuid(), mint.uuid()
    held.enter(left)
    held.leave(left)
    assert held.compare(time.monotonic(), {unknown: False, left: True}) == [unknown, left]


async def test_what_memory_has_alone_is_lost():
    """Its effect is aborted and writes nothing."""
    held = Held()
    effect = Effect(held)
    assert held.compare(time.monotonic() + 1, {}) == []
    assert effect.entry.abort is Abort.LOST
    assert await effect.was_aborted()


@pytest.mark.parametrize("case", ["unconfirmed", "entered later", "not in flight"])
async def test_what_the_answer_cannot_know_is_not_judged(case):
    """A claim under way, one newer than the question, and one whose result is being committed go on."""
    held = Held()
    asked_at = time.monotonic() + (0 if case == "entered later" else 60)
    effect = Effect(held, confirmed=case != "unconfirmed", running=case != "not in flight")
    held.compare(asked_at, {})
    assert effect.entry.abort is None
    assert held.get(effect.id) is effect.entry
    assert not await effect.was_aborted()


async def test_a_stop_flag_aborts_once():
    """The effect is told that its run is being ended; a second look changes nothing."""
    held = Held()
    effect, other = Effect(held), Effect(held)
    for _ in range(2):
        assert held.compare(time.monotonic(), {effect.id: True, other.id: False}) == []
    assert effect.task.cancelling() == 1
    held.abort_all(Abort.SHUTDOWN)
    assert (effect.entry.abort, other.entry.abort) == (Abort.STOPPED, Abort.SHUTDOWN)
    assert await effect.was_aborted()
    assert await other.was_aborted()


async def test_dropping_aborts_and_forgets_everything():
    """A dead incarnation holds nothing."""
    held = Held()
    effect, idle = Effect(held), Effect(held, running=False)
    assert sorted(held.claims()) == sorted([effect.id, idle.id])
    held.drop()
    assert len(held) == 0
    assert held.get(effect.id) is None
    assert effect.entry.abort is Abort.LOST
    assert await effect.was_aborted()
    assert not await idle.was_aborted()
    held.leave(effect.id)
    held.confirm(effect.id)


async def test_a_claim_that_was_left_after_its_effect_began_is_known_until_the_database_has_settled_it():
    """Whatever broke: what is to be released of it counts as crashed, as long as it is there."""
    held = Held()
    idle, begun, settled = (Effect(held, running=False) for _ in range(3))
    begun.entry.begun = settled.entry.begun = True
    for effect in (idle, begun, settled):
        held.leave(effect.id)
    unknown = held.compare(time.monotonic(), {idle.id: False, begun.id: False})
    assert held.begun(unknown) == [begun.id]
    assert held.begun([settled.id]) == []  # gone from the database, and from memory
    held.compare(time.monotonic() - 60, {})  # an answer to a question that is older than the end of the effect
    assert held.begun([begun.id]) == [begun.id]
    held.drop()
    assert held.begun([begun.id]) == []


async def test_effects_that_must_not_happen_again_are_spent_once_they_began():
    """Only those: what did not begin, and what may be repeated, can be handed back as it is."""
    held = Held()
    fresh, again, spent = (Effect(held, running=False) for _ in range(3))
    fresh.entry.once = again.entry.begun = spent.entry.begun = spent.entry.once = True
    assert held.spent() == [spent.id]
