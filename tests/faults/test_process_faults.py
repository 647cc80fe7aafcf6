"""Workers and the scheduler are away, stand still, or have a wrong clock."""

import asyncio
import signal
from itertools import pairwise

import pytest

from tests.faults.length import LONGER_THAN_A_LEASE
from tests.faults.scene import Scene

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


@pytest.mark.drill
async def test_workers_away(whole: Scene) -> None:
    """Killed, and nobody starts them again: triggers are accepted, and their runs end once there are workers."""
    names = {"worker-1", "worker-2"}
    async with whole.load() as sent:
        whole.fleet.down.update(names)
        for name in names:
            whole.fleet.send(name, signal.SIGKILL)
        await asyncio.sleep(LONGER_THAN_A_LEASE)
    whole.fleet.down.clear()
    assert all(trigger.answers for trigger in sent)
    await whole.prove()


@pytest.mark.drill
async def test_scheduler_away(whole: Scene) -> None:
    """Killed, and nobody starts it again: what does not wait goes on; schedules and waits catch up."""
    alive = await whole.alive()
    async with whole.load() as sent:
        whole.fleet.down.add("scheduler")
        whole.fleet.send("scheduler", signal.SIGKILL)
        await asyncio.sleep(4)
        ended = await whole.query("SELECT FROM runs WHERE completed_at > now() - interval '2 seconds'")
    whole.fleet.down.clear()
    assert len(ended) > 0
    assert all(trigger.answers for trigger in sent)
    await whole.prove()
    assert await whole.alive() == alive


@pytest.mark.drill
async def test_scheduler_stands_still(whole: Scene) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT: it has seen nobody's silence, so nobody is declared dead."""
    alive = await whole.alive()
    async with whole.load() as sent:
        whole.fleet.send("scheduler", signal.SIGSTOP)
        await asyncio.sleep(LONGER_THAN_A_LEASE)
        whole.fleet.send("scheduler", signal.SIGCONT)
    assert all(trigger.answers for trigger in sent)
    await whole.prove()
    assert await whole.alive() == alive


@pytest.mark.drill
async def test_worker_stands_still(whole: Scene) -> None:
    """SIGSTOP for longer than a lease, then SIGCONT: its steps run elsewhere, and nothing it does late counts."""
    before = await whole.alive()
    async with whole.load() as sent:
        whole.fleet.send("worker-1", signal.SIGSTOP)
        await asyncio.sleep(LONGER_THAN_A_LEASE)
        whole.fleet.send("worker-1", signal.SIGCONT)
    assert all(trigger.answers for trigger in sent)
    await whole.prove()
    assert len(before - await whole.alive()) == 1


@pytest.mark.drill
async def test_the_clock_of_the_scheduler_leaps(whole: Scene) -> None:
    """Ten minutes ahead, back, and back again: schedules go on each second, no wait ends early, and nobody is dead."""
    alive = await whole.alive()
    scheduled = whole.client.shapes["scheduled"].id
    await whole.client.schedule(scheduled, "1 second")
    begun = len(await whole.query("SELECT FROM schedule_slots"))
    async with whole.load():
        for offset in ("600", "0", "-600", "0"):
            whole.fleet.clock.write_text(offset)
            await asyncio.sleep(3)
    slots = await whole.query("SELECT created_at FROM schedule_slots ORDER BY created_at OFFSET $1", begun)
    await whole.prove()
    moments = [row["created_at"].timestamp() for row in slots]
    assert len(moments) >= 8
    assert max(later - earlier for earlier, later in pairwise(moments)) < 4
    assert whole.fleet.log.read_text().count("the clock was set") >= 4
    assert await whole.alive() == alive
