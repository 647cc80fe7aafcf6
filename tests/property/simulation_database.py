"""The database as the engine uses it, in memory: what the statements of advances, claims, rescue and waits do.

Written from what `shared/schema.sql` promises and not for speed; `test_simulation_fidelity.py` holds it against
PostgreSQL. Each method is one transaction.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from shared.advances import Advance, ItemFailure, Key
from shared.graph.paths import child, split
from shared.lanes import Reference
from shared.store.advance import Committed
from shared.store.taken import ItemValue, Loaded
from tests.property.simulation_clock import VirtualClock
from tests.property.simulation_commit import Commit
from tests.property.simulation_tables import Iteration, Open, Run, Settled

#: Seconds without a heartbeat after which a worker counts as dead.
LEASE: Final = 6.0
#: Told of a step that became ready.
Ring = Callable[[Key], None]


class Memory:
    """The tables, and a method for each statement."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.runs: dict[UUID, Run] = {}
        self.open: dict[Key, Open] = {}
        self.steps: dict[tuple[UUID, str, str, int], Settled] = {}
        self.joins: dict[Key, tuple[int, int]] = {}
        self.iterations: dict[Key, Iteration] = {}
        self.heartbeats: dict[UUID, float] = {}
        self.dead: set[UUID] = set()

    # What the api does.

    def start_run(self, run_id: UUID, trigger: str) -> Reference:
        """Accept a trigger; gives the message that is sent."""
        self.runs[run_id] = Run(run_id)
        key = (run_id, trigger, "-")
        self.open[key] = Open(key, claim_first=False, sent_at=self.clock.seconds, sends=1)
        return Reference(*key, claim=False)

    def cancel(self, run_id: UUID) -> None:
        """Cancel a run."""
        self._end(run_id, cancel=True)

    def _end(self, run_id: UUID, *, cancel: bool) -> None:
        run = self.runs[run_id]
        if run.is_terminal or not (cancel or run.outcome is not None):
            return
        gone = []
        for row in self.rows(run_id):
            if row.status == "running" and self._lives(row.incarnation):
                row.stop = row.stop or cancel
            else:
                gone.append(row)
        run.outcome = run.outcome or "cancelled"
        self.cancel_rows(gone, run.seq)
        run.seq += len(gone)
        self.close(run, -len(gone))

    # What workers do.

    def register(self, incarnation: UUID) -> None:
        """A worker starts."""
        self.heartbeats[incarnation] = self.clock.seconds

    def beat(self, incarnation: UUID) -> bool:
        """Extend a lease; False if the incarnation was declared dead."""
        if not self._lives(incarnation):
            return False
        self.heartbeats[incarnation] = self.clock.seconds
        return True

    def retire(self, incarnation: UUID) -> None:
        """A worker ends in good order."""
        self.dead.add(incarnation)

    def held(self, incarnation: UUID) -> dict[UUID, bool]:
        """The claims of an incarnation, and whether each is to be stopped."""
        return {row.claim_id: row.stop for row in self.open.values() if row.claim_id and row.incarnation == incarnation}

    def load_ready(self, reference: Reference) -> Loaded | None:
        """Read a ready step."""
        row = self.open.get(_key(reference))
        return self._loaded(row) if row is not None and row.status == "ready" else None

    def claim(self, reference: Reference, claim_id: UUID, incarnation: UUID) -> Loaded | None:
        """Take a ready step."""
        row = self.open.get(_key(reference))
        if row is None or row.status != "ready":
            return None
        row.status, row.claim_id, row.incarnation = "running", claim_id, incarnation
        return self._loaded(row)

    def release(self, claims: Iterable[UUID], incarnation: UUID) -> None:
        """Give claims back."""
        wanted = set(claims)
        for row in self.open.values():
            if row.claim_id in wanted and row.incarnation == incarnation:
                row.give_back(crashed=False)

    def still_mine(self, claims: Iterable[UUID], incarnation: UUID) -> set[UUID]:
        """Which of these claims are in force."""
        return set(claims) & set(self.held(incarnation))

    def outputs(self, wanted: Sequence[Key]) -> dict[Key, str]:
        """Outputs of settled steps."""
        rows = ((key[:3], row) for key, row in self.steps.items() if key[:3] in set(wanted))
        return {key: row.output for key, row in rows if row.status in {"success", "failed"} and row.output is not None}

    def item_value(self, key: Key) -> ItemValue:
        """The item at a path of an iterator."""
        run_id, iterator, path = key
        parent, place = split(path)
        iteration = self.iterations[run_id, iterator, parent]
        return ItemValue(iteration.values[place], len(iteration.values))

    def commit(self, advances: Sequence[Advance], incarnation: UUID) -> Committed:
        """Write a batch of advances."""
        return Commit(self, advances, incarnation, self.clock).done()

    # What schedulers do.

    def rescue(self) -> None:
        """Declare silent workers dead, and give back what dead ones hold."""
        now = self.clock.seconds
        self.dead |= {one for one, beat in self.heartbeats.items() if beat < now - LEASE}
        for row in self.open.values():
            if row.status == "running" and not self._lives(row.incarnation) and self._live(row.key[0]):
                row.give_back(crashed=True)
        for run_id in {row.key[0] for row in self.open.values() if row.status == "running"}:
            if any(not self._lives(row.incarnation) for row in self.rows(run_id) if row.status == "running"):
                self._end(run_id, cancel=False)

    def wake_due(self) -> list[Reference]:
        """End waits that are over."""
        due = [
            row
            for row in self.open.values()
            if row.status == "waiting" and row.due_at is not None and row.due_at <= self.clock.seconds
        ]
        for row in due:
            if row.waits != "retry":
                row.wake = "timer"
            self._send(row, waits=None)
        return [Reference(*row.key, claim=row.claim_first) for row in due]

    def top_up(self) -> list[Reference]:
        """Send what is unsent."""
        sent = []
        for row in [row for row in self.open.values() if row.status == "ready" and row.sent_at is None]:
            row.sent_at, row.sends = self.clock.seconds, row.sends + 1
            if self._live(row.key[0]):
                sent.append(Reference(*row.key, claim=row.claim_first or row.sends > 1))
        self._settle_ended()
        return sent

    def resend(self) -> list[Reference]:
        """Send again what was sent long ago."""
        sent = []
        for row in self.open.values():
            pause = min(300.0, 5.0 * 2 ** min(max(row.sends - 1, 0), 8))
            if row.status == "ready" and row.sent_at is not None and row.sent_at < self.clock.seconds - pause:
                row.sent_at, row.sends = self.clock.seconds, row.sends + 1
                sent.append(Reference(*row.key, claim=True))
        ended = {reference.run_id for reference in sent if not self._live(reference.run_id)}
        for run_id in ended:
            self._end(run_id, cancel=False)
        return [reference for reference in sent if reference.run_id not in ended]

    # What they are made of.

    def _settle_ended(self) -> None:
        for run_id in {row.key[0] for row in self.open.values() if row.status == "ready"}:
            if not self._live(run_id):
                self._end(run_id, cancel=False)

    def _live(self, run_id: UUID) -> bool:
        return self.runs[run_id].outcome is None

    def _lives(self, incarnation: UUID | None) -> bool:
        return incarnation in self.heartbeats and incarnation not in self.dead

    def _send(self, row: Open, *, waits: str | None) -> None:
        row.status, row.waits, row.sent_at, row.sends = "ready", waits, self.clock.seconds, 1

    def _loaded(self, row: Open) -> Loaded:
        run = self.runs[row.key[0]]
        values: dict[str, Any] = dict.fromkeys(Loaded._fields)
        values |= {
            "run_id": row.key[0],
            "node_id": row.key[1],
            "item": row.key[2],
            "claim_id": row.claim_id,
            "attempt": row.attempt,
            "fired": row.fired,
            "wake": row.wake,
            "crashes": row.crashes,
            "workspace_id": row.key[0],
            "workflow_id": row.key[0],
            "version": 1,
            "trigger_type": "manual",
            "trigger_payload": run.payload,
            "created_at": self.clock.now(),
            "started_at": self.clock.now(),
            "priority": 1,
            "ending": run.outcome is not None,
            "brought": self._stopping_error(row.key) if row.wake == "stopped" else None,
            "slots": 0,
            "depth": 0,
        }
        return Loaded(**values)

    def _stopping_error(self, key: Key) -> str:
        errors = self.iterations[key].errors
        place = next(place for place, error in enumerate(errors) if error is not None)
        return f'{{"index":{place},"error":{errors[place]}}}'

    # What commits are made of.

    def rows(self, run_id: UUID) -> list[Open]:
        """A run's open steps, in the order of their keys."""
        return [row for key, row in sorted(self.open.items()) if key[0] == run_id]

    def insert(self, row: Open) -> None:
        """Open a step."""
        assert row.key not in self.open, f"{row.key} is open already"
        self.open[row.key] = row

    def record(self, key: tuple[UUID, str, str, int], row: Settled) -> None:
        """Settle an attempt."""
        assert key not in self.steps, f"a second result of {key}"
        self.steps[key] = row

    def cancel_rows(self, rows: Sequence[Open], seq: int) -> None:
        """Record open steps as cancelled; the start of an item is no step of its own."""
        place = 0
        for row in rows:
            del self.open[row.key]
            if row.wake != "item":
                self.record((*row.key, row.attempt), Settled(seq + place, "cancelled"))
                place += 1

    def close(self, run: Run, delta: int) -> None:
        """Change the counter of open steps; at 0 the run is terminal."""
        run.open_steps += delta
        if run.open_steps == 0:
            run.outcome = run.outcome or ("completed" if run.error_message is None else "failed")
            run.status = run.outcome

    def settle_item(self, key: Key, place: int, delta: int, ring: Ring) -> bool:
        """Count steps of an item; behind its last one another item starts (True then) or the iterator goes on."""
        iteration = self.iterations[key]
        iteration.open_steps[place] += delta
        if iteration.open_steps[place]:
            return False
        iteration.finished += 1
        iteration.failed += iteration.errors[place] is not None
        if not iteration.stopped and iteration.started < len(iteration.values):
            return self._start_item(key, iteration, ring)
        waiting = self.open.get(key)
        if iteration.finished == iteration.started and waiting is not None and waiting.status == "waiting":
            waiting.wake, waiting.claim_first = "stopped" if iteration.stopped else "items", False
            self._send(waiting, waits=None)
            ring(key)
        return False

    def _start_item(self, key: Key, iteration: Iteration, ring: Ring) -> bool:
        place = iteration.started
        iteration.started += 1
        iteration.open_steps[place] = 1
        if key not in self.open:  # the item that the iterator itself lies in has ended
            return False
        path = (key[0], key[1], child(key[2], place))
        self.insert(Open(path, claim_first=False, wake="item", sent_at=self.clock.seconds, sends=1))
        ring(path)
        return True

    def fail_item(self, key: Key, place: int, failure: ItemFailure, ring: Ring) -> None:
        """An item failed: what is open of it ends, or of all items if the iterator halts then."""
        run, iteration = self.runs[key[0]], self.iterations[key]
        root = key[2] if iteration.halts else child(key[2], place)
        iteration.errors[place] = failure.error
        for other in range(len(iteration.values)):
            if other == place or (iteration.halts and iteration.open_steps[other] > 0):
                iteration.ended[other] = True
        for inner, nested in self.iterations.items():
            if inner[0] == key[0] and inner[1] in failure.body:
                for other in range(len(nested.values)):
                    if _lies_under(child(inner[2], other), root):
                        nested.ended[other] = True
        iteration.stopped = iteration.stopped or iteration.halts
        inside = {*failure.body, key[1]}
        rows = [row for row in self.rows(key[0]) if row.key[1] in inside and row.key[2] != key[2]]
        rows = [row for row in rows if _lies_under(row.key[2], root)]
        gone = sorted((row for row in rows if row.status != "running"), key=lambda row: (row.key[2], row.key[1]))
        self.cancel_rows(gone, run.seq)
        run.open_steps -= len(gone)
        run.seq += len(gone)
        for row in rows:
            row.stop = row.stop or row.status == "running"
        for other in range(len(iteration.values)):
            self._recount(key, iteration, other, inside, ring)

    def _recount(self, key: Key, iteration: Iteration, place: int, inside: set[str], ring: Ring) -> None:
        if iteration.ended[place] and iteration.open_steps[place] > 0:
            path = child(key[2], place)
            left = sum(row.key[1] in inside and row.key[2] == path for row in self.rows(key[0]))
            starts_another = self.settle_item(key, place, left - iteration.open_steps[place], ring)
            self.runs[key[0]].open_steps += starts_another


def _key(reference: Reference) -> Key:
    return reference.run_id, reference.node_id, reference.item


def _lies_under(item: str, root: str) -> bool:
    return root in {"-", item} or item.startswith(f"{root}.")
