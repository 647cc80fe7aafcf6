"""Workloads about a system that has little or nothing to do: 7, 13 and 14."""

import asyncio
import time
from statistics import median

import msgspec

from tests.bench import floors, graphs, meters
from tests.bench.driving import LOAD, drive, prepare, times
from tests.bench.figures import Measured, Options, percentiles
from tests.bench.system import System


async def idle(system: System, options: Options) -> Measured:
    """Workload 7: what waiting costs, and what a request finds that comes in meanwhile."""
    single = await floors.accepting(rate=20.0, connections=1, seconds=2)
    least = median(sample.seconds for sample in single.samples) + 2 * await floors.commit(system)
    workflow = await prepare(system, graphs.condition_and_transform())
    before, began = meters.cpu(system), time.monotonic()
    await asyncio.sleep(options.seconds / 2)
    seconds = time.monotonic() - began
    spent = sum(meters.cpu(system).values()) - sum(before.values())
    wanted = msgspec.structs.replace(LOAD, rate=20.0, connections=4, requests=100)
    done = await drive(system, workflow, wanted)
    taken = await system.latencies(done.loaded)
    values = times("idle: request to completed", taken)
    values["idle: CPU of all processes"] = 100 * spent / seconds
    spreads = {"idle: request to completed": percentiles(taken)}
    return Measured(values, {"idle: request to completed p50": least * 1000}, done.spent, done.runs, spreads=spreads)


async def memory(system: System, _: Options) -> Measured:
    """Workload 13: what the services take up."""
    return Measured({"largest service, resident": max(meters.memory(system).values())})


async def restart(system: System, _: Options) -> Measured:
    """Workload 14: a stopped system, started on its folder."""
    workflow = await prepare(system, graphs.condition_and_transform(), runs=1)
    await system.stop()
    given = await system.start()
    await system.connect()
    loaded = await system.send(workflow, msgspec.structs.replace(LOAD, connections=1, requests=1))
    return Measured({"start to first run": (await system.ended(workflow)).last - given}, {}, None, len(loaded.samples))
