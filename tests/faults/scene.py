"""A fleet with a receiver and a client, and what the three together prove."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple
from uuid import UUID

import asyncpg

from tests.faults.checker import check_case, check_slots, check_strays, check_triggers
from tests.faults.driver import Client
from tests.faults.fleet import Fleet
from tests.faults.harvest import runs_of, slots_of, steps_of
from tests.faults.receiver import Ledger
from tests.faults.records import Call, Case, Run, Sighting, Trigger, Violation

#: How many runs are read from the database at a time.
_BATCH: Final = 500


class Scene(NamedTuple):
    """Everything a drill plays with."""

    fleet: Fleet
    ledger: Ledger
    client: Client

    async def query(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Ask Postgres directly."""
        connection = await asyncpg.connect(self.fleet.postgres.url)
        try:
            rows: list[asyncpg.Record] = await connection.fetch(query, *args)
        finally:
            await connection.close()
        return rows

    async def alive(self) -> set[UUID]:
        """The incarnations that nobody has declared dead."""
        return {row["id"] for row in await self.query("SELECT id FROM incarnations WHERE dead_at IS NULL")}

    async def settle(self, seconds: float = 60.0) -> None:
        """Wait until no run that a client started is open."""
        await self._drain(
            "SELECT count(*) FROM runs WHERE completed_at IS NULL AND trigger_type <> 'scheduled'", seconds
        )

    async def check(self, sample: int = 3000) -> list[Violation]:
        """Stop every schedule, let all end, and hold the ledger, the API and the tables against each other.

        Args:
            sample: how many of the runs that were watched, and of the last runs, are looked at through the API.
        """
        client = self.client
        await self.query("UPDATE workflows SET schedule_type = 'manual', next_run_at = NULL")
        await self._drain("SELECT count(*) FROM runs WHERE completed_at IS NULL", 60.0)
        connection = await asyncpg.connect(self.fleet.postgres.url)
        runs = await runs_of(connection, client.shapes)
        asked = [run for run in runs if run.marker is not None]
        watched = [*dict.fromkeys(sighting.run for sighting in client.sightings)]
        await client.look_at_all([*watched[-sample:], *(run.id for run in asked[-sample:])])
        violations = [*check_triggers(client.triggers, asked), *check_strays(runs, self.ledger.calls)]
        violations += check_slots(
            await slots_of(connection, client.shapes), [run for run in runs if run.marker is None]
        )
        violations += [*client.faults, *await self._check_cases(connection, runs)]
        await connection.close()
        print(f"{len(runs)} runs, {len(self.ledger.calls)} calls, {len(client.sightings)} sightings")
        print(dict(Counter(run.status for run in runs)))
        return violations

    @asynccontextmanager
    async def load(self) -> AsyncIterator[list[Trigger]]:
        """Clients that start runs in the meantime; the list holds what they sent, and is whole at the end."""
        stop = asyncio.Event()
        first = len(self.client.triggers)
        sent: list[Trigger] = []
        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(self.client.drive(0.2, stop))
            try:
                yield sent
            finally:
                stop.set()
        sent += self.client.triggers[first:]

    async def prove(self) -> None:
        """All that was accepted has ended as it should."""
        await self.fleet.ready()
        await self.settle(90)
        violations = await self.check(200)
        assert not violations, "\n".join(map(str, violations[:20]))

    async def _drain(self, count: str, seconds: float) -> None:
        """Wait until a count is 0."""
        connection = await asyncpg.connect(self.fleet.postgres.url)
        try:
            async with asyncio.timeout(seconds):
                while await connection.fetchval(count):  # noqa: ASYNC110 — nothing tells us
                    await asyncio.sleep(0.1)
        finally:
            await connection.close()

    async def _check_cases(self, connection: asyncpg.Connection, runs: Sequence[Run]) -> list[Violation]:
        calls: dict[str, list[Call]] = defaultdict(list)
        for call in self.ledger.calls:
            calls[call.run].append(call)
        sightings: dict[str, list[Sighting]] = defaultdict(list)
        for sighting in self.client.sightings:
            sightings[sighting.run].append(sighting)
        triggers = {trigger.marker: trigger for trigger in self.client.triggers}
        violations: list[Violation] = []
        for start in range(0, len(runs), _BATCH):
            batch = runs[start : start + _BATCH]
            steps = await steps_of(connection, batch)
            for run in batch:
                case = Case(run, triggers.get(run.marker or 0), steps[run.id], calls[run.id], sightings[run.id])
                violations += check_case(self.client.shapes[run.shape], case)
        return violations


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for a condition, and fail if it does not come true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 — nothing tells us
            await asyncio.sleep(0.02)


@asynccontextmanager
async def scene(folder: Path, seed: int, **env: str) -> AsyncIterator[Scene]:
    """Start everything; ``env`` goes to the services."""
    async with (
        Ledger.serving(Random(seed)) as ledger,
        Fleet.running(folder / "fleet", Random(seed), EDGEWISE_EGRESS_ALLOW=ledger.address, **env) as fleet,
        Client.of(fleet.url, fleet.token, Random(seed)) as client,
    ):
        yield Scene(fleet, ledger, client)
