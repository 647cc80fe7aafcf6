"""Workloads of runs that call other systems: 4, 5, 6 and 8."""

import msgspec

from tests.bench import floors, graphs
from tests.bench.driving import LOAD, drive, prepare
from tests.bench.figures import Measured, Options
from tests.bench.system import System

_ITEMS, _AT_ONCE = 10_000, 100


async def chain(system: System, options: Options) -> Measured:
    """Workload 4: five calls in a row, 200 runs in flight."""
    least = await floors.calls(system)
    parts = {"bare calls, 200 at once, calls/s": least}
    workflow = await prepare(system, graphs.calls(5, system.receiver_url))
    wanted = msgspec.structs.replace(LOAD, in_flight=200, connections=200, seconds=options.seconds)
    done = await drive(system, workflow, wanted)
    name = "chain of 5 HTTP nodes"
    return Measured({name: done.rate * 5}, {name: least}, done.spent, done.runs, parts)


async def fan(system: System, _: Options) -> Measured:
    """Workload 5: a thousand calls at once, and a join."""
    least = 1000 / await floors.calls(system)
    workflow = await prepare(system, graphs.fan(1000, system.receiver_url), runs=1)
    done = await drive(system, workflow, msgspec.structs.replace(LOAD, connections=1, requests=1))
    name = "1 to 1,000 HTTP branches to join"
    return Measured({name: done.seconds}, {name: least}, done.spent, done.runs)


async def items(system: System, _: Options) -> Measured:
    """Workload 6: an iterator over 10,000 items with a transform and a call each, 100 at once."""
    least = await floors.calls(system, _AT_ONCE)
    parts = {f"bare calls, {_AT_ONCE} at once, calls/s": least}
    workflow = await prepare(system, graphs.iterator(system.receiver_url, _AT_ONCE), runs=1, body=graphs.items(500))
    wanted = msgspec.structs.replace(LOAD, connections=1, requests=1, body=graphs.items(_ITEMS))
    done = await drive(system, workflow, wanted)
    name = "items of a transform and a call, 100 at once"
    return Measured({name: _ITEMS / done.seconds}, {name: least}, done.spent, done.runs, parts)


async def durable_steps(system: System, _: Options) -> Measured:
    """Workload 8: forty calls in a row, each of which waits for the commit before it."""
    commit, call = await floors.commit(system), await floors.call(system)
    least = 40 * (commit + call)
    parts = {"one commit, ms": commit * 1000, "one bare call, ms": call * 1000}
    workflow = await prepare(system, graphs.calls(40, system.receiver_url), runs=2)
    done = await drive(system, workflow, msgspec.structs.replace(LOAD, connections=1, requests=1))
    name = "40 steps that wait for durability"
    return Measured({name: done.seconds}, {name: least}, done.spent, done.runs, parts)
