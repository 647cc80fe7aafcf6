"""Workload 9: a hundred thousand active schedules, of which five thousand are due in the same second."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

from tests.bench import floors, graphs, meters, timetable
from tests.bench.figures import Measured, Options
from tests.bench.system import System, running

#: One of so many schedules is due.
_DUE = 20
#: Seconds until they are, once they are armed.
_SOON = 2
#: Schedules that fire before anything is measured.
_WARM = 100
#: Seconds after which those that have not fired count as lost.
_LATE = 60.0
_LOOK = 0.1
#: The trigger's row and that of the one node behind it.
_STEPS = 2
_NAME = "schedules due at once, the last one started after"


async def storm(shared: System, options: Options) -> Measured:
    """Make a twentieth of all schedules due at one moment, on a system of its own that is kept for the next repeat."""
    folder = shared.folder.with_name("schedules")
    fresh = not folder.exists()
    due = options.schedules // _DUE
    async with running(folder) as system:
        if fresh:
            model = await system.create(graphs.scheduled(), schedule_type="monthly")
            await timetable.load(system, model, options.schedules, due)
        parts = await _idle(system, options)
        await _fire(system, min(_WARM, due))
        row_rate, _ = await floors.rows(system, steps=_STEPS, payload='{"scheduled_at":"2026-01-01T00:00:00.000000Z"}')
        before = await meters.begin(system)
        last = await _fire(system, due)
        spent = before.until(await meters.read(system, settled=False))
    sizes = {_NAME: f"{due:,} of {options.schedules:,}"}
    return Measured({_NAME: last}, {_NAME: due / row_rate}, spent, due, parts, sizes=sizes)


async def _idle(system: System, options: Options) -> dict[str, float]:
    """What it costs that the schedules are there while none is due."""
    await meters.begin(system)
    before, began = meters.cpu(system), time.monotonic()
    await asyncio.sleep(options.seconds / 2)
    seconds = time.monotonic() - began
    spent = sum(meters.cpu(system).values()) - sum(before.values())
    look = await system.database.fetchval(
        "SELECT /* bench */ sum(total_exec_time) / sum(calls) FROM pg_stat_statements WHERE query LIKE '%AS slots%'"
    )
    return {
        f"idle with {await _active(system):,} schedules, % of CPU": 100 * spent / seconds,
        "one look for what is due, with them, ms": look,
    }


async def _active(system: System) -> int:
    count: int = await system.database.fetchval(
        "SELECT /* bench */ count(*) FROM workflows WHERE is_active AND next_run_at IS NOT NULL"
    )
    return count


async def _fire(system: System, due: int) -> float:
    """Arm them, wait for their runs, and tell how many seconds after the moment the last of these began.

    On a machine that is too busy to arm them in time, they are due when they are armed.

    Raises:
        RuntimeError: if not every one of them makes a run that completes.
    """
    now = await system.database.fetchval("SELECT /* bench */ clock_timestamp()")
    moment = now.replace(microsecond=0) + timedelta(seconds=1 + _SOON)
    await timetable.arm(system, moment, due)
    since = max(moment, datetime.now(UTC))
    await asyncio.sleep((since - datetime.now(UTC)).total_seconds())
    deadline = time.monotonic() + _LATE
    while not await _are_over(system, moment, due):
        if time.monotonic() > deadline:
            raise RuntimeError(f"not all of {due} schedules have fired and ended within {_LATE:g} s")
        await asyncio.sleep(_LOOK)
    row = await system.database.fetchrow(
        "SELECT /* bench */ count(*) AS completed, max(r.started_at) AS last"
        " FROM schedule_slots s JOIN runs r ON r.id = s.run_id WHERE s.slot = $1 AND r.status = 'completed'",
        moment,
    )
    if row is None or row["completed"] != due:
        raise RuntimeError(f"not all of {due} runs have completed: {row}")
    return float((row["last"] - since).total_seconds())


async def _are_over(system: System, moment: datetime, due: int) -> bool:
    """Whether so many slots were taken and nothing is open; a look that costs little, for the runs go on beside it."""
    over: bool = await system.database.fetchval(
        "SELECT /* bench */ NOT EXISTS (SELECT FROM open_steps)"
        " AND (SELECT count(*) FROM schedule_slots WHERE slot = $1) = $2",
        moment,
        due,
    )
    return over
