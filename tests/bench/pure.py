"""Workloads of runs that touch nothing outside: 1, 2, 3, 12 and 15."""

import msgspec

from tests.bench import floors, graphs
from tests.bench.driving import LOAD, Outcome, drive, prepare, times
from tests.bench.figures import Measured, Options, percentiles
from tests.bench.system import System

#: Seconds of each floor of workload 12, which has four.
_SHORT = 0.75


async def saturated(system: System, options: Options) -> Measured:
    """Workloads 1 and 15: webhook, condition, transform, as fast as it goes."""
    row_rate, wal = await floors.rows(system, steps=3, payload=floors.stored(LOAD.body))
    accepted = await floors.accepted(LOAD.body)
    parts = {
        "rows of such runs by asyncpg, runs/s": row_rate,
        "bare 202s, requests/s": accepted,
        "no-op messages, messages/s": await floors.messages(system),
    }
    workflow = await prepare(system, graphs.condition_and_transform())
    done = await drive(system, workflow, msgspec.structs.replace(LOAD, seconds=options.seconds))
    values = {
        "webhook, condition, transform": done.rate,
        "runs per commit": done.runs / done.spent.commits,
        "WAL per run": done.spent.wal / done.runs / 1000,
    }
    least = {"webhook, condition, transform": min(row_rate, accepted), "WAL per run": wal / 1000}
    return Measured(values, least, done.spent, done.runs, parts)


async def fixed_rate(system: System, options: Options) -> Measured:
    """Workload 2: the same at 1,000 requests per second."""
    accepting = await floors.accepting(rate=1000.0, seconds=1.5)
    workflow = await prepare(system, graphs.condition_and_transform())
    done = await drive(system, workflow, msgspec.structs.replace(LOAD, rate=1000.0, seconds=options.seconds))
    accepted = [sample.seconds for sample in done.loaded.samples]
    completed = await system.latencies(done.loaded)
    values = times("accepted at 1,000/s", accepted) | times("completed at 1,000/s", completed)
    bare = [sample.seconds for sample in accepting.samples]
    least = times("accepted at 1,000/s", bare)
    spreads = {
        "accepted at 1,000/s": percentiles(accepted),
        "completed at 1,000/s": percentiles(completed),
        "floor: accepted at 1,000/s": percentiles(bare),
    }
    return Measured(values, least, done.spent, done.runs, spreads=spreads)


async def chain(system: System, options: Options) -> Measured:
    """Workload 3: ten transforms in a row."""
    row_rate, _ = await floors.rows(system, steps=11, payload=floors.stored(LOAD.body))
    workflow = await prepare(system, graphs.transforms(10))
    done = await drive(system, workflow, msgspec.structs.replace(LOAD, seconds=options.seconds))
    name = "chain of 10 pure nodes"
    return Measured({name: done.rate * 10}, {name: row_rate * 10}, done.spent, done.runs)


async def large_payloads(system: System, options: Options) -> Measured:
    """Workload 12: bodies of 160 KB against bodies of 1 KB, beside what rows and bare 202s of each size reach."""
    workflow = await prepare(system, graphs.condition_and_transform())
    parts: dict[str, float] = {}
    done: list[Outcome] = []
    least: list[float] = []
    for name, size in (("1 KB", 1000), ("160 KB", 160_000)):
        body = graphs.payload(size)
        wanted = msgspec.structs.replace(LOAD, seconds=options.seconds / 2, body=body)
        done.append(await drive(system, workflow, wanted, settled=False))
        rows, _ = await floors.rows(system, steps=3, payload=floors.stored(body), seconds=_SHORT)
        bare = await floors.accepted(body, seconds=_SHORT)
        parts |= {f"rows of runs with {name} by asyncpg, runs/s": rows, f"bare 202s to {name}, requests/s": bare}
        least.append(min(rows, bare))
    small, large = done
    name = "160 KB payloads against 1 KB"
    value, floor = 100 * large.rate / small.rate, 100 * least[1] / least[0]
    parts["160 KB by these against 1 KB by the system, %"] = 100 * least[1] / small.rate
    return Measured({name: value}, {name: floor}, large.spent, large.runs, parts)
