"""A simulated worker: what `worker.executor.Executor` does, one await at a time, around the real `Walk`."""

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from uuid import UUID

from shared.advances import Advance, Key
from shared.errors import StepFailedError
from shared.graph.catalogue import Mode
from shared.graph.paths import at_depth, depth, split
from shared.jsontext import decode
from shared.lanes import Reference
from shared.nodes.base import Outcome
from shared.states import StepStatus
from shared.store.advance import Committed
from shared.store.taken import Loaded
from tests.property.simulation_clock import VirtualClock
from tests.property.simulation_database import LEASE, Memory
from worker.commits import next_batch
from worker.plans import Blueprint
from worker.walk import Next, Tools, Walk

#: The most advances of one batch; small, so that batches are cut.
_LIMIT: Final = 4


class Surroundings(Protocol):
    """What a worker lives in."""

    clock: VirtualClock
    database: Memory
    blueprint: Blueprint
    tools: Tools

    def new_id(self) -> UUID:
        """A fresh id."""
        ...

    def send(self, reference: Reference) -> None:
        """Put a message into the queue."""
        ...

    def starts(self, carry: "Carry") -> None:
        """Judge an effect that starts now."""
        ...


@dataclass(eq=False)
class Carry:
    """One reference's way through a worker.

    ``phase``: ``claim`` or ``load``, then ``read``, then ``start`` and ``effect`` or ``commit``, by turns.
    """

    reference: Reference
    phase: str
    claim_id: UUID | None = None
    loaded: Loaded | None = None
    walk: Walk | None = None
    following: Next | None = None
    ended: Outcome | StepFailedError | None = None
    known: set[Key] = field(default_factory=set)


@dataclass(eq=False)
class Request:
    """A batch of advances on its way to the database, and perhaps carried out already."""

    batch: list[tuple[Advance, Any]]
    uncertain: bool = False

    @property
    def advances(self) -> list[Advance]:
        return [advance for advance, _ in self.batch]


class Worker:
    """A process: its incarnation, the claims it knows of, and what it carries."""

    def __init__(self, world: Surroundings) -> None:
        self._world = world
        self.keep_going = True
        self.carries: list[Carry] = []
        self.held: dict[UUID, bool] = {}
        self.flight: Request | None = None
        self.waiting: deque[Any] = deque()
        self.incarnation: UUID
        self.last_beat: float
        self._begin()

    def _begin(self) -> None:
        self.incarnation = self._world.new_id()
        self._world.database.register(self.incarnation)
        self.last_beat = self._world.clock.seconds

    @property
    def is_fresh(self) -> bool:
        """Whether an effect may start."""
        return self._world.clock.seconds - self.last_beat < LEASE / 2

    def take(self, reference: Reference) -> None:
        """A message arrives."""
        if not self.keep_going:
            self._world.send(reference)
        elif reference.claim:
            claim_id = self._world.new_id()
            self.held[claim_id] = False
            self.carries.append(Carry(reference, "claim", claim_id))
        else:
            self.carries.append(Carry(reference, "load"))

    def runnable(self) -> list[Carry]:
        """What can go on without waiting for anything."""
        return [
            carry for carry in self.carries if carry.phase != "commit" and (carry.phase != "start" or self.is_fresh)
        ]

    def step(self, carry: Carry, *, lose: bool = False) -> None:
        """Go on to the next await; with ``lose`` the answer of a claim does not arrive."""
        {
            "claim": lambda: self._claim(carry, lose=lose),
            "load": lambda: self._load(carry),
            "read": lambda: self._read(carry),
            "start": lambda: self._start(carry),
            "effect": lambda: self._settle(carry),
        }[carry.phase]()

    def _claim(self, carry: Carry, *, lose: bool) -> None:
        assert carry.claim_id is not None
        carry.loaded = self._world.database.claim(carry.reference, carry.claim_id, self.incarnation)
        if carry.loaded is None or lose:
            self._leave(carry)
        else:
            if carry.claim_id in self.held:
                self.held[carry.claim_id] = True
            carry.phase = "read"

    def _load(self, carry: Carry) -> None:
        carry.loaded = self._world.database.load_ready(carry.reference)
        if carry.loaded is None:
            self._leave(carry)
        else:
            carry.phase = "read"

    def _read(self, carry: Carry) -> None:
        assert carry.loaded is not None
        carry.known = {key[:3] for key, row in self._world.database.steps.items() if row.status != "retried"}
        walk = carry.walk = Walk(carry.loaded, self._world.blueprint, self._context(carry.loaded), self._world.tools)
        effect = walk.plan_node.mode is Mode.EFFECT and carry.loaded.fired and not carry.loaded.ending
        if carry.claim_id is not None and effect:
            carry.following = Next(walk.plan_node, carry.claim_id, carry.loaded.attempt)
            carry.phase = "start"
        else:
            walk.start()
            self._enqueue(carry)

    def _context(self, loaded: Loaded) -> dict[str, Any]:
        """As `worker.reader.Reader.context`, without what iterators gave out."""
        plan = self._world.blueprint.plan
        needs = plan.needs(loaded.node_id)
        around = plan.nodes[loaded.node_id].scope
        if depth(loaded.item) > len(around):
            around = (*around, loaded.node_id)
        keys = [
            (loaded.run_id, name, at_depth(loaded.item, len(plan.nodes[name].scope)))
            for name in needs
            if plan.nodes[name].mode is not Mode.ITERATE
        ]
        found = self._world.database.outputs(keys)
        context: dict[str, Any] = dict.fromkeys(needs)
        context.update((key[1], decode(text)) for key, text in found.items())
        for level, iterator in enumerate(around, 1):
            path = at_depth(loaded.item, level)
            value = self._world.database.item_value((loaded.run_id, iterator, path))
            context[iterator] = {"item": decode(value.value), "index": split(path)[1], "count": value.total}
        return context

    def _start(self, carry: Carry) -> None:
        if carry.claim_id not in self.held:
            self._leave(carry)
            return
        self._world.starts(carry)
        carry.phase = "effect"

    def _settle(self, carry: Carry) -> None:
        assert carry.walk is not None
        assert carry.ended is not None
        carry.walk.settle(carry.ended, 0.0)
        self._enqueue(carry)

    def _enqueue(self, carry: Carry) -> None:
        assert carry.walk is not None
        advance, carry.following = carry.walk.advance(keep_going=self.keep_going)
        if carry.following is not None:
            self.held[carry.following.claim_id] = False
        carry.phase = "commit"
        self.waiting.append((advance, carry))

    def flush(self) -> None:
        """Send the next batch, unless one is in flight."""
        if self.flight is None and self.waiting:
            self.flight = Request(next_batch(self.waiting, _LIMIT))

    def land(self, *, lose: bool = False) -> None:
        """The batch in flight is carried out; with ``lose`` its answer does not arrive and it is sent again."""
        assert self.flight is not None
        request, database = self.flight, self._world.database
        committed = database.commit(request.advances, self.incarnation)
        if lose:
            request.uncertain = True
            return
        self.flight = None
        for bell in committed.bells:
            if self.keep_going and not bell.new:
                self.carries.append(Carry(bell.reference, "load"))
            else:
                self._world.send(bell.reference)
        mine = self._mine(request, committed) if request.uncertain else set()
        for unit, (advance, carry) in enumerate(request.batch):
            written = unit in committed.held or advance.next_claim in mine
            self._written(carry, advance, written=written and committed.held.get(unit, True))

    def _mine(self, request: Request, committed: Committed) -> set[UUID]:
        claims = [
            advance.next_claim
            for unit, advance in enumerate(request.advances)
            if unit not in committed.held and advance.next_claim is not None
        ]
        return self._world.database.still_mine(claims, self.incarnation)

    def _written(self, carry: Carry, advance: Advance, *, written: bool) -> None:
        if advance.next_claim is not None:
            if not written:
                self.held.pop(advance.next_claim, None)
            elif advance.next_claim in self.held:
                self.held[advance.next_claim] = True
        if written:
            for opening in advance.openings:
                if opening.status == StepStatus.READY:
                    self._world.send(Reference(advance.run_id, opening.node_id, opening.item, opening.claim_first))
        if carry.claim_id is not None:
            self.held.pop(carry.claim_id, None)
        if written and carry.following is not None:
            carry.claim_id, carry.phase = carry.following.claim_id, "start"
        else:
            self.carries.remove(carry)

    def beat(self) -> None:
        """Extend the lease, and compare what the database says with memory; or begin anew."""
        database = self._world.database
        if not database.beat(self.incarnation):
            self.carries = [carry for carry in self.carries if carry.phase != "effect"]
            self.held.clear()
            self._begin()
            return
        self.last_beat = self._world.clock.seconds
        held = database.held(self.incarnation)
        for carry in [carry for carry in self.carries if carry.phase == "effect" and carry.claim_id in self.held]:
            if held.get(carry.claim_id, False):  # type: ignore[arg-type]
                self._stop(carry)
            elif carry.claim_id not in held:
                self._leave(carry)
        unknown = [claim_id for claim_id in held if claim_id not in self.held]
        if unknown:
            database.release(unknown, self.incarnation)

    def _stop(self, carry: Carry) -> None:
        assert carry.walk is not None
        carry.walk.cancel(0.0)
        self._enqueue(carry)

    def hand_over(self) -> None:
        """The end of a grace period: what is held is given back, and the process ends."""
        while self.waiting or self.flight is not None:
            self.flush()
            self.land()
        self._world.database.release(list(self.held), self.incarnation)
        self._world.database.retire(self.incarnation)

    def _leave(self, carry: Carry) -> None:
        if carry.claim_id is not None:
            self.held.pop(carry.claim_id, None)
        self.carries.remove(carry)
