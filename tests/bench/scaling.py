"""Workload 11: does work spread over worker processes, with Postgres and Redis given elsewhere?

Workload 4 (five HTTP calls in a row, 200 runs in flight) by 1, 2 and 4 worker processes. PostgreSQL and Valkey live in
a network namespace and are given by URL. Everything but the workers is pinned to the first core: the servers, the api,
the scheduler, the receiver and the load. The workers are pinned to the last one, where a control group lets each have
a fifth of it, so that each of four has as much CPU as one alone had, on a machine of two cores as on a larger one.
Efficiency is the rate of n workers by n times the rate of one.

What it shows: what is lost to sharing, which is smaller batches, contention for rows and locks, and references that
wait with one worker while another is free. What it can't show: the limit of the servers. Four of these workers have
the CPU of 0.8 cores between them; how busy the first core was stands among the parts, and where that nears 100% the
servers were the limit, not the workers.
"""

import os
from typing import NamedTuple

import msgspec

from tests.bench import graphs
from tests.bench.driving import LOAD, Outcome, drive, prepare
from tests.bench.elsewhere import Elsewhere, elsewhere
from tests.bench.figures import Figure, Measured, Options, SkippedError, Workload
from tests.bench.shares import limited, pinned_to
from tests.bench.system import System, running

#: Of a core, for each worker.
_SHARE = 0.2
_STEPS = 5
_LOAD = msgspec.structs.replace(LOAD, in_flight=200, connections=200)


class _Rate(NamedTuple):
    """What a number of workers did: steps per second, how much of what they had each side used, CPU of a step."""

    steps: float
    workers_used: float
    others_used: float
    step_us: float
    outcome: Outcome


async def _scaling(system: System, options: Options) -> Measured:
    """Stop the system that the workloads share, measure on others, start it again."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SkippedError("two cores are needed, one for the workers and one for all else")
    await system.stop()
    try:
        with pinned_to(cores[0]), elsewhere() as servers:
            rates = {count: await _rate(servers, count, cores[-1], options) for count in (1, 2, 4)}
    finally:
        await system.start()
        await system.connect()
    return _measured(rates)


async def _rate(servers: Elsewhere, count: int, core: int, options: Options) -> _Rate:
    folder, wanted = await servers.installation()
    async with running(folder, "--workers", str(count), *wanted, servers=servers.pids) as system:
        workers = [pid for name, pid in system.pids.items() if name.startswith("worker")]
        workflow = await prepare(system, graphs.calls(_STEPS, system.receiver_url))
        with limited(workers, core=core, share=_SHARE):
            load = msgspec.structs.replace(_LOAD, seconds=options.seconds)
            done = await drive(system, workflow, load, settled=False)
    used = sum(spent for name, spent in done.spent.cpu.items() if name.startswith("worker"))
    others = sum(done.spent.cpu.values()) - used
    had = done.seconds * _SHARE * count
    return _Rate(done.rate * _STEPS, used / had, others / done.seconds, 1e6 * used / (done.runs * _STEPS), done)


def _measured(rates: dict[int, _Rate]) -> Measured:
    alone = rates[1].steps
    values = {f"{count} workers against one": 100 * rates[count].steps / (count * alone) for count in (2, 4)}
    parts = {f"workers with a fifth of a core each: {count}, steps/s": rate.steps for count, rate in rates.items()}
    parts |= {f"CPU of a step by {count}, us": rate.step_us for count, rate in rates.items()}
    parts |= {f"used by {count} of what they have, %": 100 * rate.workers_used for count, rate in rates.items()}
    parts |= {f"used by all else beside {count}, % of a core": 100 * rate.others_used for count, rate in rates.items()}
    most = rates[4].outcome
    return Measured(values, {}, most.spent, most.runs, parts)


WORKLOAD = Workload(
    "5 calls by 1, 2, 4 workers",
    (
        Figure(11, "2 workers against one", "%", 80, 95, higher=True),
        Figure(11, "4 workers against one", "%", 80, 95, higher=True),
    ),
    _scaling,
)
