"""The database in memory and PostgreSQL side by side: each call goes to both, and they must agree.

Time is the memory's: what is due, silent or sent long ago there is made so in PostgreSQL before a duty looks at it.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from shared.advances import Advance, Key
from shared.lanes import Reference
from shared.store import advance as store
from shared.store import duties, taken
from shared.store.advance import Committed
from shared.store.cancel import cancel_runs, settle_ended
from shared.store.taken import Loaded
from tests.engine import Flow, start_run
from tests.property.simulation_clock import VirtualClock
from tests.property.simulation_database import Memory

T = TypeVar("T")
_TABLES = {
    "runs": "SELECT id, status, open_steps, seq, outcome, error_message, output FROM runs",
    "open_steps": "SELECT run_id, node_id, item, status, attempt, claim_id, incarnation_id, sent_at IS NOT NULL, sends,"
    " crashes, fired, claim_first, stop, wake, waits FROM open_steps",
    "steps": "SELECT run_id, node_id, item, attempt, seq, status, handle, output, error FROM steps",
    "joins": "SELECT run_id, node_id, item, arrived, fired FROM joins",
    "iterations": "SELECT run_id, node_id, item, started, halts, finished, failed, stopped FROM iterations",
    "items": "SELECT run_id, node_id, item, place, open_steps, ended, error FROM items",
}


class Twin(Memory):
    """A `Memory` that PostgreSQL follows."""

    def __init__(self, loop: asyncio.AbstractEventLoop, connection: asyncpg.Connection, flow: Flow) -> None:
        super().__init__(VirtualClock())
        self._loop = loop
        self._connection = connection
        self._flow = flow

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    def _execute(self, statement: str, *args: Any) -> None:
        self._do(self._connection.execute(statement, *args))

    def start_run(self, run_id: UUID, trigger: str) -> Reference:
        return super().start_run(self._do(start_run(self._connection, self._flow)), trigger)

    def cancel(self, run_id: UUID) -> None:
        super().cancel(run_id)
        self._do(cancel_runs(self._connection, [run_id]))
        self.compare()

    def register(self, incarnation: UUID) -> None:
        super().register(incarnation)
        self._execute("INSERT INTO incarnations (id, host, pid) VALUES ($1, 'h', 1)", incarnation)

    def retire(self, incarnation: UUID) -> None:
        super().retire(incarnation)
        self._execute("UPDATE incarnations SET dead_at = now() WHERE id = $1", incarnation)

    def load_ready(self, reference: Reference) -> Loaded | None:
        loaded = super().load_ready(reference)
        there = self._do(taken.load_ready(self._connection, [reference]))
        assert _essence(loaded) == _essence(next(iter(there.values()), None))
        return loaded

    def claim(self, reference: Reference, claim_id: UUID, incarnation: UUID) -> Loaded | None:
        loaded = super().claim(reference, claim_id, incarnation)
        there = self._do(taken.claim(self._connection, [(reference, claim_id)], incarnation))
        assert _essence(loaded) == _essence(next(iter(there.values()), None))
        self.compare()
        return loaded

    def release(self, claims: Iterable[UUID], incarnation: UUID) -> None:
        claims = list(claims)
        super().release(claims, incarnation)
        self._do(taken.release(self._connection, claims, incarnation))
        self.compare()

    def still_mine(self, claims: Iterable[UUID], incarnation: UUID) -> set[UUID]:
        claims = list(claims)
        mine = super().still_mine(claims, incarnation)
        assert mine == self._do(store.still_mine(self._connection, claims, incarnation))
        return mine

    def outputs(self, wanted: Sequence[Key]) -> dict[Key, str]:
        found = super().outputs(wanted)
        assert found == self._do(taken.outputs(self._connection, wanted))
        return found

    def commit(self, advances: Sequence[Advance], incarnation: UUID) -> Committed:
        committed = super().commit(advances, incarnation)
        there = self._do(self._commit(advances, incarnation))
        assert committed.held == there.held
        assert _bells(committed) == _bells(there)
        assert {(one.run_id, one.status) for one in committed.ended} == {
            (one.run_id, one.status) for one in there.ended
        }
        self.compare()
        return committed

    async def _commit(self, advances: Sequence[Advance], incarnation: UUID) -> Committed:
        async with self._connection.transaction():
            committed = await store.commit(self._connection, advances, incarnation)
            await store.follow_up(self._connection, advances, committed)
        return committed

    def rescue(self) -> None:
        silent = [one for one, beat in self.heartbeats.items() if beat < self.clock.seconds - 6]
        super().rescue()
        self._execute("UPDATE incarnations SET heartbeat_at = now() - (id = ANY ($1))::int * interval '1 h'", silent)
        self._do(self._rescue())
        self.compare()

    async def _rescue(self) -> None:
        await duties.rescue(self._connection, judge=True, lease=6.0, limit=500)
        await settle_ended(self._connection, await duties.lost_of_ended(self._connection, 500))

    def wake_due(self) -> list[Reference]:
        due = [
            row.key
            for row in self.open.values()
            if row.status == "waiting" and row.due_at is not None and row.due_at <= self.clock.seconds
        ]
        sent = super().wake_due()
        for key in due:
            self._execute("UPDATE open_steps SET due_at = now() WHERE (run_id, node_id, item) = ($1, $2, $3)", *key)
        bells = self._do(duties.wake_due(self._connection, 500))
        assert sorted(bell.reference for bell in bells) == sorted(sent)
        self.compare()
        return sent

    def top_up(self) -> list[Reference]:
        sent = super().top_up()
        there = self._do(duties.top_up(self._connection, window=10_000, limit=5_000))
        self._do(settle_ended(self._connection, there.ended))
        assert sorted(bell.reference for bell in there.doorbells) == sorted(sent)
        self.compare()
        return sent

    def resend(self) -> list[Reference]:
        for row in self.open.values():
            if row.sent_at is not None:
                age = self.clock.seconds - row.sent_at
                self._execute(
                    "UPDATE open_steps SET sent_at = now() - $4 * interval '1 second'"
                    " WHERE (run_id, node_id, item) = ($1, $2, $3)",
                    *row.key,
                    age,
                )
        sent = super().resend()
        never = [float("inf")] * 3
        there = self._do(duties.resend(self._connection, limit=500, queued_since=never, bulk_since=never))
        self._do(settle_ended(self._connection, there.ended))
        assert sorted(bell.reference for bell in there.doorbells) == sorted(sent)
        self.compare()
        return sent

    def compare(self) -> None:
        """Every row is the same in both."""
        here = self._rows_here()
        for table, query in _TABLES.items():
            there = {tuple(record.values()) for record in self._do(self._connection.fetch(query))}
            assert there - here[table] == here[table] - there, (table, there - here[table], here[table] - there)

    def _rows_here(self) -> dict[str, set[tuple[Any, ...]]]:
        return {
            "runs": {
                (run.id, run.status, run.open_steps, run.seq, run.outcome, run.error_message, run.output)
                for run in self.runs.values()
            },
            "open_steps": {
                (
                    *(*row.key, row.status, row.attempt, row.claim_id, row.incarnation, row.sent_at is not None),
                    *(row.sends, row.crashes, row.fired, row.claim_first, row.stop, row.wake, row.waits),
                )
                for row in self.open.values()
            },
            "steps": {
                (*key, row.seq, row.status, row.handle, row.output, row.error) for key, row in self.steps.items()
            },
            "joins": {(*key, *counts) for key, counts in self.joins.items()},
            "iterations": {
                (*key, one.started, one.halts, one.finished, one.failed, one.stopped)
                for key, one in self.iterations.items()
            },
            "items": {
                (*key, place, one.open_steps[place], one.ended[place], one.errors[place])
                for key, one in self.iterations.items()
                for place in range(len(one.values))
            },
        }


def _essence(loaded: Loaded | None) -> tuple[Any, ...] | None:
    """What a walk depends on."""
    if loaded is None:
        return None
    return (*loaded[:8], loaded.ending, loaded.brought)


def _bells(committed: Committed) -> set[Reference]:
    return {bell.reference for bell in committed.bells}
