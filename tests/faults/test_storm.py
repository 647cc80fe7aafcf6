"""The drill: thousands of runs of random workflows, while everything that can go wrong goes wrong at once.

The seed decides the workflows, the receiver's answers and the faults; a drill is repeated with `STORM_SEED`.
"""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.length import SECONDS, SEED
from tests.faults.mischief import rage
from tests.faults.scene import Scene, scene

#: Clients, and seconds between two triggers of each.
_CLIENTS, _PAUSE = 24, 0.2
_WATCHERS = 3

pytestmark = pytest.mark.timeout(2 * SECONDS + 400)


async def test_no_promise_is_broken_in_a_storm(tmp_path: Path) -> None:
    """Whatever is killed, stopped, cut, emptied or set: the ledger, the API and the tables show every promise kept."""
    print(f"STORM_SEED={SEED} STORM_SECONDS={SECONDS:g}")
    async with scene(tmp_path, SEED) as drill:
        await drill.client.save_random(30, drill.ledger)
        print(Counter(await _storm(drill)))
        await drill.fleet.ready()
        calm = time.monotonic()
        await drill.settle(120 + SECONDS / 2)
        print(f"all runs had ended {time.monotonic() - calm:.1f} s after everything was whole again")
        violations = await drill.check()
        kinds = Counter(one.kind for one in violations)
        print(f"{kinds or 'no violation'}\n{drill.fleet.errors(5) if violations else ''}")
    assert not violations, "\n".join(map(str, violations[:40]))


async def _storm(drill: Scene) -> list[str]:
    """Runs, and trouble for them; what was done."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CLIENTS):
            tasks.create_task(drill.client.drive(_PAUSE, stop))
        for _ in range(_WATCHERS):
            tasks.create_task(drill.client.watch(stop))
        done = await rage(drill.fleet, SEED, SECONDS)
        stop.set()
    return done
