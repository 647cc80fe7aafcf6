"""Workers, messages, time and a database that are moved one step at a time, and what must hold after each step."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import count
from random import Random
from typing import Any, Final
from uuid import UUID

from shared.advances import Key
from shared.errors import StepFailedError
from shared.graph.catalogue import Kind, Mode
from shared.graph.paths import at_depth
from shared.lanes import Reference
from tests.engine import LINKS
from tests.property.simulation_clock import VirtualClock
from tests.property.simulation_database import LEASE, Memory
from tests.property.simulation_graphs import FAILS, Shape, expected
from tests.property.simulation_nodes import SimulatedNode
from tests.property.simulation_workers import Carry, Request, Worker
from worker.plans import Blueprint
from worker.walk import Tools

#: Rounds in which everything gets its turn, after which a run that is not terminal is stuck.
_ROUNDS: Final = 300
#: How often each thing happens, of 100 times.
_WEIGHTS: Final = dict(
    zip(
        (
            "deliver",
            "drop",
            "work",
            "flush",
            "land",
            "stray",
            "die",
            "stop",
            "beat",
            "time",
            "stall",
            "duties",
            "cancel",
        ),
        (18, 2, 35, 10, 11, 3, 2, 1, 6, 3, 2, 6, 1),
        strict=True,
    )
)


class World:
    """Several runs of one workflow, several workers, and a queue that loses, repeats and reorders.

    Every method that takes ``pick`` does something with the one of its candidates that the number selects.
    """

    def __init__(self, shape: Shape, *, runs: int = 1, workers: int = 2, database: Memory | None = None) -> None:
        self.shape = shape
        self.clock = database.clock if database else VirtualClock()
        self.database = database or Memory(self.clock)
        self.queue: list[Reference] = []
        self.calls: Counter[tuple[UUID, str, str, int]] = Counter()
        self.cancelled: set[UUID] = set()
        self._strays: list[tuple[Request, UUID]] = []
        self._numbers = count(1)
        self._ended: dict[UUID, tuple[Any, ...]] = {}
        self._misread: list[tuple[str, str, str, Any]] = []
        self.current: Carry
        self.tools = Tools(self.clock, self.new_id, lambda: 0.5, None, LINKS)
        plan = shape.plan
        nodes: Any = {name: SimulatedNode(self, name) for name in plan.nodes}
        self.blueprint = Blueprint(plan, nodes, {"id": "fl_x", "name": "w"}, finish_branches=shape.finish_branches)
        self.workers = [Worker(self) for _ in range(workers)]
        for _ in range(runs):
            self.send(self.database.start_run(self.new_id(), plan.trigger))

    def new_id(self) -> UUID:
        """A fresh id."""
        return UUID(int=next(self._numbers))

    def send(self, reference: Reference) -> None:
        """Put a message into the queue."""
        self.queue.append(reference)

    # What may happen. Each gives whether there was anything to do.

    def deliver(self, pick: int, *, keep: bool = False) -> bool:
        """A worker gets a message, any of the queue; a copy may stay."""
        if not self.queue:
            return False
        place = pick % len(self.queue)
        reference = self.queue[place] if keep else self.queue.pop(place)
        self.workers[pick // 7 % len(self.workers)].take(reference)
        return True

    def drop(self, pick: int) -> bool:
        """A message is lost."""
        if self.queue:
            self.queue.pop(pick % len(self.queue))
        return bool(self.queue)

    def work(self, pick: int, *, lose: bool = False) -> bool:
        """A worker goes on with something until its next await."""
        able = [(worker, carry) for worker in self.workers for carry in worker.runnable()]
        if able:
            worker, self.current = able[pick % len(able)]
            worker.step(self.current, lose=lose)
        return bool(able)

    def flush(self, pick: int) -> bool:
        """A worker sends a batch."""
        able = [worker for worker in self.workers if worker.waiting and worker.flight is None]
        if able:
            able[pick % len(able)].flush()
        return bool(able)

    def land(self, pick: int, *, lose: bool = False) -> bool:
        """A batch reaches the database; its answer may be lost."""
        able = [worker for worker in self.workers if worker.flight is not None]
        if able:
            able[pick % len(able)].land(lose=lose)
        return bool(able)

    def stray(self, pick: int) -> bool:
        """What a dead worker had sent reaches the database."""
        if self._strays:
            request, incarnation = self._strays.pop(pick % len(self._strays))
            self.database.commit(request.advances, incarnation)
            return True
        return False

    def die(self, pick: int) -> None:
        """A worker is killed, and another one starts in its place."""
        worker = self._replaced(pick)
        if worker.flight is not None:
            self._strays.append((worker.flight, worker.incarnation))

    def stop(self, pick: int) -> None:
        """A worker takes nothing new; a second time its grace period ends."""
        place = pick % len(self.workers)
        if self.workers[place].keep_going:
            self.workers[place].keep_going = False
        else:
            self._replaced(pick).hand_over()

    def _replaced(self, pick: int) -> Worker:
        place = pick % len(self.workers)
        old, self.workers[place] = self.workers[place], Worker(self)
        return old

    def beat(self, pick: int) -> None:
        """A worker's heart beats."""
        self.workers[pick % len(self.workers)].beat()

    def pass_time(self, seconds: float) -> None:
        """Time passes, and nobody does anything."""
        self.clock.seconds += seconds

    def rescue(self) -> None:
        """A scheduler looks for dead workers."""
        self.database.rescue()

    def wake(self) -> None:
        """A scheduler ends waits."""
        self.queue += self.database.wake_due()

    def top_up(self) -> None:
        """A scheduler sends what is unsent."""
        self.queue += self.database.top_up()

    def resend(self) -> None:
        """A scheduler sends what was lost."""
        self.queue += self.database.resend()

    def cancel(self, pick: int) -> None:
        """Somebody cancels a run."""
        run_id = list(self.database.runs)[pick % len(self.database.runs)]
        if not self.database.runs[run_id].is_terminal:
            self.cancelled.add(run_id)
        self.database.cancel(run_id)

    def happen(self, random: Random) -> None:
        """Something happens, and what must hold is judged."""
        pick, rare = random.randrange(1000), random.random() < 0.1
        happenings: dict[str, Callable[[], object]] = {
            "deliver": lambda: self.deliver(pick, keep=rare),
            "drop": lambda: self.drop(pick),
            "work": lambda: self.work(pick, lose=rare),
            "flush": lambda: self.flush(pick),
            "land": lambda: self.land(pick, lose=rare),
            "stray": lambda: self.stray(pick),
            "die": lambda: self.die(pick),
            "stop": lambda: self.stop(pick),
            "beat": lambda: self.beat(pick),
            "time": lambda: self.pass_time((0.5, 2.0, 3.5, 30.0)[pick % 4]),
            "stall": self.stall,
            "duties": self.do_duties,
            "cancel": lambda: self.cancel(pick) if rare else None,
        }
        happenings[random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]]()
        self.judge()

    def do_duties(self) -> None:
        """A scheduler does all its duties."""
        self.rescue()
        self.wake()
        self.top_up()
        self.resend()

    def stall(self) -> None:
        """All workers stand still for longer than a lease, and a scheduler notices first."""
        self.pass_time(LEASE + 1)
        self.do_duties()

    def finish(self) -> None:
        """Let everything have its turn until all runs are terminal."""
        for turn in range(_ROUNDS):
            if all(run.is_terminal for run in self.database.runs.values()):
                return
            self.pass_time(1.0 if turn % 4 else 400.0)
            for place, worker in enumerate(self.workers):
                if not worker.keep_going:
                    self.stop(place)
                self.beat(place)
            self.do_duties()
            while self.deliver(0) or self.work(0) or self.flush(0) or self.land(0):
                self.judge()
        raise AssertionError(f"stuck: {list(self.database.open.values())}")

    # What must hold.

    @property
    def item(self) -> str:
        """The item whose steps are walked now."""
        assert self.current.loaded is not None
        return self.current.loaded.item

    def judge_scope(self, node_id: str, item: str, scope: Mapping[str, Any]) -> None:
        """A step sees every result it names that was settled when its walk began, and no other node's.

        What is wrong is kept for `judge`: raised here it would count as a failure of the node.
        """
        assert self.current.loaded is not None
        plan = self.shape.plan
        for name in self.shape.references(node_id):
            seen, other = scope["nodes"].get(name), plan.nodes[name]
            key = (self.current.loaded.run_id, name, at_depth(item, len(other.scope)))
            if other.mode is Mode.ITERATE:
                fits = name not in plan.nodes[node_id].scope or "index" in (seen or {})
            elif key in self.current.known and other.kind is not Kind.TRIGGER:
                fits = seen == self._output(key)
            else:
                fits = seen is None or "error" in seen or seen["node"] == name
            if not fits:
                self._misread.append((node_id, item, name, seen))

    def _output(self, key: Key) -> Any:
        """What a settled step gave out."""
        last = [row for (*other, _), row in self.database.steps.items() if tuple(other) == key][-1]
        return None if last.output is None else json.loads(last.output)

    def starts(self, carry: Carry) -> None:
        """An effect starts: its claim is in force, and what it is built on is durable."""
        assert carry.walk is not None
        assert carry.loaded is not None
        key = (carry.loaded.run_id, carry.walk.plan_node.id, carry.loaded.item)
        row = self.database.open.get(key)
        assert row is not None, f"{key} starts and is not open"
        assert row.claim_id == carry.claim_id, f"{key} starts under a claim that is lost"
        self._judge_built_on(key)
        attempt = carry.walk.step_context().attempt
        assert attempt == 1 or self.database.steps[*key, attempt - 1].status == "retried"
        self.calls[*key, attempt] += 1
        try:
            carry.walk.call().send(None)
        except StopIteration as returned:
            carry.ended = returned.value
        except StepFailedError as error:
            carry.ended = error

    def _judge_built_on(self, key: Key) -> None:
        planned = self.shape.plan.nodes[key[1]]
        settled = {node_id for run_id, node_id, item, _ in self.database.steps if (run_id, item) == (key[0], key[2])}
        before = {raw["source"] for raw in self.shape.edges if raw["target"] == key[1]}
        settled.update(planned.scope)
        assert planned.need or before <= settled, f"{key} starts before {before - settled}"
        assert before & settled, f"{key} starts before anything it is built on"

    def judge(self) -> None:
        """The counters agree with the rows, numbers are given once, and what has ended stays as it is."""
        assert self._misread == []
        database = self.database
        there = Counter(key[0] for key in database.open)
        for run_id, run in database.runs.items():
            assert run.open_steps == there[run_id], f"{run.open_steps} counted, {there[run_id]} there"
            assert run.is_terminal == (run.open_steps == 0)
            rows = {key: row for key, row in database.steps.items() if key[0] == run_id}
            numbers = [row.seq for row in rows.values()]
            assert len(numbers) == len(set(numbers))
            assert all(0 <= number < run.seq for number in numbers)
            results = Counter(key[:3] for key, row in rows.items() if row.status != "retried")
            assert set(results.values()) <= {1}, "a step with two results"
            if run.is_terminal:
                now = (run.status, run.error_message, run.output, run.seq, len(rows))
                assert self._ended.setdefault(run_id, now) == now, "a run that had ended changed"

    def judge_end(self) -> None:
        """All runs are terminal and ended as they were to."""
        wanted = expected(self.shape)
        for run_id, run in self.database.runs.items():
            ends = wanted.endings | ({"cancelled"} if run_id in self.cancelled else set())
            assert run.status in ends, f"{run.status}, not one of {ends}"
            results = {key[1:3]: row for key, row in self.database.steps.items() if key[0] == run_id}
            for key, row in results.items():
                self._judge_result(key, row.status, row.handle, runs=wanted.runs[key])
            settled = {key for key, row in results.items() if row.status != "cancelled"}
            missing = set(wanted.runs) - settled - wanted.loose
            assert wanted.cut or run_id in self.cancelled or not missing, f"not settled: {missing}"

    def _judge_result(self, key: tuple[str, str], status: str, handle: str | None, *, runs: bool) -> None:
        fate, planned = self.shape.fate(*key), self.shape.plan.nodes[key[0]]
        if status == "cancelled" or planned.mode is Mode.ITERATE:
            return
        if status == "skipped" or not runs:
            assert (status, runs) == ("skipped", False), f"{key} is {status}"
        elif fate.handle in {FAILS, "error"}:
            # An attempt that nobody follows up, since its run is being ended, is a plain failure.
            ends = {fate.handle, FAILS} if fate.failures > 1 else {fate.handle}
            assert status == "failed"
            assert (handle or FAILS) in ends
        elif status == "success":
            assert handle == (fate.handle if planned.handles else None)
        else:
            assert status == "failed", f"{key} is {status}"
            assert fate.failures, f"{key} failed, and nothing was to fail there"
