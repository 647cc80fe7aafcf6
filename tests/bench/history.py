"""Workload 10: workload 1 with millions of finished runs in the database, against none."""

import time
from pathlib import Path

import msgspec

from tests.bench import graphs, past
from tests.bench.driving import LOAD, Outcome, drive, prepare
from tests.bench.figures import Measured, Options
from tests.bench.system import System, Workflow, running

_NAME = "finished runs in the database, against none"
#: Each of the four loads of a repeat goes on for this part of a repeat's seconds.
_PART = 3
#: Runs before anything is measured: caches are filled, the past's too.
_WARM = 2000


class _Kept(msgspec.Struct):
    """A folder with a past: the workflow whose runs these are, and what was loaded."""

    workflow: Workflow
    made: past.Made


async def against_a_past(shared: System, options: Options) -> Measured:
    """Drive a system that has a past and one that has none in turns, in an order that cancels what drifts."""
    folder = shared.folder.with_name("history")
    kept = await _kept(folder, options)
    fresh = shared.folder.with_name(f"none-{time.monotonic_ns()}")
    async with running(folder) as full, running(fresh) as empty:
        without = (empty, await prepare(empty, graphs.condition_and_transform()))
        with_past = (full, kept.workflow)
        for system, workflow in (without, with_past):
            await drive(system, workflow, msgspec.structs.replace(LOAD, requests=_WARM), settled=False)
        wanted = msgspec.structs.replace(LOAD, seconds=options.seconds / _PART)
        turns = (without, with_past, with_past, without)
        first, second, third, fourth = [await drive(system, flow, wanted, settled=False) for system, flow in turns]
    value = 100 * _rate(second, third) / _rate(first, fourth)
    sizes = {_NAME: f"{kept.made.runs:,} of {kept.made.steps // kept.made.runs} steps"}
    parts = _parts(kept)
    parts["CPU of a run with them against none, %"] = 100 * _cpu(second, third) / _cpu(first, fourth)
    return Measured({_NAME: value}, {}, third.spent, third.runs, parts, sizes=sizes)


def _rate(one: Outcome, other: Outcome) -> float:
    return (one.runs + other.runs) / (one.seconds + other.seconds)


def _cpu(one: Outcome, other: Outcome) -> float:
    """Seconds of all processes for each run."""
    spent = sum(one.spent.cpu.values()) + sum(other.spent.cpu.values())
    return spent / (one.runs + other.runs)


def _parts(kept: _Kept) -> dict[str, float]:
    made = kept.made
    return {
        "finished runs loaded, their steps too, rows/s": (made.runs + made.steps) / made.copying,
        "the database with them, GB": made.size / 1e9,
    }


async def _kept(folder: Path, options: Options) -> _Kept:
    """The past of the folder, which is made at first."""
    told = folder.with_suffix(".json")
    if not told.exists():
        async with running(folder) as system:
            workflow = await prepare(system, graphs.condition_and_transform())
        made = await past.load(folder, past.Past(options.rows), workflow.id)
        told.write_bytes(msgspec.json.encode(_Kept(workflow, made)))
    return msgspec.json.decode(told.read_bytes(), type=_Kept)
