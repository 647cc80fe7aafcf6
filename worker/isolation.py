"""Steps that ended the workers which held them run in processes of their own (`shared.apart`).

A *suspect* is a step whose worker died too often while it held it. Every node that a suspect's walk comes by up to the
next commit runs in a child process, so the one that really crashes is the one that fails, and nobody else does.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from shared.apart.isolated import Request
from shared.apart.processes import COMMAND, CRASH, PATIENCE, Processes, crashed, fields_of
from shared.errors import StepFailedError
from shared.graph.catalogue import Kind, Mode
from shared.graph.plan import Plan, PlanNode
from shared.metrics import POISON_STEPS
from shared.nodes.base import CompiledNode, Division, Exposed, Outcome, StepContext, TriggerContext, Wait, this_clock
from shared.store.taken import GIVEN_UP, Loaded
from shared.texts import BREAKAGES, internal_error
from worker.holdings import LostError
from worker.pace import Pace
from worker.plans import Blueprint
from worker.walk import Walk

_log = structlog.get_logger(__name__)

#: How many crashes make a step a suspect. Pure nodes first run without a claim, so their first crash is not counted.
EFFECT_CRASHES: Final = 2
PURE_CRASHES: Final = 1
#: Child processes of one worker at the same time.
_CHILDREN: Final = 16


def is_suspect(loaded: Loaded, plan: Plan) -> bool:
    """Whether a step's walk has to run apart from the worker."""
    if not loaded.crashes:  # nearly all of them, several times a step
        return False
    effect = plan.nodes[loaded.node_id].mode is Mode.EFFECT and loaded.fired
    return loaded.crashes >= (EFFECT_CRASHES if effect else PURE_CRASHES)


def is_apart(walk: Walk) -> bool:
    """Whether this walk runs apart."""
    return is_suspect(walk.loaded, walk.blueprint.plan)


def hopeless(loaded: Loaded, node: PlanNode) -> StepFailedError | None:
    """Why a step is not to be called at all any more, if that is so."""
    if loaded.crashes >= GIVEN_UP:
        return StepFailedError("internal_error", "The step's result could not be stored.", category=CRASH)
    if loaded.crashes and node.settings.is_once and node.mode is Mode.EFFECT:
        message = 'The worker stopped in the middle of the step; "on_crash": "fail" forbids another call.'
        return crashed(message)
    return None


class Isolation(Processes):
    """Runs nodes of suspects in child processes.

    Args:
        command: the program, before its argument; it answers as `shared.apart.isolated` does.
        egress_allow, egress_proxy: as configured.
        patience: see `PATIENCE`.

    Attributes:
        room: a walk that runs apart holds it, so that a worker's death does not make hundreds of processes.
        pace: of all walks.
    """

    def __init__(
        self,
        command: Sequence[str] = COMMAND,
        *,
        egress_allow: str = "",
        egress_proxy: str = "",
        patience: float = PATIENCE,
    ) -> None:
        super().__init__(command, egress_allow=egress_allow, egress_proxy=egress_proxy, patience=patience)
        self.room = asyncio.Semaphore(_CHILDREN)
        self.pace = Pace()

    def around(self, blueprint: Blueprint, loaded: Loaded) -> Blueprint:
        """A blueprint whose nodes run in children; the trigger too, if that is what the walk starts with."""
        POISON_STEPS.inc()
        plan = blueprint.plan
        nodes = {
            name: node
            if plan.nodes[name].kind is Kind.TRIGGER and name != loaded.node_id
            else _Apart(node, plan.nodes[name], self)
            for name, node in blueprint.nodes.items()
        }
        return blueprint._replace(nodes=nodes)

    async def turn(self, walk: Walk, step: Callable[[], None]) -> None:
        """Let a walk go on to where something must be durable. What breaks here breaks each time: it fails the step.

        Raises:
            LostError: if the worker's end cut it short, so that nothing of it is to be written.
        """
        apart = is_apart(walk)
        await self.pace.turn()
        try:
            if apart:
                await asyncio.to_thread(step)  # it waits for its processes
            else:
                step()
        except BREAKAGES as error:
            _log.exception("a walk broke; its step fails", run=str(walk.loaded.run_id))
            walk.fail(internal_error(error))
        if apart and self.is_closed:
            raise LostError


class _Apart:
    """A node whose methods run in a child; implements `CompiledNode`.

    All but `call` are for threads other than the loop's, which they wait for.
    """

    def __init__(self, inner: CompiledNode, node: PlanNode, isolation: Isolation) -> None:
        self.id = inner.id
        self.component_id = inner.component_id
        self.kind = inner.kind
        self.mode = inner.mode
        self.references = inner.references
        self.vault = inner.vault
        self.secretive = inner.secretive
        self.authorized = inner.authorized
        self._node = node
        self._isolation = isolation
        self._loop = asyncio.get_running_loop()

    def trigger(self, context: TriggerContext) -> Outcome:
        return self._wait("trigger", None, context)  # type: ignore[no-any-return]

    def run(self, scope: Mapping[str, Any], now: Callable[[], datetime] = this_clock) -> Outcome:  # noqa: ARG002 — the child reads its own clock
        return self._wait("run", scope, None)  # type: ignore[no-any-return]

    async def call(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        request = self._request("call", scope, context)
        result: Outcome = await self._isolation.perform(request, context.timeout, context)
        return result

    async def exposes(self, scope: Mapping[str, Any]) -> Exposed:
        exposed: Exposed = await self._isolation.perform(self._request("exposes", scope, None), 0.0)
        return exposed

    def begin(self, scope: Mapping[str, Any], context: StepContext) -> Wait:
        return self._wait("begin", scope, context)  # type: ignore[no-any-return]

    def resume(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        return self._wait("resume", scope, context)  # type: ignore[no-any-return]

    def divide(self, scope: Mapping[str, Any]) -> Division:
        return self._wait("divide", scope, None)  # type: ignore[no-any-return]

    def _wait(self, method: str, scope: Mapping[str, Any] | None, context: msgspec.Struct | None) -> Any:
        work = self._isolation.perform(self._request(method, scope, context), 0.0)
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _request(self, method: str, scope: Mapping[str, Any] | None, context: msgspec.Struct | None) -> Request:
        seen = None if scope is None else dict(scope)
        return Request(self.id, self._node.component, self._node.data, method, seen, fields_of(context))
