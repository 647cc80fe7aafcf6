"""Postgres is away, slow, full, half open or loses answers: what was acknowledged stays, and nobody is blamed."""

import asyncio
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.asking import answers_of
from tests.faults.fleet import SERVICES
from tests.faults.length import LONGER_THAN_A_LEASE, SEED
from tests.faults.mischief import Mischief
from tests.faults.scene import Scene, scene

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]


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


async def test_postgres_away(whole: Scene) -> None:
    """Down for longer than a lease: triggers are refused with 503, and afterwards nobody is declared dead for it."""
    alive = await whole.alive()
    pids = {name: whole.fleet.pid(name) for name in SERVICES}
    async with whole.load():
        whole.fleet.down.add("postgres")
        whole.fleet.send("postgres", signal.SIGQUIT)
        await asyncio.sleep(LONGER_THAN_A_LEASE)
        answers = await answers_of(whole)
        whole.fleet.down.clear()
    refused = dict.fromkeys(("execute", "webhook", "read", "list", "save"), (503, True))
    assert answers == refused | {"health": (200, False), "ready": (503, False)}
    assert whole.client.refusals[503] > 0
    await whole.prove()
    assert await whole.alive() == alive
    assert {name: whole.fleet.pid(name) for name in SERVICES} == pids


@pytest.mark.drill
async def test_postgres_unreachable(whole: Scene) -> None:
    """Cut off for longer than a lease while the server lives on: nobody is declared dead for it."""
    alive = await whole.alive()
    async with whole.load():
        await Mischief(whole.fleet, SEED).close_postgres()
    await whole.prove()
    assert await whole.alive() == alive


@pytest.mark.drill
async def test_postgres_half_open(whole: Scene) -> None:
    """Nothing comes through for longer than a lease, and nobody is told: afterwards all goes on, and nobody is dead."""
    alive = await whole.alive()
    line = whole.fleet.lines["postgres"]
    line.stall()
    await asyncio.sleep(LONGER_THAN_A_LEASE)
    line.mend()
    await whole.client.trigger(whole.client.shapes["shape0"], keyed=True)
    await whole.prove()
    assert await whole.alive() == alive


@pytest.mark.drill
async def test_postgres_restarted_immediately(whole: Scene) -> None:
    """`pg_ctl restart -m immediate` under load, three times: nothing that was acknowledged is lost."""
    async with whole.load() as sent:
        for _ in range(3):
            whole.fleet.send("postgres", signal.SIGQUIT)
            await asyncio.sleep(2)
    assert any(trigger.answers for trigger in sent)
    await whole.prove()


@pytest.mark.drill
async def test_postgres_loses_the_answers_to_commits(whole: Scene) -> None:
    """One commit in five is carried out and its answer lost: nothing is lost or done twice for it."""
    line = whole.fleet.lines["postgres"]
    async with whole.load():
        line.lost = 0.2
        await asyncio.sleep(4)
        line.mend()
    assert line.losses > 20
    await whole.prove()


@pytest.mark.drill
async def test_postgres_ends_backends_at_random(whole: Scene) -> None:
    """Backends are terminated in the middle of whatever they do."""
    async with whole.load():
        await Mischief(whole.fleet, SEED).terminate_backends()
    await whole.prove()


@pytest.mark.drill
async def test_postgres_slow(whole: Scene) -> None:
    """Every packet late and in slices: triggers are accepted, later."""
    line = whole.fleet.lines["postgres"]
    async with whole.load() as sent:
        line.delay, line.sliced = 0.05, True
        await asyncio.sleep(4)
    line.mend()
    assert any(trigger.answers for trigger in sent)
    await whole.prove()


@pytest.mark.drill
async def test_postgres_statement_time_outs(whole: Scene) -> None:
    """Statements that are given a few milliseconds: what fails is tried again, and nothing ends in an error of ours."""
    async with whole.load():
        await Mischief(whole.fleet, SEED).time_out_statements()
    await whole.prove()


@pytest.mark.drill
async def test_postgres_without_free_connections(whole: Scene) -> None:
    """Strangers hold every connection, and services lose theirs: all is well once there is room."""
    async with whole.load():
        await Mischief(whole.fleet, SEED).fill_connections()
    await whole.prove()


@pytest.mark.drill
async def test_postgres_on_a_full_disk(tmp_path: Path) -> None:
    """No space left on a file system of its own: nothing acknowledged is lost, and all goes on once there is space."""
    with _small_disk(tmp_path / "disk", "400m") as disk:
        async with scene(disk, SEED) as one:
            await one.client.save_random(6, one.ledger)
            ballast = disk / "ballast"
            async with one.load():
                await asyncio.to_thread(_fill, ballast)
                await asyncio.sleep(8)
                ballast.unlink()
            assert "No space left on device" in (disk / "fleet" / "postgres.log").read_text()
            await one.prove()
