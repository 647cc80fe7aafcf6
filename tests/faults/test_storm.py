"""The drill: thousands of runs of random workflows, while everything that can go wrong goes wrong at once.

The seed decides the workflows, the receiver's answers and the faults; a drill is repeated with `STORM_SEED`.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from pathlib import Path
from random import Random

import asyncpg
import pytest

from tests.faults.checker import check_case, check_slots, check_strays, check_triggers
from tests.faults.driver import Client
from tests.faults.fleet import Fleet
from tests.faults.harvest import runs_of, slots_of, steps_of
from tests.faults.mischief import Mischief
from tests.faults.receiver import Ledger
from tests.faults.records import Call, Case, Run, Sighting, Violation

_SECONDS = float(os.environ.get("STORM_SECONDS", "60"))
_SEED = int(os.environ.get("STORM_SEED", str(random.SystemRandom().randrange(1_000_000))))
#: Clients, and seconds between two triggers of each.
_CLIENTS, _PAUSE = 12, 0.2
_BATCH = 500
_SAMPLE = 3000

pytestmark = pytest.mark.timeout(_SECONDS + 300)


async def test_no_promise_is_broken_in_a_storm(tmp_path: Path) -> None:
    """Whatever is killed, stopped, cut, emptied or set: the ledger, the API and the tables show every promise kept."""
    print(f"STORM_SEED={_SEED} STORM_SECONDS={_SECONDS:g}")
    async with (
        Ledger.serving(Random(_SEED)) as ledger,
        Fleet.running(tmp_path / "fleet", Random(_SEED), EDGEWISE_EGRESS_ALLOW=ledger.address) as fleet,
        Client.of(fleet.url, fleet.token, Random(_SEED)) as client,
    ):
        await client.save_random(30, ledger)
        mischief = Mischief(fleet, _SEED)
        await _storm(client, mischief)
        await fleet.ready()
        await _settled(fleet.postgres.url)
        violations = await _check(fleet.postgres.url, client, ledger)
    print(Counter(name for _, name in mischief.log))
    assert not violations, "\n".join(map(str, [Counter(one.kind for one in violations), *violations[:40]]))


async def _storm(client: Client, mischief: Mischief) -> None:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CLIENTS):
            tasks.create_task(client.drive(_PAUSE, stop))
        for _ in range(3):
            tasks.create_task(client.watch(stop))
        await mischief.rage(_SECONDS)
        stop.set()


async def _settled(url: str) -> None:
    """Wait until no run of a client is open; schedules go on."""
    connection = await asyncpg.connect(url)
    await _none(connection, "SELECT count(*) FROM runs WHERE completed_at IS NULL AND trigger_type <> 'scheduled'")
    await connection.close()


async def _none(connection: asyncpg.Connection, query: str) -> None:
    """Wait until a count is 0."""
    async with asyncio.timeout(150):
        while await connection.fetchval(query):  # noqa: ASYNC110 — nothing tells us
            await asyncio.sleep(0.2)


async def _check(url: str, client: Client, ledger: Ledger) -> list[Violation]:
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE workflows SET is_active = false, next_run_at = NULL")
    await _none(connection, "SELECT count(*) FROM runs WHERE completed_at IS NULL")
    runs = await runs_of(connection, client.shapes)
    asked = [run for run in runs if run.marker is not None]
    await client.look_at_all([sighting.run for sighting in client.sightings] + [run.id for run in asked[-_SAMPLE:]])
    slots = await slots_of(connection, client.shapes)
    scheduled = [run for run in runs if run.marker is None]
    print(
        f"{len(asked)} runs, {len(scheduled)} scheduled, {len(ledger.calls)} calls, {len(client.sightings)} sightings"
    )
    print(Counter(run.status for run in runs))
    violations = [*check_triggers(client.triggers, asked), *check_strays(runs, ledger.calls)]
    violations += check_slots(slots, scheduled)
    violations += await _check_cases(connection, client, runs, ledger.calls)
    await connection.close()
    return violations


async def _check_cases(
    connection: asyncpg.Connection, client: Client, runs: list[Run], calls: list[Call]
) -> list[Violation]:
    calls_of: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        calls_of[call.run].append(call)
    sightings_of: dict[str, list[Sighting]] = defaultdict(list)
    for sighting in client.sightings:
        sightings_of[sighting.run].append(sighting)
    payloads = {trigger.marker: trigger.payload for trigger in client.triggers}
    violations: list[Violation] = []
    for start in range(0, len(runs), _BATCH):
        steps_of_run = await steps_of(connection, runs[start : start + _BATCH])
        for run in runs[start : start + _BATCH]:
            payload = payloads.get(run.marker or 0, {})
            case = Case(run, payload, steps_of_run[run.id], calls_of[run.id], sightings_of[run.id])
            violations += check_case(client.shapes[run.shape], case)
    return violations
