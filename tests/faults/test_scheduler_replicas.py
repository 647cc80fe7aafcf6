"""Three scheduler processes that are killed, stopped and told a wrong time: every slot makes one run, whatever happens.

The short form does one of each; the drill goes on at random for as long as `make drills` asks.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Final
from uuid import UUID

import asyncpg
import pytest

from deploy import processes
from deploy.ports import Ports
from tests.duties import add_workflow, add_workspace
from tests.faults.length import LONG, SECONDS, SEED
from tests.running import get

COUNT: Final = 3
SECOND: Final = timedelta(seconds=1)
#: What schedules that come every second ask for; their slots are all run, late or not.
SETTINGS: Final = (
    '{"missed_runs":"all"}',
    '{"missed_runs":"all","jitter":3}',
    '{"missed_runs":"all","overlap":"skip"}',
    '{"missed_runs":"all","overlap":"queue"}',
    '{"missed_runs":"all","overlap":"cancel_running"}',
)
EACH: Final = 8
#: Seconds after which a transaction of a process that stands still is ended.
LET_GO: Final = 10.0


class Replicas:
    """Scheduler processes on one database, each with a clock of its own, started again when they are killed."""

    def __init__(self, folder: Path, ports: Ports, urls: tuple[str, str]) -> None:
        self.folder = folder
        self.ports = [ports.any() for _ in range(COUNT)]
        self.clocks = [folder / f"clock{number}" for number in range(COUNT)]
        self._urls = urls
        self._children: list[subprocess.Popen[bytes]] = []

    @classmethod
    @asynccontextmanager
    async def running(cls, folder: Path, urls: tuple[str, str]) -> AsyncIterator["Replicas"]:
        """All of them, ready."""
        ports = Ports()
        replicas = cls(folder, ports, urls)
        for clock in replicas.clocks:
            clock.write_text("0")
        try:
            replicas._children = [replicas._start(number) for number in range(COUNT)]
            for number in range(COUNT):
                await replicas.ready(number)
            yield replicas
        finally:
            for child in replicas._children:
                child.kill()
                child.wait()
            ports.release()

    async def ready(self, number: int) -> None:
        """Wait until one says that it can work."""
        async with asyncio.timeout(60):
            while await asyncio.to_thread(get, f"http://127.0.0.1:{self.ports[number]}/readyz") != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    def kill(self, number: int) -> None:
        """SIGKILL, and a new one in its place."""
        self._children[number].kill()
        self._children[number].wait()
        self._children[number] = self._start(number)

    async def halt(self, number: int, seconds: float) -> None:
        """SIGSTOP, and SIGCONT so many seconds later."""
        self._children[number].send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._children[number].send_signal(signal.SIGCONT)

    def step(self, number: int, seconds: float) -> None:
        """Set the clock of one."""
        self.clocks[number].write_text(str(seconds))

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        env = {name: value for name, value in os.environ.items() if not name.startswith("EDGEWISE_")}
        env |= {
            "EDGEWISE_DATABASE_URL": self._urls[0],
            "EDGEWISE_BROKER_URL": self._urls[1],
            "EDGEWISE_JWT_SECRET": "a secret of thirty-two characters",
            "EDGEWISE_VAULT_KEYS": "k1:" + "QUFB" * 10 + "QUE=",
            "EDGEWISE_METRICS_PORT": str(self.ports[number]),
        }
        command = [sys.executable, "-P", "-m", "tests.faults.skewed", str(self.clocks[number])]
        with (self.folder / "schedulers.log").open("ab") as log:
            return processes.spawn(command, folder=self.folder, env=env, output=log)


async def add_schedules(database: asyncpg.Connection) -> datetime:
    """Schedules of every policy that come each second; gives their first slot."""
    first: datetime = await database.fetchval("SELECT date_trunc('second', now()) + interval '1 second'")
    workspace = await add_workspace(database)
    for settings in SETTINGS:
        limited = "queue" in settings or "cancel_running" in settings
        columns = {"schedule_type": "interval", "schedule_value": "1 second", "settings": settings, "limited": limited}
        for _ in range(EACH):
            await add_workflow(database, workspace, next_run_at=first, **columns)
    return first


async def caught_up(database: asyncpg.Connection) -> None:
    """Wait until nothing is due but what has just come."""
    async with asyncio.timeout(60):
        while await database.fetchval("SELECT min(next_run_at) < now() - interval '1.5 s' FROM workflows"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def check_slots(database: asyncpg.Connection, first: datetime) -> int:
    """Every slot from the first on is there, once, with one run that knows it; gives how many there are."""
    await database.execute("UPDATE workflows SET schedule_type = 'manual', next_run_at = NULL")
    rows = await database.fetch(
        "SELECT s.workflow_id, s.slot, r.id, r.trigger_payload::json ->> 'scheduled_at' AS told FROM schedule_slots s"
        " LEFT JOIN runs r ON r.id = s.run_id AND r.workflow_id = s.workflow_id ORDER BY s.workflow_id, s.slot"
    )
    assert await database.fetchval("SELECT count(*) FROM runs") == len(rows)
    assert len({row["id"] for row in rows}) == len(rows)
    assert all(datetime.fromisoformat(row["told"]) == row["slot"] for row in rows)
    by_workflow: dict[UUID, list[datetime]] = {}
    for row in rows:
        by_workflow.setdefault(row["workflow_id"], []).append(row["slot"])
    assert len(by_workflow) == EACH * len(SETTINGS)
    for slots in by_workflow.values():
        assert slots == [slots[0] + SECOND * n for n in range(len(slots))]
        assert slots[0] in (first, first - 3 * SECOND, first - 2 * SECOND, first - SECOND)
    return len(rows)


async def through(replicas: Replicas, database: asyncpg.Connection, mischief: Callable[[], Awaitable[None]]) -> int:
    """Schedules come while something is done to the schedulers; gives how many slots were fired."""
    first = await add_schedules(database)
    await mischief()
    for number in range(COUNT):
        await replicas.ready(number)
    await caught_up(database)
    return await check_slots(database, first)


async def test_one_of_each(database: asyncpg.Connection, database_url: str, broker_url: str, tmp_path: Path) -> None:
    """One is killed, one stands still, one's clock leaps ahead and back, all at once, and then each meets the next."""
    async with Replicas.running(tmp_path, (database_url, broker_url)) as replicas:

        async def mischief() -> None:
            for turn in range(COUNT):
                killed, stopped, stepped = ((turn + n) % COUNT for n in range(COUNT))
                replicas.kill(killed)
                replicas.step(stepped, 600 if turn % 2 else -600)
                await replicas.halt(stopped, 1.0)

        assert await through(replicas, database, mischief) >= 3 * EACH * len(SETTINGS)


@pytest.mark.drill
@pytest.mark.timeout(2 * SECONDS + 300)
@pytest.mark.skipif(not LONG, reason="a drill that takes its time")
async def test_at_random(database: asyncpg.Connection, database_url: str, broker_url: str, tmp_path: Path) -> None:
    """At any time any of them may be killed, stand still for longer than its transaction lives, or be told nonsense."""
    chance = Random(SEED)
    async with Replicas.running(tmp_path, (database_url, broker_url)) as replicas:

        async def mischief() -> None:
            loop = asyncio.get_running_loop()
            end = loop.time() + min(SECONDS, 300)
            while loop.time() < end:
                number = chance.randrange(COUNT)
                what = chance.randrange(4)
                if what == 0:
                    replicas.kill(number)
                elif what == 1:
                    await replicas.halt(number, chance.choice((0.2, 1.0, LET_GO + 2)))
                else:
                    replicas.step(number, chance.choice((-86_400, -600, -1, 0, 1, 600, 86_400)))
                await asyncio.sleep(chance.random())

        slots = await through(replicas, database, mischief)
        print(f"STORM_SEED={SEED} {slots} slots")
