"""The workloads of docs/performance.md. Each measures itself once, with its floor in the same minute."""

import asyncio
import time
from statistics import median, quantiles

import msgspec

from tests.bench import floors, graphs, meters
from tests.bench.figures import Figure, Measured, Options, Workload
from tests.bench.load import Load, Loaded
from tests.bench.meters import Reading
from tests.bench.system import System, Workflow

_WARM_REQUESTS = 300
_LOAD = Load(port=0, path="", body=graphs.payload())


class Outcome(msgspec.Struct):
    """A load whose runs have all completed.

    Attributes:
        seconds: from the first request to the end of the last run.
        spent: by the whole system.
    """

    loaded: Loaded
    seconds: float
    spent: Reading

    @property
    def runs(self) -> int:
        """How many were accepted and completed."""
        return len(self.loaded.samples)

    @property
    def rate(self) -> float:
        """Runs accepted and completed per second."""
        return self.runs / self.seconds


async def drive(system: System, workflow: Workflow, wanted: Load, *, settled: bool = True) -> Outcome:
    """Send a load and wait for its runs.

    Raises:
        RuntimeError: if a request was refused, or a run failed.
    """
    known = await system.ended(workflow)
    before = await meters.begin(system, settled=settled)
    loaded = await system.send(workflow, wanted)
    ended = await system.ended(workflow)
    spent = before.until(await meters.read(system, settled=settled))
    if loaded.refused or ended.completed - known.completed != len(loaded.samples):
        raise RuntimeError(f"{loaded.refused} requests were refused; the runs of the workflow: {ended}")
    cpu = {**spent.cpu, "load": loaded.cpu}
    return Outcome(loaded, ended.last - loaded.began, msgspec.structs.replace(spent, cpu=cpu))


async def prepare(system: System, graph: graphs.Graph, runs: int = _WARM_REQUESTS) -> Workflow:
    """A workflow of this graph that the workers have run before."""
    workflow = await system.create(graph)
    await system.send(workflow, msgspec.structs.replace(_LOAD, connections=min(runs, 8), requests=runs))
    await system.ended(workflow)
    return workflow


def _times(name: str, seconds: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    return {f"{name} p50": median(seconds) * 1000, f"{name} p99": quantiles(seconds, n=100)[98] * 1000}


async def _pure_runs(system: System, options: Options) -> Measured:
    row_rate, wal = await floors.rows(system, steps=3, payload=_LOAD.body)
    bare = await floors.accepting()
    accepted = len(bare.samples) / (max(sample.started for sample in bare.samples) - bare.began)
    parts = {
        "rows of such runs by asyncpg, runs/s": row_rate,
        "bare 202s, requests/s": accepted,
        "no-op messages, messages/s": await floors.messages(system),
    }
    workflow = await prepare(system, graphs.condition_and_transform())
    done = await drive(system, workflow, msgspec.structs.replace(_LOAD, seconds=options.seconds))
    values = {
        "webhook, condition, transform": done.rate,
        "runs per commit": done.runs / done.spent.commits,
        "WAL per run": done.spent.wal / done.runs / 1000,
    }
    least = {"webhook, condition, transform": min(row_rate, accepted), "WAL per run": wal / 1000}
    return Measured(values, least, done.spent, done.runs, parts)


async def _fixed_rate(system: System, options: Options) -> Measured:
    accepting = await floors.accepting(rate=1000.0)
    workflow = await prepare(system, graphs.condition_and_transform())
    done = await drive(system, workflow, msgspec.structs.replace(_LOAD, rate=1000.0, seconds=options.seconds))
    accepted = [sample.seconds for sample in done.loaded.samples]
    completed = await system.latencies(done.loaded)
    values = _times("accepted at 1,000/s", accepted) | _times("completed at 1,000/s", completed)
    least = _times("accepted at 1,000/s", [sample.seconds for sample in accepting.samples])
    return Measured(values, least, done.spent, done.runs)


async def _pure_chain(system: System, options: Options) -> Measured:
    row_rate, _ = await floors.rows(system, steps=11, payload=_LOAD.body)
    workflow = await prepare(system, graphs.transforms(10))
    done = await drive(system, workflow, msgspec.structs.replace(_LOAD, seconds=options.seconds))
    name = "chain of 10 pure nodes"
    return Measured({name: done.rate * 10}, {name: row_rate * 10}, done.spent, done.runs)


async def _call_chain(system: System, options: Options) -> Measured:
    least = await floors.calls(system)
    parts = {"bare calls, 200 at once, calls/s": least}
    workflow = await prepare(system, graphs.calls(5, system.receiver_url))
    wanted = msgspec.structs.replace(_LOAD, in_flight=200, connections=200, seconds=options.seconds)
    done = await drive(system, workflow, wanted)
    name = "chain of 5 HTTP nodes"
    return Measured({name: done.rate * 5}, {name: least}, done.spent, done.runs, parts)


async def _fan(system: System, _: Options) -> Measured:
    least = 1000 / await floors.calls(system)
    workflow = await prepare(system, graphs.fan(1000, system.receiver_url), runs=1)
    done = await drive(system, workflow, msgspec.structs.replace(_LOAD, connections=1, requests=1))
    name = "1 to 1,000 HTTP branches to join"
    return Measured({name: done.seconds}, {name: least}, done.spent, done.runs)


async def _idle(system: System, options: Options) -> Measured:
    single = await floors.accepting(rate=20.0, connections=1, seconds=2)
    least = median(sample.seconds for sample in single.samples) + 2 * await floors.commit(system)
    workflow = await prepare(system, graphs.condition_and_transform())
    before, began = meters.cpu(system), time.monotonic()
    await asyncio.sleep(options.seconds / 2)
    seconds = time.monotonic() - began
    spent = sum(meters.cpu(system).values()) - sum(before.values())
    wanted = msgspec.structs.replace(_LOAD, rate=20.0, connections=4, requests=100)
    done = await drive(system, workflow, wanted)
    values = _times("idle: request to completed", await system.latencies(done.loaded))
    values["idle: CPU of all processes"] = 100 * spent / seconds
    return Measured(values, {"idle: request to completed p50": least * 1000}, done.spent, done.runs)


async def _durable_steps(system: System, _: Options) -> Measured:
    commit, call = await floors.commit(system), await floors.call(system)
    least = 40 * (commit + call)
    parts = {"one commit, ms": commit * 1000, "one bare call, ms": call * 1000}
    workflow = await prepare(system, graphs.calls(40, system.receiver_url), runs=2)
    done = await drive(system, workflow, msgspec.structs.replace(_LOAD, connections=1, requests=1))
    name = "40 steps that wait for durability"
    return Measured({name: done.seconds}, {name: least}, done.spent, done.runs, parts)


async def _large_payloads(system: System, options: Options) -> Measured:
    workflow = await prepare(system, graphs.condition_and_transform())
    wanted = msgspec.structs.replace(_LOAD, seconds=options.seconds / 2)
    small = await drive(system, workflow, msgspec.structs.replace(wanted, body=graphs.payload(1000)))
    large = await drive(system, workflow, msgspec.structs.replace(wanted, body=graphs.payload(160_000)))
    return Measured({"160 KB payloads against 1 KB": 100 * large.rate / small.rate}, {}, large.spent, large.runs)


async def _memory(system: System, _: Options) -> Measured:
    return Measured({"largest service, resident": max(meters.memory(system).values())})


async def _restart(system: System, _: Options) -> Measured:
    workflow = await prepare(system, graphs.condition_and_transform(), runs=1)
    await system.stop()
    given = await system.start()
    await system.connect()
    loaded = await system.send(workflow, msgspec.structs.replace(_LOAD, connections=1, requests=1))
    return Measured({"start to first run": (await system.ended(workflow)).last - given}, {}, None, len(loaded.samples))


#: In the order they are run: what idles before what loads, and the restart last.
WORKLOADS = (
    Workload("memory of a fresh start", (Figure(13, "largest service, resident", "MB", 90, 60),), _memory),
    Workload(
        "idle system",
        (
            Figure(7, "idle: request to completed p50", "ms", 10, 5, floor="a bare 202 and two commits"),
            Figure(7, "idle: request to completed p99", "ms", 40, 20),
            Figure(7, "idle: CPU of all processes", "%", 2, 0.5),
        ),
        _idle,
    ),
    Workload(
        "pure runs, 64 connections",
        (
            Figure(
                1, "webhook, condition, transform", "runs/s", 4000, 8000, higher=True,
                floor="the lesser of rows and bare 202s",
            ),
            Figure(15, "runs per commit", "runs", 20, 100, higher=True),
            Figure(15, "WAL per run", "KB", 3, 1.5, floor="the same rows by bare asyncpg"),
        ),
        _pure_runs,
    ),
    Workload(
        "pure runs at 1,000/s",
        (
            Figure(2, "accepted at 1,000/s p50", "ms", 4, 2, floor="a bare 202 at the same rate"),
            Figure(2, "accepted at 1,000/s p99", "ms", 12, 6, floor="a bare 202 at the same rate"),
            Figure(2, "completed at 1,000/s p50", "ms", 12, 5),
            Figure(2, "completed at 1,000/s p99", "ms", 40, 15),
        ),
        _fixed_rate,
    ),
    Workload(
        "10 transforms",
        (Figure(3, "chain of 10 pure nodes", "steps/s", 25_000, 50_000, higher=True, floor="the same rows"),),
        _pure_chain,
    ),
    Workload(
        "5 calls, 200 in flight",
        (Figure(4, "chain of 5 HTTP nodes", "steps/s", 5000, 8000, higher=True, floor="bare calls, 200 at once"),),
        _call_chain,
    ),
    Workload(
        "1,000 branches",
        (Figure(5, "1 to 1,000 HTTP branches to join", "s", 2, 0.5, floor="bare calls, 200 at once"),),
        _fan,
    ),
    Workload(
        "40 durable steps",
        (Figure(8, "40 steps that wait for durability", "s", 0.4, 0.15, floor="40 bare calls and 40 commits"),),
        _durable_steps,
    ),
    Workload(
        "160 KB payloads", (Figure(12, "160 KB payloads against 1 KB", "%", 25, 50, higher=True),), _large_payloads
    ),
    Workload("restart", (Figure(14, "start to first run", "s", 4, 2),), _restart),
)  # fmt: skip
