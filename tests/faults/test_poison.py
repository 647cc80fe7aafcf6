"""Poison steps on real workers, which die of them and are started again."""

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from deploy import processes
from deploy.supervise import Child
from scheduler.main import Scheduler
from shared.announcer import Announcer
from shared.broker import EPOCH_KEY
from shared.config import Config, variables
from shared.db import Clock, open_pool
from shared.ingest import Ingest, Trigger
from tests import killers
from tests.api_client import config
from tests.engine import eventually, graph, workflow
from tests.rows import error_of, output_of, steps_of


class Installation:
    """Two workers that are started again when they die, a scheduler, and an ingest.

    Attributes:
        deaths: by how a worker ended.
    """

    def __init__(self, settings: Config, ingest: Ingest, log: Path) -> None:
        self.deaths: Counter[str] = Counter()
        self._ingest = ingest
        self._log = log
        self._env = _environment(settings) | {"KILLERS": str(log.with_name("notes"))}
        self.workers = [
            Child(f"worker {number}", self._start, changed=lambda: None, tell=self._tell) for number in range(2)
        ]

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as output:
            return processes.spawn(
                killers.WORKER,
                folder=self._log.parent,
                death_signal=signal.SIGKILL,
                env=self._env,
                output=output,
            )

    def _tell(self, line: str) -> None:
        if " ended with " in line:
            self.deaths[line.partition(" ended with ")[2].partition(";")[0]] += 1

    def notes(self) -> list[str]:
        """What was called, and where."""
        return self._log.with_name("notes").read_text().splitlines()

    async def trigger(self, flow, count: int = 1):
        """Start runs."""
        accepted = await asyncio.gather(
            *(self._ingest.accept(Trigger(flow.workflow_id, "manual", "{}")) for _ in range(count))
        )
        return [run.run_id for run in accepted]

    @classmethod
    @asynccontextmanager
    async def running(cls, database_url: str, broker_url: str, folder: Path) -> AsyncIterator["Installation"]:
        """An installation whose leases are short."""
        settings = config(database_url, broker_url, lease_seconds=2.0, worker_threads=2, grace_seconds=2.0)
        async with AsyncExitStack() as stack:
            pool = await open_pool(database_url, size=4, name="test")
            stack.push_async_callback(pool.close)
            scheduler = await Scheduler.start(settings, pool)
            stack.push_async_callback(scheduler.stop)
            announcer = Announcer(broker_url)
            stack.callback(announcer.close)
            ingest = Ingest(pool, announcer, Clock(), window=1000)
            stack.push_async_callback(ingest.close)
            one = cls(settings, ingest, folder / "worker.log")
            for child in one.workers:
                child.begin()
                stack.callback(child.kill)
                stack.push_async_callback(child.stop, 0.0)
            await eventually(partial(_has_epoch, broker_url))
            yield one


async def _has_epoch(broker_url: str) -> bool:
    """Whether the scheduler has seen that the broker is new: until then it sends steps again, to be claimed first."""
    async with Redis.from_url(broker_url) as broker:
        return bool(await broker.exists(EPOCH_KEY))


def _environment(settings: Config) -> Mapping[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("EDGEWISE_")}
    return ours | variables(settings)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("how", "spec", "status"),
    [
        pytest.param("exit", "t>a a>b", "code 3", marks=pytest.mark.drill),
        ("segfault", "t>a a>b", "SIGSEGV"),
        ("segfault", "t>f1 f1>b", "SIGSEGV"),
        ("spin", "t>f1 f1>b", "code 86"),
    ],
)
async def test_a_poison_step_ends_two_workers_and_fails(
    database_url, database, broker_url, tmp_path, how, spec, status
):
    """The third taker runs it apart; it fails with worker_crashed, and every other run of both workers completes."""
    known = killers.known()
    node_id = "a" if "a" in spec else "f1"
    poison = await workflow(database, *graph(spec, **{node_id: {"name": how}}), known)
    mild = await workflow(database, *graph(spec, **{node_id: {"name": f"worker:{how}"}}), known)
    well = await workflow(database, *graph("t>x x>f9 f9>y"), known)
    async with Installation.running(database_url, broker_url, tmp_path) as installation:
        neighbours = await installation.trigger(well, 40)
        (bad,) = await installation.trigger(poison)
        neighbours += await installation.trigger(well, 40)

        async def ended():
            return not await database.fetchval("SELECT count(*) FROM runs WHERE completed_at IS NULL")

        await eventually(ended, 90)
        assert installation.deaths == {status: 2}
        assert (await error_of(database, bad, node_id))["code"] == "worker_crashed"
        assert "b" not in await steps_of(database, bad)
        completed = await database.fetchval(
            "SELECT count(*) FROM runs WHERE id = ANY ($1) AND status = 'completed'", neighbours
        )
        assert completed == 80
        if how == "segfault":
            (once,) = await installation.trigger(mild)
            await eventually(ended, 90)
            assert installation.deaths == {status: 4}
            assert (await output_of(database, once, node_id))["apart"] is True
            assert (await steps_of(database, once))["b"] == "success"
    assert sum(line.endswith("apart") for line in installation.notes()) >= 1
