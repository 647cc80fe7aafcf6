"""Driving the system: a workflow that is warm, a load, and all that the load's runs cost."""

from statistics import median, quantiles

import msgspec

from tests.bench import graphs, meters
from tests.bench.load import Load, Loaded
from tests.bench.meters import Reading
from tests.bench.system import System, Workflow

_WARM_REQUESTS = 300
#: What workload 1 sends, over 64 connections; the others change parts of it.
LOAD = Load(port=0, path="", body=graphs.payload())


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
    """Send a load and wait for its runs. What is spent on counting them is not in what they cost.

    Raises:
        RuntimeError: if a request was refused, or a run failed.
    """
    known = await system.ended(workflow)
    before = await meters.begin(system)
    loaded = await system.send(workflow, wanted)
    await system.idle(workflow)
    spent = before.until(await meters.read(system, settled=settled))
    ended = await system.ended(workflow)
    if loaded.refused or ended.completed - known.completed != len(loaded.samples):
        raise RuntimeError(f"{loaded.refused} requests were refused; the runs of the workflow: {ended}")
    cpu = {**spent.cpu, "load": loaded.cpu}
    return Outcome(loaded, ended.last - loaded.began, msgspec.structs.replace(spent, cpu=cpu))


async def prepare(system: System, graph: graphs.Graph, runs: int = _WARM_REQUESTS, body: bytes = LOAD.body) -> Workflow:
    """A workflow of this graph that the workers have run before."""
    workflow = await system.create(graph)
    await system.send(workflow, msgspec.structs.replace(LOAD, connections=min(runs, 8), requests=runs, body=body))
    await system.ended(workflow)
    return workflow


def times(name: str, seconds: list[float]) -> dict[str, float]:
    """The median and the 99th percentile, in milliseconds."""
    return {f"{name} p50": median(seconds) * 1000, f"{name} p99": quantiles(seconds, n=100)[98] * 1000}
