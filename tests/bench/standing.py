"""Workloads about a system that has little or nothing to do: 7, 13 and 14."""

import asyncio
import time
from collections.abc import Mapping
from statistics import median

import msgspec

from tests.bench import floors, graphs, meters
from tests.bench.driving import LOAD, drive, prepare, times
from tests.bench.figures import Measured, Options, percentiles
from tests.bench.system import System

#: Of services.
KINDS = ("api", "scheduler", "worker")
#: Seconds after which services that have started do nothing more but wait.
_SETTLED = 2.0


async def idle(system: System, options: Options) -> Measured:
    """Workload 7: what waiting costs, and what a request finds that comes in meanwhile."""
    single = await floors.accepting(rate=20.0, connections=1, seconds=1.5)
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


async def memory(system: System, options: Options) -> Measured:
    """Workload 13: what the services take up when they have started, and how much more it is after so many steps."""
    await system.stop()
    await system.start()
    await system.connect()
    await asyncio.sleep(_SETTLED)
    fresh = meters.memory(system)
    await _work(system, options.steps)
    later = meters.memory(system)
    growth = {name: 100 * (later[name] / size - 1) for name, size in fresh.items()}
    values = {f"{kind}, resident after start": _most(kind, fresh) for kind in KINDS}
    values |= {f"{kind}, growth with steps": _most(kind, growth) for kind in KINDS}
    sizes = {f"{kind}, growth with steps": f"{options.steps:,}" for kind in KINDS}
    parts = {f"resident after start: {name}, MB": size for name, size in fresh.items()}
    parts |= {f"resident after {options.steps:,} steps: {name}, MB": size for name, size in later.items()}
    return Measured(values, parts=parts, sizes=sizes)


async def _work(system: System, steps: int) -> None:
    """Run so many steps: four of five in chains of transforms, the rest in chains of calls."""
    chains = await system.create(graphs.transforms(10))
    calls = await system.create(graphs.calls(5, system.receiver_url))
    pure = msgspec.structs.replace(LOAD, requests=round(0.8 * steps / 11))
    await drive(system, chains, pure, settled=False)
    effects = msgspec.structs.replace(LOAD, requests=round(0.2 * steps / 6), in_flight=200, connections=200)
    await drive(system, calls, effects, settled=False)


def _most(kind: str, sizes: Mapping[str, float]) -> float:
    """Of the largest process of a kind."""
    return max(size for name, size in sizes.items() if name.partition("-")[0] == kind)


async def restart(system: System, _: Options) -> Measured:
    """Workload 14: a stopped system, started on its folder."""
    workflow = await prepare(system, graphs.condition_and_transform(), runs=1)
    await system.stop()
    given = await system.start()
    await system.connect()
    loaded = await system.send(workflow, msgspec.structs.replace(LOAD, connections=1, requests=1))
    return Measured({"start to first run": (await system.ended(workflow)).last - given}, {}, None, len(loaded.samples))
