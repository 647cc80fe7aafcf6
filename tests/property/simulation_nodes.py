"""Nodes of the simulation's workflows, which end as they are fated to."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared.errors import StepFailedError
from shared.nodes.base import Division, Outcome, StepContext, Terminate, TriggerContext, Wait, this_clock
from tests.property.simulation_clock import VirtualClock
from tests.property.simulation_graphs import Shape


class Judge(Protocol):
    """What nodes are in: it knows which item is walked now, and judges what its steps see."""

    shape: Shape
    clock: VirtualClock

    @property
    def item(self) -> str:
        """The item whose steps are walked now."""
        ...

    def judge_scope(self, node_id: str, item: str, scope: Mapping[str, Any]) -> None:
        """Judge what a step sees."""
        ...


class SimulatedNode:
    """A compiled node (`shared.nodes.base.CompiledNode`)."""

    def __init__(self, world: Judge, node_id: str) -> None:
        planned = world.shape.plan.nodes[node_id]
        self.id = node_id
        self.component_id = planned.component
        self.kind, self.mode = planned.kind, planned.mode
        self.references = frozenset(world.shape.references(node_id))
        self.vault: frozenset[str] = frozenset()
        self.secretive = False
        self.authorized = False
        self._world = world

    def trigger(self, context: TriggerContext) -> Outcome:
        return Outcome({"node": self.id, "run": context.run_id})

    def run(self, scope: Mapping[str, Any], now: Callable[[], datetime] = this_clock) -> Outcome:
        return self._end(scope, self._world.item, 1)

    async def call(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        return self._end(scope, context.item, context.attempt)

    def begin(self, scope: Mapping[str, Any], context: StepContext) -> Wait:
        self._world.judge_scope(self.id, context.item, scope)
        return Wait(self._world.clock.now() + timedelta(seconds=3))

    def resume(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        return self._end(scope, context.item, 1)

    def divide(self, scope: Mapping[str, Any]) -> Division:
        shape, item = self._world.shape, self._world.item
        values = [place * 10 for place in range(shape.items(self.id, item))]
        return Division(values, shape.concurrency(self.id), shape.halts(self.id))

    def _end(self, scope: Mapping[str, Any], item: str, attempt: int) -> Outcome:
        self._world.judge_scope(self.id, item, scope)
        fate = self._world.shape.fate(self.id, item)
        if attempt <= fate.failures:
            raise StepFailedError("fated", "It was to fail.", category="error")
        handle = fate.handle if self._world.shape.plan.nodes[self.id].handles else None
        terminate = Terminate(fate.terminate, "It was to end.") if fate.terminate else None  # type: ignore[arg-type]
        return Outcome({"node": self.id, "item": item}, handle=handle, terminate=terminate)
