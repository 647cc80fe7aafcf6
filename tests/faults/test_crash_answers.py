"""A worker dies at every point around waits for answers; each answer is used once, and none is forgotten."""

from uuid import UUID

import pytest

from shared.ids import Prefix, decode
from shared.lanes import Reference
from shared.links import Place
from shared.nodes.base import Outcome, StepContext
from shared.store import answers
from tests.engine import Effect, ProbeData, graph
from tests.faults.crashes import World, story
from tests.faults.mortal import Grave, Mortal
from tests.rows import assert_sound

ASK = {"component": "wait_for_callback"}
#: The effect `a` answers the wait `v` behind it, before that begins; `d` answers `w`, which begins beside it.
ASKING = graph("t>a a>v v>b:received a>w a>d w>c:received b>fj c>fj fj>z", v=ASK, w=ASK)
ANSWERS = {"a": "v", "d": "w"}


class Asking(World):
    """A world whose effects answer waits, as somebody would who was told by them."""

    async def effect(self, data: ProbeData, context: StepContext) -> Outcome:
        await self._answer(context)
        return await super().effect(data, context)

    def _mortal_effect(self, grave: Grave) -> Effect:
        make = super()._mortal_effect(grave)

        async def effect(data: ProbeData, context: StepContext) -> Outcome:
            await self._answer(context)
            return await make(data, context)

        return effect

    async def _live(self, mortal: Mortal, run_id: UUID, messages: list[Reference], *, at_once: bool) -> None:
        self._mailbox = mortal.engine.mailbox
        await super()._live(mortal, run_id, messages, at_once=at_once)

    async def _answer(self, context: StepContext) -> None:
        """The doorbell goes to the worker that may die; what it does not hear is sent again by the scheduler."""
        if context.node_id not in ANSWERS:
            return
        place = Place(decode(Prefix.RUN, context.run_id), ANSWERS[context.node_id], "-")
        async with self.pool.acquire() as connection, connection.transaction():
            await answers.lock_run(connection, place.run_id)
            asked = await answers.find(connection, place)
            taken = await answers.answer(connection, place, "received", f'"{context.node_id}{context.attempt}"')
            if taken and asked is not None and asked.waits:
                self._mailbox.bells += await answers.wake(connection, place)


@pytest.mark.parametrize("keep_messages", [True, False], ids=["messages are kept", "messages are lost"])
async def test_answers_are_used_wherever_a_worker_died(database_url: str, broker_url: str, keep_messages: bool) -> None:
    """At each point: the run completes with the first answer of each wait, and nothing that was durable runs again."""
    async with Asking.of(database_url, broker_url, ASKING) as world:
        calm = await world.run()
        expected = await story(world.pool, calm.run_id)
        assert expected["v", "-", 1][2] == {"outcome": "received", "data": "a1"}
        assert expected["w", "-", 1][2] == {"outcome": "received", "data": "d1"}
        for number, name in enumerate(calm.passed, 1):
            death = await world.run(number, keep_messages=keep_messages)
            assert await world.status(death.run_id) == "completed", name
            assert await story(world.pool, death.run_id) == expected, name
            assert not death.durable & set(death.later), name
        await assert_sound(world.pool)
        assert await world.pool.fetchval("SELECT count(*) FROM open_steps") == 0
