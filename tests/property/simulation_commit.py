"""The commit of a batch of advances, in the tables of `simulation_database.Memory`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from shared.advances import Advance, Arrival, Key
from shared.graph.advance import Verdict, resolve
from shared.graph.paths import split
from shared.lanes import Doorbell, Reference
from shared.store.advance import Committed, Ended
from tests.property.simulation_clock import VirtualClock
from tests.property.simulation_tables import Iteration, Open, Run, Settled

if TYPE_CHECKING:
    from tests.property.simulation_database import Memory


class Commit:
    """One batch, from its guards to the ends of its runs."""

    def __init__(self, memory: "Memory", advances: Sequence[Advance], incarnation: UUID, clock: VirtualClock) -> None:
        self._memory = memory
        self._advances = advances
        self._incarnation = incarnation
        self._clock = clock
        self._committed = Committed({}, *([] for _ in Committed._fields[1:]))
        self._won: list[int] = []
        self._live: set[int] = set()
        #: By unit: joins and items it opened beside its own openings.
        self._more = dict.fromkeys(range(len(advances)), 0)

    def done(self) -> Committed:
        """Write it; gives what a worker hears of it."""
        order = sorted(range(len(self._advances)), key=lambda unit: _order(self._advances[unit]))
        alive = {advance.run_id: self._run(advance).outcome is None for advance in self._advances}
        for unit in order:
            self._guard(unit, alive=alive[self._advances[unit].run_id])
        for run_id in dict.fromkeys(self._advances[unit].run_id for unit in self._won):
            units = [unit for unit in order if self._advances[unit].run_id == run_id]
            self._write(self._memory.runs[run_id], units)
        for unit in self._won:
            self._follow_up(unit)
        return self._committed

    def _guard(self, unit: int, *, alive: bool) -> None:
        advance = self._advances[unit]
        row = self._memory.open.get((advance.run_id, advance.node_id, advance.item))
        if row is None or not _is_held(row, advance):
            return
        del self._memory.open[row.key]
        self._won.append(unit)
        if alive and advance.iterator is not None:
            parent, place = split(advance.item)
            alive = not self._memory.iterations[advance.run_id, advance.iterator, parent].ended[place]
        if alive:
            self._live.add(unit)
        self._committed.held[unit] = alive

    def _write(self, run: Run, units: Sequence[int]) -> None:
        """All that the units of one run do to it, before the follow-ups."""
        first, offsets = run.seq, self._offsets(units)
        won = [unit for unit in units if unit in self._won]
        for unit in won:
            self._record(unit, first + offsets[unit])
            if unit in self._live:
                self._open(unit)
        self._arrive([unit for unit in won if unit in self._live])
        last = won[-1]
        run.seq = first + offsets[last] + len(self._advances[last].results)
        gone = self._end(run, won)
        for unit in won:
            self._settle_items(unit)
        delta = sum(self._more[unit] - 1 for unit in won)
        delta += sum(len(self._advances[unit].openings) for unit in won if unit in self._live)
        self._decide(run, [self._advances[unit] for unit in won if unit in self._live])
        run.status = "running"
        self._memory.close(run, delta - gone)
        if run.is_terminal:
            self._committed.ended.append(Ended(run.id, run.status, "manual", 0.0, run.status == "failed"))

    def _offsets(self, units: Sequence[int]) -> dict[int, int]:
        """By unit, how many results stand before its own; those of units that lost count too."""
        offsets, place = {}, 0
        for unit in units:
            offsets[unit] = place
            place += len(self._advances[unit].results)
        return offsets

    def _record(self, unit: int, seq: int) -> None:
        run_id, live = self._advances[unit].run_id, unit in self._live
        for place, result in enumerate(self._advances[unit].results):
            if live or result.own:
                status = "failed" if result.status == "retried" and not live else str(result.status)
                key = (run_id, result.node_id, result.item, result.attempt)
                self._memory.record(key, Settled(seq + place, status, result.handle, result.output, result.error))

    def _open(self, unit: int) -> None:
        for opening in self._advances[unit].openings:
            row = Open(
                (self._advances[unit].run_id, opening.node_id, opening.item),
                str(opening.status),
                opening.attempt,
                opening.claim_id,
                self._incarnation if opening.claim_id else None,
                due_at=None if opening.due_at is None else self._clock.seconds_of(opening.due_at),
                claim_first=opening.claim_first,
                wake=opening.wake,
                waits=opening.waits,
            )
            if row.status == "ready":
                row.sent_at, row.sends = self._clock.seconds, 1
            self._memory.insert(row)

    def _arrive(self, units: Sequence[int]) -> None:
        """Count the arrivals at joins, those of all units together; the addition that decides one opens it."""
        arrivals: dict[Key, list[tuple[int, Arrival]]] = {}
        for unit in units:
            for arrival in self._advances[unit].arrivals:
                key = (self._advances[unit].run_id, arrival.node_id, arrival.item)
                arrivals.setdefault(key, []).append((unit, arrival))
        for key, added in arrivals.items():
            arrived, fired = sum(one.arrived for _, one in added), sum(one.fired for _, one in added)
            before = self._memory.joins.get(key, (0, 0))
            counts = self._memory.joins[key] = before[0] + arrived, before[1] + fired
            verdict = resolve(added[0][1].degree, added[0][1].need, *counts, arrived, fired)
            if verdict is not Verdict.NONE:
                row = Open(key, fired=verdict is Verdict.RUN, claim_first=False, sent_at=self._clock.seconds, sends=1)
                self._memory.insert(row)
                self._more[added[0][0]] += 1
                self._ring(key)

    def _end(self, run: Run, won: Sequence[int]) -> int:
        """The unit that ends its run takes what is not in flight with it; gives how many steps."""
        gone: list[Open] = []
        for unit in won:
            if unit in self._live and self._advances[unit].outcome is not None:
                rows = self._memory.rows(run.id)
                gone = [row for row in rows if row.status != "running"]
                self._memory.cancel_rows(gone, run.seq)
                for row in rows:
                    row.stop = row.stop or (row.status == "running" and self._advances[unit].abort)
        run.seq += len(gone)
        return len(gone)

    def _settle_items(self, unit: int) -> None:
        """Count what the unit ended and opened of its item."""
        advance, live = self._advances[unit], unit in self._live
        if advance.iterator is None or (live and advance.ends) or self._run(advance).outcome is not None:
            return
        parent, place = split(advance.item)
        level = sum(opening.item == advance.item for opening in advance.openings) if live else 0
        delta = self._more[unit] - 1 + level
        if delta and self._memory.settle_item((advance.run_id, advance.iterator, parent), place, delta, self._ring):
            self._more[unit] += 1

    def _decide(self, run: Run, live: Sequence[Advance]) -> None:
        for advance in live:
            run.outcome = run.outcome or advance.outcome
            run.error_message = run.error_message or advance.error_message
            run.output = run.output or advance.output

    def _follow_up(self, unit: int) -> None:
        advance = self._advances[unit]
        if unit not in self._live:
            return
        for begun in advance.iterations:
            count = len(begun.contents)
            self._memory.iterations[advance.run_id, begun.node_id, begun.item] = Iteration(
                begun.first,
                begun.halts,
                begun.contents,
                open_steps=[int(place < begun.first) for place in range(count)],
                ended=[False] * count,
                errors=[None] * count,
            )
        if advance.item_failure is not None and advance.iterator is not None:
            parent, place = split(advance.item)
            key = (advance.run_id, advance.iterator, parent)
            self._memory.fail_item(key, place, advance.item_failure, self._ring)

    def _ring(self, key: Key) -> None:
        self._committed.bells.append(Doorbell(Reference(*key, claim=False), 1, new=False))

    def _run(self, advance: Advance) -> Run:
        return self._memory.runs[advance.run_id]


def _order(advance: Advance) -> tuple[int, str, str]:
    return advance.run_id.int, advance.node_id, advance.item


def _is_held(row: Open, advance: Advance) -> bool:
    """Whether an open step is the one an advance holds: under its claim, or ready for the reason it was loaded for."""
    if advance.claim_id is not None:
        return row.claim_id == advance.claim_id
    return row.status == "ready" and row.wake == advance.wake
