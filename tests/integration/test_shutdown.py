"""What SIGTERM does to steps of several lengths, and to a database that is away."""

import asyncio
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from api.main import Api
from shared.announcer import Announcer
from shared.config import variables
from shared.db import Clock, open_pool
from shared.ingest import Ingest, Trigger
from shared.lanes import Reference
from shared.nodes.base import Outcome
from tests import killers
from tests.api_client import config
from tests.engine import Engine, eventually, first, graph, registry, start_run, workflow
from tests.proxy import Proxy
from tests.rows import steps_of
from tests.running import until
from worker.holdings import Abort

GRACE = 2.0


async def test_steps_end_or_are_handed_back_by_their_length(database_url, database):
    """Those that end within the grace period are done once; longer ones are ready again, or failed if that is asked."""
    lengths = {"a": 0.0, "b": 0.5, "c": 0.8 * GRACE, "d": 1.5 * GRACE, "e": 60.0, "g": 60.0}
    calls: Counter[str] = Counter()

    async def last(data, context):
        calls[context.node_id] += 1
        await asyncio.sleep(lengths[context.node_id])
        return Outcome({})

    spec = " ".join(f"t>{name}" for name in lengths)
    flow = await workflow(database, *graph(spec, g={"on_crash": "fail", "continue_on_error": True}))
    async with Engine.running(database_url, registry(last)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await engine.follow()
        await eventually(lambda: len(calls) == len(lengths))
        over = asyncio.create_task(_told_when_it_is_over(engine))
        await engine.stop(grace=GRACE)
        assert await over
        assert await steps_of(database, run_id) == dict.fromkeys("tabc", "success") | {"g": "failed"}
        records = await database.fetch("SELECT node_id, status, crashes FROM open_steps ORDER BY node_id")
        assert [tuple(record) for record in records] == [("d", "ready", 0), ("e", "ready", 0)]
        async with Engine.running(database_url) as other:
            for name in "de":
                await other.take(Reference(run_id, name, "-", claim=True))
            await other.finish(run_id, until="completed")
    assert set(calls.values()) == {1}


async def _told_when_it_is_over(engine: Engine) -> bool:
    """Whether everything that is still held when the grace period ends has been told to end before.

    Timers of one loop come in their order however late the loop is, so a busy machine does not matter.
    """
    await asyncio.sleep(GRACE)
    return all(entry.abort is Abort.SHUTDOWN for entry in engine.held._entries.values())


async def test_a_step_that_is_slow_to_let_go_keeps_its_result(database_url, database):
    """An effect that shields its last moments from the abort is waited for a little, and its result is stored."""
    calls: Counter[str] = Counter()

    async def slow(data, context):
        calls[context.node_id] += 1
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)
        return Outcome({"value": "kept"})

    flow = await workflow(database, *graph("t>a a>b"), registry(slow))
    async with Engine.running(database_url, registry(slow)) as engine:
        run_id = await start_run(database, flow)
        await engine.take(first(run_id, flow))
        await eventually(lambda: calls["a"] == 1)
        await engine.stop(grace=0.1)
        assert engine.mailbox.references() == [Reference(run_id, "b", "-", claim=True)]
    assert await steps_of(database, run_id) == {"t": "success", "a": "success"}
    assert calls == {"a": 1}


class Silent(Proxy):
    """A proxy that stops passing anything on, with every connection open, once it is ``hung``."""

    hung = False

    async def _requests(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if self.hung:
                await asyncio.Event().wait()
            back.write(data)
            await back.drain()


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Where a worker process notes its calls."""
    return tmp_path / "notes"


@pytest.fixture
def worker_on(broker_url: str, tmp_path: Path, notes: Path) -> Iterator[object]:
    """Starts worker processes on a database."""
    started: list[subprocess.Popen[bytes]] = []

    def start(database_url: str) -> "subprocess.Popen[bytes]":
        env = {name: value for name, value in os.environ.items() if not name.startswith("EDGEWISE_")}
        env |= variables(config(database_url, broker_url, grace_seconds=GRACE, lease_seconds=2.0))
        with (tmp_path / "worker.log").open("ab") as log:
            started.append(subprocess.Popen(killers.WORKER, env=env | {"KILLERS": str(notes)}, stdout=log, stderr=log))
        until(lambda: "worker ready" in (tmp_path / "worker.log").read_text())
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


async def start_waiting(database, database_url, broker_url, count):
    """Runs whose effect never ends."""
    flow = await workflow(database, *graph("t>a a>b", a={"name": "wait"}), killers.known())
    pool = await open_pool(database_url, size=2, name="test")
    announcer = Announcer(broker_url)
    ingest = Ingest(pool, announcer, Clock(), window=1000)
    await asyncio.gather(*(ingest.accept(Trigger(flow.workflow_id, "manual", "{}")) for _ in range(count)))
    await ingest.close()
    await asyncio.to_thread(announcer.close)
    await pool.close()


def called(notes, count):
    return notes.exists() and len(notes.read_text().splitlines()) == count


async def test_a_process_under_load_is_gone_when_the_grace_period_ends(
    database_url, database, broker_url, worker_on, notes
):
    """Fifty calls that take longer are aborted, and every step of them is handed back uncounted.

    Of so short a grace period a tenth of a second is kept for that and the interpreter's own end, hence the slack.
    """
    process = await asyncio.to_thread(worker_on, database_url)
    await start_waiting(database, database_url, broker_url, 50)
    await eventually(lambda: called(notes, 50))
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert time.monotonic() - began < GRACE + 3.0
    record = await database.fetchrow("SELECT count(*), bool_and(status = 'ready' AND crashes = 0) FROM open_steps")
    assert tuple(record) == (50, True)


async def test_a_database_that_is_away_does_not_hold_the_process(database_url, database, broker_url, worker_on, notes):
    """Nothing answers any more: the process is gone soon after the grace period, and leaves its steps to rescue."""
    async with Silent.before(database_url) as proxy:
        process = await asyncio.to_thread(worker_on, proxy.url)
        await start_waiting(database, database_url, broker_url, 3)
        await eventually(lambda: called(notes, 3))
        proxy.hung = True
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert await asyncio.to_thread(process.wait, 30) == 0
        assert time.monotonic() - began < GRACE + 6.0
    assert await database.fetchval("SELECT count(*) FROM open_steps WHERE status = 'running'") == 3


async def test_the_api_has_one_grace_period(database_url, broker_url, monkeypatch):
    """Renewals of tokens get what the requests in flight have left of it."""
    pool = await open_pool(database_url, size=4, name="api")
    api = await Api.start(config(database_url, broker_url, grace_seconds=10), pool)
    await api.listen("127.0.0.1", 0)
    given = []

    async def aclose(seconds):
        given.append(seconds)

    monkeypatch.setattr(api.services.authorizer, "aclose", aclose)
    times = iter([100.0, 107.0, 107.0])
    monkeypatch.setattr("api.main.time", SimpleNamespace(monotonic=lambda: next(times)))
    await api.stop()
    await pool.close()
    assert given == [3.0]
