"""Ourselves in the comparison: `edgewise up` as the benchmark starts it, asked over HTTP.

A peer begins an execution when one has completed. Here the load looks a hundred times a second how many runs are open
and fills them up to 64, so that what it finds free waits for five milliseconds on average.
"""

from pathlib import Path

import msgspec

from tests.bench import graphs
from tests.bench.driving import LOAD, Outcome, drive, prepare
from tests.bench.figures import percentiles
from tests.bench.load import Load
from tests.bench.peers.measure import LENGTH, WIDTH
from tests.bench.peers.results import OURS, OURS_LOADED, OURS_PURE, Found, Peer
from tests.bench.system import System, running


async def measured(folder: Path, seconds: float) -> dict[Peer, Found]:
    """Both shapes: the chain once of HTTP calls, each durable before the next leaves, and once of pure steps."""
    filled = msgspec.structs.replace(LOAD, in_flight=WIDTH, connections=WIDTH, seconds=seconds)
    loaded = msgspec.structs.replace(LOAD, connections=WIDTH, seconds=seconds)
    three, ten = graphs.condition_and_transform(), graphs.transforms(LENGTH)
    async with running(folder) as system:
        runs = await _summary(system, three, filled, 3)
        calls = await _summary(system, graphs.calls(LENGTH, system.receiver_url), filled, LENGTH)
        pure = await _summary(system, ten, filled, LENGTH)
        saturated, chain = await _summary(system, three, loaded, 3), await _summary(system, ten, loaded, LENGTH)
    return {
        OURS: {"runs": runs, "chain": calls},
        OURS_PURE: {"runs": runs, "chain": pure},
        OURS_LOADED: {"runs": saturated, "chain": chain},
    }


async def _summary(system: System, graph: graphs.Graph, load: Load, steps: int) -> dict[str, float]:
    workflow = await prepare(system, graph)
    done: Outcome = await drive(system, workflow, load, settled=False)
    cuts = percentiles(await system.latencies(done.loaded))
    return {
        "executions": done.runs,
        "executions/s": done.rate,
        "steps/s": done.rate * steps,
        "p50_ms": cuts[49],
        "p99_ms": cuts[98],
    }
