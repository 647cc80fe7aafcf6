"""Floors: what the parts cost by themselves, on this machine and in the same minute. A figure is judged beside them.

Each one does the least that its workload cannot do without: rows in batches, messages that say nothing, requests that
are answered at once, one commit, one call.
"""

import asyncio
import json
import sys
import time
from statistics import median
from uuid import UUID

import aiohttp
import dramatiq
from dramatiq.brokers.redis import RedisBroker

from shared.ids import Mint
from tests.bench import load
from tests.bench.load import Load, Loaded
from tests.bench.system import Server, System

#: Runs in one commit of the floor of rows: what 64 connections can have waiting, and the characters of their payloads
#: behind which ingest ends a batch, which makes large ones cheaper.
_BATCH, _CHARACTERS = 64, 4 * 1024 * 1024
_MESSAGES = 2500
_TABLES = """
    CREATE TABLE IF NOT EXISTS bench_runs
        (LIKE runs INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE);
    CREATE TABLE IF NOT EXISTS bench_steps
        (LIKE steps INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES INCLUDING STORAGE);
"""
_ROWS = """
    WITH run AS (
        INSERT INTO bench_runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, status,
                                open_steps, seq, started_at, completed_at)
        SELECT id, $2, $2, 1, 1, 'webhook', ($3::text[])[place], 'completed', 0, $4, now(), now()
        FROM unnest($1::uuid[]) WITH ORDINALITY AS run (id, place)
    )
    INSERT INTO bench_steps (run_id, workspace_id, seq, duration_ms, started_at, attempt, node_id, item, status, output)
    SELECT id, $2, number, 0, now(), 1, 'n' || number, '-', 'success', '{"text":"Hello ada!"}'
    FROM unnest($1::uuid[]) AS id, generate_series(1, $4::int) AS number /* bench */
"""
_COMMIT = """
    INSERT INTO bench_runs (id, workspace_id, workflow_id, version, priority, trigger_type, trigger_payload, open_steps)
    VALUES ($1, $2, $2, 1, 1, 'webhook', '{}', 1) /* bench */
"""


def stored(body: bytes) -> str:
    """What a run has as its payload that a webhook with this body started."""
    headers = f'{{"host":"127.0.0.1:40000","content-type":"application/json","content-length":"{len(body)}"}}'
    return (
        f'{{"webhook_payload":{body.decode()},"headers":{headers},"query":{{}},"method":"POST",'
        '"received_at":"2026-01-01T00:00:00.000000Z"}'
    )


async def rows(system: System, *, steps: int, payload: str, seconds: float = 1.0) -> tuple[float, float]:
    """Runs with their steps written by bare asyncpg: per second, and the bytes of WAL of one."""
    batch = max(1, min(_BATCH, _CHARACTERS // len(payload)))
    database = system.database
    await database.execute(_TABLES)
    statement = await database.prepare(_ROWS)
    mint, workspace = Mint(), UUID(int=1)
    before = await database.fetchval("SELECT /* bench */ pg_current_wal_insert_lsn() - '0/0'")
    began = time.perf_counter()
    written = 0
    while time.perf_counter() - began < seconds:
        ids = [mint.uuid() for _ in range(batch)]
        await statement.fetch(ids, workspace, [payload] * batch, steps)
        written += batch
    spent = time.perf_counter() - began
    after = await database.fetchval("SELECT /* bench */ pg_current_wal_insert_lsn() - '0/0'")
    await database.execute("TRUNCATE bench_runs, bench_steps")
    return written / spent, float(after - before) / written


async def commit(system: System, times: int = 100) -> float:
    """Seconds of one durable insert, the median."""
    await system.database.execute(_TABLES)
    statement = await system.database.prepare(_COMMIT)
    mint, taken = Mint(), []
    for _ in range(times):
        began = time.perf_counter()
        await statement.fetch(mint.uuid(), UUID(int=1))
        taken.append(time.perf_counter() - began)
    await system.database.execute("TRUNCATE bench_runs")
    return median(taken)


async def accepting(
    *, rate: float | None = None, connections: int = 64, seconds: float = 1.0, body: bytes = b"{}"
) -> Loaded:
    """What the load generator gets from aiohttp that reads a body, answers 202 and does nothing."""
    server = Server("accepting")
    try:
        wanted = Load(port=server.port, path="/", body=body, connections=connections, seconds=seconds, rate=rate)
        return await load.run(wanted)
    finally:
        server.stop()


async def accepted(body: bytes, seconds: float = 1.0) -> float:
    """Such answers per second to 64 connections, each of which sends its next request when it has its answer."""
    bare = await accepting(body=body, seconds=seconds)
    return len(bare.samples) / (max(sample.started for sample in bare.samples) - bare.began)


async def calls(system: System, at_once: int = 200, seconds: float = 1.0) -> float:
    """Calls of the receiver per second by a bare aiohttp client."""
    deadline = time.perf_counter() + seconds
    done = 0

    async def call(session: aiohttp.ClientSession) -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            async with session.post(system.receiver_url, json={"number": 1}) as response:
                await response.json()
            done += 1

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=at_once)) as session:
        await asyncio.gather(*(call(session) for _ in range(at_once)))
    return done / seconds


async def call(system: System, times: int = 100) -> float:
    """Seconds of one call of the receiver by a bare aiohttp client, the median."""
    taken = []
    async with aiohttp.ClientSession() as session:
        for _ in range(times):
            began = time.perf_counter()
            async with session.post(system.receiver_url, json={"number": 1}) as response:
                await response.json()
            taken.append(time.perf_counter() - began)
    return median(taken)


async def messages(system: System) -> float:
    """No-op messages per second through stock Dramatiq with eight threads, from a full queue."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.floors", system.broker_url, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    return float(json.loads(output))


def _drain(url: str) -> float:
    """Messages per second from when a worker starts until a full queue is empty."""
    broker = RedisBroker(url=url, middleware=[], namespace="bench")  # type: ignore[no-untyped-call]

    @dramatiq.actor(queue_name="nothing", broker=broker)
    def nothing() -> None: ...

    for _ in range(_MESSAGES):
        nothing.send()
    worker = dramatiq.Worker(broker, worker_threads=8)
    began = time.perf_counter()
    worker.start()
    broker.join("nothing", interval=5)
    spent = time.perf_counter() - began
    worker.stop()
    return _MESSAGES / spent


if __name__ == "__main__":
    print(json.dumps(_drain(sys.argv[1])))
