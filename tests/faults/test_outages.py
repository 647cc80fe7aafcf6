"""One dependency at a time is away, slow, full, half open or wrong: what callers are told, and how runs end."""

import asyncio
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.faults.fleet import SERVICES
from tests.faults.length import LONG, SEED
from tests.faults.mischief import Mischief
from tests.faults.records import Trigger
from tests.faults.scene import Scene, scene

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

#: Seconds: longer than a lease, which is six.
_LONGER_THAN_A_LEASE = 9.0


@asynccontextmanager
async def _load(one: Scene) -> AsyncIterator[list[Trigger]]:
    """Clients that start runs in the meantime; the list holds what they sent, and is whole at the end."""
    stop = asyncio.Event()
    first = len(one.client.triggers)
    sent: list[Trigger] = []
    async with asyncio.TaskGroup() as tasks:
        for _ in range(4):
            tasks.create_task(one.client.drive(0.2, stop))
        try:
            yield sent
        finally:
            stop.set()
    sent += one.client.triggers[first:]


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own in memory."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False)
    if made.returncode:
        pytest.skip("this user may not mount a file system")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _fill(ballast: Path) -> None:
    """Take all the space there is."""
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(b"\0" * 65536)


async def _prove(one: Scene) -> None:
    """All that was accepted has ended as it should."""
    await one.fleet.ready()
    await one.settle(90)
    violations = await one.check(200)
    assert not violations, "\n".join(map(str, violations[:20]))


async def test_redis_away(whole: Scene) -> None:
    """Without Redis every trigger is accepted, and every run completes once it is back."""
    async with _load(whole) as sent:
        whole.fleet.down.add("redis")
        whole.fleet.send("redis", signal.SIGKILL)
        await asyncio.sleep(60 if LONG else 10)
    whole.fleet.down.clear()
    assert len(sent) > 100
    assert all(trigger.answers for trigger in sent)
    await _prove(whole)


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
    await _prove(whole)


@pytest.mark.drill
async def test_redis_slow_sliced_and_cut(whole: Scene) -> None:
    """Commands that come in pieces, late, on connections that break: every trigger is accepted and every run ends."""
    line, workers = whole.fleet.lines["redis"], whole.fleet.lines["redis-workers"]
    async with _load(whole) as sent:
        for one in (line, workers):
            one.delay, one.sliced = 0.05, True
        await asyncio.sleep(2)
        for one in (line, workers):
            one.cut()
        await asyncio.sleep(1)
    line.mend()
    workers.mend()
    assert all(trigger.answers for trigger in sent)
    await _prove(whole)


@pytest.mark.drill
async def test_redis_restarted_and_emptied(whole: Scene) -> None:
    """What Redis forgets is sent again: every run ends."""
    async with _load(whole) as sent:
        mischief = Mischief(whole.fleet, SEED)
        await mischief.empty_redis()
        await asyncio.sleep(1)
        await mischief.kill_redis()
        await asyncio.sleep(2)
    assert all(trigger.answers for trigger in sent)
    await _prove(whole)


async def test_messages_dropped_repeated_and_reordered(whole: Scene) -> None:
    """A third of the messages lost, a third twice, stale ones again, all in another order: only latency changes."""
    async with _load(whole) as sent:
        for _ in range(3):
            await Mischief(whole.fleet, SEED).meddle()
    assert all(trigger.answers for trigger in sent)
    await _prove(whole)


@pytest.mark.drill
async def test_redis_full(whole: Scene) -> None:
    """A Redis that is out of memory refuses every message: triggers are accepted, and the runs end once it has room."""
    mischief = Mischief(whole.fleet, SEED)
    async with _load(whole) as sent:
        await mischief.command("CONFIG", "SET", "maxmemory", "1")
        await asyncio.sleep(2)
        await mischief.command("CONFIG", "SET", "maxmemory", "0")
    assert all(trigger.answers for trigger in sent)
    await _prove(whole)


async def test_postgres_away(whole: Scene) -> None:
    """Down for longer than a lease: triggers are refused with 503, and afterwards nobody is declared dead for it."""
    alive = await whole.alive()
    pids = {name: whole.fleet.pid(name) for name in SERVICES}
    async with _load(whole):
        whole.fleet.down.add("postgres")
        whole.fleet.send("postgres", signal.SIGQUIT)
        await asyncio.sleep(_LONGER_THAN_A_LEASE)
        whole.fleet.down.clear()
    assert whole.client.refusals[503] > 0
    await _prove(whole)
    assert await whole.alive() == alive
    assert {name: whole.fleet.pid(name) for name in SERVICES} == pids


@pytest.mark.drill
async def test_postgres_unreachable(whole: Scene) -> None:
    """Cut off for longer than a lease while the server lives on: nobody is declared dead for it."""
    alive = await whole.alive()
    async with _load(whole):
        await Mischief(whole.fleet, SEED).close_postgres()
    await _prove(whole)
    assert await whole.alive() == alive


@pytest.mark.drill
async def test_postgres_half_open(whole: Scene) -> None:
    """Nothing comes through for longer than a lease, and nobody is told: afterwards all goes on, and nobody is dead."""
    alive = await whole.alive()
    line = whole.fleet.lines["postgres"]
    line.stall()
    await asyncio.sleep(_LONGER_THAN_A_LEASE)
    line.mend()
    await whole.client.trigger(whole.client.shapes["shape0"], keyed=True)
    await _prove(whole)
    assert await whole.alive() == alive


@pytest.mark.drill
async def test_postgres_restarted_immediately(whole: Scene) -> None:
    """`pg_ctl restart -m immediate` under load, three times: nothing that was acknowledged is lost."""
    async with _load(whole) as sent:
        for _ in range(3):
            whole.fleet.send("postgres", signal.SIGQUIT)
            await asyncio.sleep(2)
    assert any(trigger.answers for trigger in sent)
    await _prove(whole)


async def test_postgres_loses_the_answers_to_commits(whole: Scene) -> None:
    """One commit in five is carried out and its answer lost: nothing is lost or done twice for it."""
    line = whole.fleet.lines["postgres"]
    async with _load(whole):
        line.lost = 0.2
        await asyncio.sleep(4)
        line.mend()
    assert line.losses > 20
    await _prove(whole)


@pytest.mark.drill
async def test_postgres_ends_backends_at_random(whole: Scene) -> None:
    """Backends are terminated in the middle of whatever they do."""
    async with _load(whole):
        await Mischief(whole.fleet, SEED).terminate_backends()
    await _prove(whole)


@pytest.mark.drill
async def test_postgres_slow(whole: Scene) -> None:
    """Every packet late and in slices: triggers are accepted, later."""
    line = whole.fleet.lines["postgres"]
    async with _load(whole) as sent:
        line.delay, line.sliced = 0.05, True
        await asyncio.sleep(4)
    line.mend()
    assert any(trigger.answers for trigger in sent)
    await _prove(whole)


@pytest.mark.drill
async def test_postgres_statement_time_outs(whole: Scene) -> None:
    """Statements that are given a few milliseconds: what fails is tried again, and nothing ends in an error of ours."""
    async with _load(whole):
        await Mischief(whole.fleet, SEED).time_out_statements()
    await _prove(whole)


@pytest.mark.drill
async def test_postgres_without_free_connections(whole: Scene) -> None:
    """Strangers hold every connection, and services lose theirs: all is well once there is room."""
    async with _load(whole):
        await Mischief(whole.fleet, SEED).fill_connections()
    await _prove(whole)


async def test_the_clock_of_the_scheduler_leaps(whole: Scene) -> None:
    """Ten minutes ahead, back, and back again: schedules go on each second, no wait ends early, and nobody is dead."""
    alive = await whole.alive()
    scheduled = whole.client.shapes["scheduled"].id
    await whole.client.schedule(scheduled, "1 second")
    begun = len(await whole.query("SELECT FROM schedule_slots"))
    async with _load(whole):
        for offset in ("600", "0", "-600", "0"):
            whole.fleet.clock.write_text(offset)
            await asyncio.sleep(3)
    slots = await whole.query("SELECT created_at FROM schedule_slots ORDER BY created_at OFFSET $1", begun)
    await _prove(whole)
    moments = [row["created_at"].timestamp() for row in slots]
    assert len(moments) >= 8
    assert max(later - earlier for earlier, later in pairwise(moments)) < 4
    assert whole.fleet.log.read_text().count("the clock was set") >= 4
    assert await whole.alive() == alive


async def test_postgres_on_a_full_disk(tmp_path: Path) -> None:
    """No space left on a file system of its own: nothing acknowledged is lost, and all goes on once there is space."""
    with _small_disk(tmp_path / "disk", "400m") as disk:
        async with scene(disk, SEED) as one:
            await one.client.save_random(6, one.ledger)
            ballast = disk / "ballast"
            async with _load(one):
                await asyncio.to_thread(_fill, ballast)
                await asyncio.sleep(8)
                ballast.unlink()
            assert "No space left on device" in (disk / "fleet" / "postgres.log").read_text()
            await _prove(one)
