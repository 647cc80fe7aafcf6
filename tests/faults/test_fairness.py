"""Fair sharing on real processes: the few runs of one workflow beside ten thousand queued runs of another.

The few come every 25 ms over HTTP; what is measured is from the request to the run completed, on the clock that
Postgres has too. The baseline is the same load on the same processes without the flood, before it and after it, so that
other work on the machine weighs on both.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

import asyncpg
import msgspec
import pytest

from tests.bench import graphs
from tests.bench.load import Load
from tests.bench.servers import split_message
from tests.bench.system import Server, System, Workflow
from tests.bench.workloads import prepare
from tests.duties import flood
from tests.engine import eventually

#: Runs of the flood that are queued all the time.
_QUEUED = 10_000
#: Seconds that a call of either workflow takes.
_CALL = 0.075
#: Seconds between two looks at the flood.
_LOOK = 0.5
_PAYLOAD = graphs.payload().decode()
_FEW = Load(port=0, path="", body=graphs.payload(), connections=16, rate=40.0)
#: The most by which a flood may multiply the 99th percentile of others.
_MOST = 2.0
#: The most runs of the flood that begin while one of the few waits: half of the time, and 99 times of 100. In front of
#: it stood 2,000 when all shared a queue.
_PASSED_BY, _PASSED_BY_AT_MOST = 64, 200

pytestmark = pytest.mark.timeout(240)


class _Slow(asyncio.Protocol):
    """Answers each request after a while."""

    def __init__(self) -> None:
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (message := split_message(self._buffer)) is not None:
            self._buffer = message[2]
            asyncio.get_running_loop().call_later(_CALL, self._answer)

    def _answer(self) -> None:
        if not self._transport.is_closing():
            answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n"
            self._transport.write(answer + b'{"ok":true}')  # type: ignore[attr-defined]


class _SlowServer(Server):
    """A receiver on this process's loop, in the place of the bench's."""

    def __init__(self, port: int) -> None:
        self.port, self.pid = port, 0


@asynccontextmanager
async def _running(folder: Path) -> AsyncIterator[System]:
    """`edgewise up` whose calls go to a slow receiver; it is killed in the end, with whatever is still queued."""
    receiver = await asyncio.get_running_loop().create_server(_Slow, "127.0.0.1", 0, backlog=1024)
    system = System(folder, _SlowServer(receiver.sockets[0].getsockname()[1]))
    try:
        await system.start()
        await system.connect()
        yield system
        await system.database.close()
        await system.broker.aclose()
    finally:
        await asyncio.to_thread(system.kill)
        receiver.close()


class _Times(NamedTuple):
    """Milliseconds from request to completed."""

    p50: float
    p99: float


async def _few(system: System, workflow: Workflow, seconds: float) -> list[float]:
    """Send the few, and tell how long each run took, in seconds."""
    requests = int(seconds * 40)
    loaded = await system.send(workflow, msgspec.structs.replace(_FEW, requests=requests, seconds=seconds))
    await system.ended(workflow)
    latencies = await system.latencies(loaded)
    assert len(latencies) == requests
    return latencies


def _times(latencies: list[float]) -> _Times:
    return _Times(median(latencies) * 1000, quantiles(latencies, n=100)[98] * 1000)


class _Flood:
    """Keeps so many runs of a workflow queued, from `begin` to `end`."""

    def __init__(self, database: asyncpg.Connection, workflow: Workflow) -> None:
        self._database = database
        self._workflow = workflow

    async def begin(self) -> None:
        """Queue them, and wait until the workers are at it."""
        await flood(self._database, self._workflow.id, _QUEUED, payload=_PAYLOAD)
        began = await self.completed()
        await eventually(lambda: self._has_completed(began + 100), seconds=30)
        self._keeping = asyncio.create_task(self._keep())

    async def end(self) -> None:
        """Take back what has not been sent, and wait for the rest."""
        self._keeping.cancel()
        await asyncio.wait([self._keeping])
        await self._database.execute(
            "WITH gone AS (DELETE FROM open_steps WHERE workflow_id = $1 AND sent_at IS NULL AND status = 'ready'"
            " RETURNING run_id) DELETE FROM runs WHERE id IN (SELECT run_id FROM gone)",
            self._workflow.id,
        )

    async def _has_completed(self, runs: int) -> bool:
        return await self.completed() >= runs

    async def completed(self) -> int:
        """How many of its runs have completed."""
        query = "SELECT count(*) FROM runs WHERE workflow_id = $1 AND status = 'completed'"
        done: int = await self._database.fetchval(query, self._workflow.id)
        return done

    async def _keep(self) -> None:
        query = "SELECT count(*) FROM open_steps WHERE workflow_id = $1"
        while True:
            missing = _QUEUED - await self._database.fetchval(query, self._workflow.id)
            if missing > 0:
                await flood(self._database, self._workflow.id, missing, payload=_PAYLOAD)
            await asyncio.sleep(_LOOK)


class _Beside(NamedTuple):
    """What came of the few: seconds from request to completed without and with the flood; and of the flood meanwhile.

    Attributes:
        passed_by: for each of the few, how many runs of the flood began between its acceptance and its beginning.
        worked_off: how many runs of the flood ended.
    """

    alone: list[float]
    crowded: list[float]
    passed_by: list[int]
    worked_off: int


async def _beside_a_flood(folder: Path, shape: str, seconds: float) -> _Beside:
    async with _running(folder) as system:
        graph = graphs.condition_and_transform() if shape == "pure" else graphs.calls(1, system.receiver_url)
        big, small = await prepare(system, graph, 50), await prepare(system, graph, 50)
        connection = await asyncpg.connect(system.database_url)
        alone = await _few(system, small, seconds / 2)
        other = _Flood(connection, big)
        await other.begin()
        since: datetime = await connection.fetchval("SELECT clock_timestamp()")
        before = await other.completed()
        crowded = await _few(system, small, seconds)
        worked_off = await other.completed() - before
        passed_by = await _passed_by(connection, big, small, since)
        await other.end()
        await system.ended(big)
        alone += await _few(system, small, seconds / 2)
        await connection.close()
    print(f"{shape}: alone {_times(alone)}, beside a flood {_times(crowded)}; {worked_off} runs of that meanwhile")
    return _Beside(alone, crowded, passed_by, worked_off)


async def _passed_by(connection: asyncpg.Connection, big: Workflow, small: Workflow, since: datetime) -> list[int]:
    records = await connection.fetch(
        "SELECT (SELECT count(*) FROM runs b WHERE b.workflow_id = $1 AND b.started_at > s.created_at"
        " AND b.started_at < s.started_at) AS runs FROM runs s WHERE s.workflow_id = $2 AND s.created_at > $3",
        big.id,
        small.id,
        since,
    )
    return [record["runs"] for record in records]


@pytest.mark.parametrize("shape", ["pure", "calls"])
async def test_the_few_pass_the_flood_by(shape: str, tmp_path: Path) -> None:
    """Of 10,000 runs that were queued before it, few begin before a run of another workflow does."""
    found = await _beside_a_flood(tmp_path / "data", shape, 2.0)
    print(f"{shape}: passed by {sorted(found.passed_by)[-5:]} at most, {median(found.passed_by)} in the median")
    assert median(found.passed_by) <= _PASSED_BY
    assert quantiles(found.passed_by, n=100)[98] <= _PASSED_BY_AT_MOST
    assert found.worked_off > 0


@pytest.mark.drill
@pytest.mark.parametrize("shape", ["pure", "calls"])
async def test_a_flood_delays_the_few_runs_of_another_at_most_twofold(shape: str, tmp_path: Path) -> None:
    """The p99 of one workflow's runs, with 10,000 runs of another queued all the while, against without."""
    found = await _beside_a_flood(tmp_path / "data", shape, 16.0)
    assert _times(found.crowded).p99 <= _MOST * _times(found.alone).p99
    assert found.worked_off > 0
