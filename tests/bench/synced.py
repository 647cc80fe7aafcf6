"""Workload 16: requests that wait for the answers of their runs."""

import asyncio
import time
from statistics import median
from uuid import UUID

from aiohttp import ClientSession, TCPConnector

from shared.ids import Prefix, encode
from tests.bench import floors, graphs, meters
from tests.bench.driving import times
from tests.bench.figures import Measured, Options, percentiles
from tests.bench.system import System

#: Requests per second, sent on a fixed schedule.
_RATE = 50
_WARM = 50
_NAME = f"synchronous at {_RATE}/s"


async def fixed_rate(system: System, options: Options) -> Measured:
    """A trigger, a condition and the text that answers."""
    bare = await floors.accepting(rate=float(_RATE), connections=1, seconds=1.5)
    least = median(sample.seconds for sample in bare.samples) + 2 * await floors.commit(system)
    workflow = await system.create(graphs.answering())
    await _send(system, workflow.id, _WARM)
    before = await meters.begin(system)
    taken = await _send(system, workflow.id, max(100, round(_RATE * options.seconds)))
    spent = before.until(await meters.read(system, settled=False))
    floor = {f"{_NAME} p50": least * 1000}
    return Measured(times(_NAME, taken), floor, spent, len(taken), spreads={_NAME: percentiles(taken)})


async def _send(system: System, workflow_id: UUID, requests: int) -> list[float]:
    """Seconds from when each request was due to its answer."""
    path = f"/workflows/sync/{encode(Prefix.WORKFLOW, workflow_id)}"
    async with ClientSession(system.url, headers=system.headers, connector=TCPConnector(limit=64)) as session:
        began = time.perf_counter() + 0.05
        return await asyncio.gather(*(_ask(session, path, began + place / _RATE) for place in range(requests)))


async def _ask(session: ClientSession, path: str, due: float) -> float:
    await asyncio.sleep(max(0.0, due - time.perf_counter()))
    async with session.post(path, json={"name": "ada"}) as answer:
        text = await answer.text()
    if (answer.status, text) != (200, "Hello ada!"):
        raise RuntimeError(f"{answer.status}: {text[:200]}")
    return time.perf_counter() - due
