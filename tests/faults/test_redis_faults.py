"""Redis is away, slow, full, half open, emptied or wrong: nothing but latency changes."""

import asyncio
import signal
import time

import pytest

from tests.faults.asking import SERVED, answers_of
from tests.faults.length import LONG, SEED
from tests.faults.mischief import Mischief
from tests.faults.scene import Scene, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


async def test_redis_away(whole: Scene) -> None:
    """Without Redis every trigger is accepted, and every run completes once it is back."""
    before = len(whole.client.triggers)
    async with whole.load() as sent:
        whole.fleet.down.add("redis")
        whole.fleet.send("redis", signal.SIGKILL)
        await asyncio.sleep(60 if LONG else 10)
        await until(lambda: len(whole.client.triggers) > before + 100)  # which takes a busy machine longer
        answers = await answers_of(whole)
    whole.fleet.down.clear()

    assert answers == {kind: (status, False) for kind, status in SERVED.items()}
    assert all(trigger.answers for trigger in sent)
    await whole.prove()


@pytest.mark.drill
async def test_redis_half_open(whole: Scene) -> None:
    """Redis accepts and never answers: triggers are still answered within a second, and the runs end afterwards."""
    whole.fleet.lines["redis"].stall()
    whole.fleet.lines["redis-workers"].stall()
    slowest = 0.0
    for _ in range(40):
        began = time.monotonic()
        trigger = await whole.client.trigger(whole.client.shapes["shape0"])
        slowest = max(slowest, time.monotonic() - began)
        assert trigger.answers
    for line in whole.fleet.lines.values():
        line.mend()
    assert slowest < 1
    await whole.prove()


@pytest.mark.drill
async def test_redis_slow_sliced_and_cut(whole: Scene) -> None:
    """Commands that come in pieces, late, on connections that break: every trigger is accepted and every run ends."""
    line, workers = whole.fleet.lines["redis"], whole.fleet.lines["redis-workers"]
    async with whole.load() as sent:
        for one in (line, workers):
            one.delay, one.sliced = 0.05, True
        await asyncio.sleep(2)
        for one in (line, workers):
            one.sever()
        await asyncio.sleep(1)
    line.mend()
    workers.mend()
    assert all(trigger.answers for trigger in sent)
    await whole.prove()


@pytest.mark.drill
async def test_redis_restarted_and_emptied(whole: Scene) -> None:
    """What Redis forgets is sent again: every run ends."""
    async with whole.load() as sent:
        mischief = Mischief(whole.fleet, SEED)
        await mischief.empty_redis()
        await asyncio.sleep(1)
        await mischief.kill_redis()
        await asyncio.sleep(2)
    assert all(trigger.answers for trigger in sent)
    await whole.prove()


@pytest.mark.drill
async def test_messages_dropped_repeated_and_reordered(whole: Scene) -> None:
    """A third of the messages lost, a third twice, stale ones again, all in another order: only latency changes."""
    async with whole.load() as sent:
        mischief = Mischief(whole.fleet, SEED)
        for _ in range(3):
            await mischief.meddle()
    assert mischief.meddled > 10
    assert all(trigger.answers for trigger in sent)
    await whole.prove()


@pytest.mark.drill
async def test_redis_full(whole: Scene) -> None:
    """A Redis that is out of memory refuses every message: triggers are accepted, and the runs end once it has room."""
    mischief = Mischief(whole.fleet, SEED)
    async with whole.load() as sent:
        await mischief.command("CONFIG", "SET", "maxmemory", "1")
        await asyncio.sleep(2)
        await mischief.command("CONFIG", "SET", "maxmemory", "0")
    assert all(trigger.answers for trigger in sent)
    await whole.prove()
