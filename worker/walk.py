"""The walk of one run through its graph, from a settled step to the next commit; pure, in memory.

Pure nodes run one after the other here, with no commit between them. A walk stops where something must be durable
first: before an effect, at a wait, or when nothing is left to do. What it has done by then is one `Advance`.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple
from uuid import UUID

from shared.db import Clock
from shared.errors import StepFailedError
from shared.graph import advance as graph
from shared.graph.catalogue import Kind, Mode
from shared.graph.plan import PlanNode
from shared.ids import Prefix, encode
from shared.jsontext import decode
from shared.metrics import STEPS
from shared.nodes.base import Outcome, StepContext, TriggerContext
from shared.states import RunStatus, StepStatus
from shared.store.advance import Advance, Arrival, Loaded, Opening, Result
from worker.plans import Blueprint
from worker.texts import BREAKAGES, internal_error, storable, texts_of, texts_of_failure

ROOT_ITEM: Final = "-"


class Tools(NamedTuple):
    """What walks use: Postgres's clock, fresh ids, random numbers in [0, 1) and the outbound client."""

    clock: Clock
    new_id: Callable[[], UUID]
    random: Callable[[], float]
    egress: Any


class Next(NamedTuple):
    """The effect a walk goes on with once its advance is committed."""

    node: PlanNode
    claim_id: UUID
    attempt: int


class Walk:
    """One run, as far as this worker carries it.

    It *holds* one open step at a time: the reference it came by, then each effect it goes on with. `advance` gives what
    the walk has settled since the last call and moves the hold to the next effect.

    Args:
        loaded: the step it starts with.
        blueprint: of the run's version.
        scope: outputs by node id, as far as they are needed from here on.
    """

    def __init__(self, loaded: Loaded, blueprint: Blueprint, outputs: dict[str, Any], tools: Tools) -> None:
        self.loaded = loaded
        self.blueprint = blueprint
        self._tools = tools
        self._run_text = encode(Prefix.RUN, loaded.run_id)
        self._held = self._written = (loaded.node_id, loaded.claim_id)
        self._attempt = loaded.attempt
        self._outputs = outputs
        self._add_trigger()
        self._scope: dict[str, Any] = {
            **outputs,
            "nodes": outputs,
            "run": {"id": self._run_text, "trigger_type": loaded.trigger_type},
            "workflow": blueprint.workflow,
        }
        trigger = blueprint.plan.trigger
        if trigger in outputs:
            self._scope["trigger"] = outputs[trigger]
        self._joins: graph.Joins = {}
        self._reset()

    def _add_trigger(self) -> None:
        """What the trigger gave out is not stored: it is composed of the run's payload again, if it is needed here."""
        node_id = self.blueprint.plan.trigger
        if node_id in self._outputs:
            self._outputs[node_id] = self._compose_trigger().output

    def _reset(self) -> None:
        self._began = self._tools.clock.now()
        self._results: list[Result] = []
        self._queue: deque[str] = deque()
        self._effects: list[PlanNode] = []
        self._openings: list[Opening] = []
        self._outcome: str | None = None
        self._error_message: str | None = None
        self._output: str | None = None
        self._abort = False

    @property
    def claim_id(self) -> UUID | None:
        """Under which the step it holds was claimed."""
        return self._held[1]

    @property
    def plan_node(self) -> PlanNode:
        """The node of the step it holds."""
        return self.blueprint.plan.nodes[self._held[0]]

    def step_context(self) -> StepContext:
        """The context of the held step's attempt."""
        node = self.plan_node
        return self._context(node, self._attempt)

    async def call(self) -> Outcome:
        """Run the held effect.

        Raises:
            StepFailedError: if it failed.
        """
        node = self.plan_node
        return await self.blueprint.nodes[node.id].call(self._scope, self.step_context())

    def start(self) -> None:
        """Settle the step it came by, unless that is an effect: run it, pass a skip on, or end a wait that came due.

        A step that a message brings although its run is being ended is recorded as cancelled instead.
        """
        if self.loaded.ending:
            self.cancel(0.0)
            return
        self._reset()
        node = self.plan_node
        if not self.loaded.fired:
            self._skip(node.id)
        elif node.mode is Mode.WAIT and self.loaded.wake is not None:
            began = time.perf_counter()
            self._attempt_pure(
                node, lambda: self.blueprint.nodes[node.id].resume(self._scope, self.step_context()), began
            )
        else:
            self._enter(node)
        self._go_on()

    def settle(self, ended: Outcome | StepFailedError, seconds: float) -> None:
        """The held effect ended; go on through the graph from there."""
        self._reset()
        node = self.plan_node
        self._began = self._tools.clock.at(time.monotonic() - seconds)
        if isinstance(ended, StepFailedError):
            self._failed(node, self._attempt, ended, seconds)
        else:
            self._succeeded(node, self._attempt, ended, seconds)
        self._go_on()

    def cancel(self, seconds: float) -> None:
        """The held effect was aborted since its run is being ended."""
        self._reset()
        self._record(self.plan_node, self._attempt, StepStatus.CANCELLED, seconds)

    def fail(self, error: StepFailedError) -> None:
        """The last advance could not be stored: settle the step it held as failed, and nothing else."""
        self._held, self._attempt = self._written, self.loaded.attempt if self._written[0] == self.loaded.node_id else 1
        self._reset()
        self._joins.clear()
        self._failed(self.plan_node, self._attempt, error, 0.0, final=True)
        self._go_on()

    def advance(self, *, keep_going: bool) -> tuple[Advance, Next | None]:
        """What is to be committed now, and the effect to go on with after that.

        Args:
            keep_going: whether this worker may start another effect; if not, all of them are left to others.
        """
        following = None
        self._written = self._held
        if self._outcome is not None:
            self._effects, self._openings = [], []
            self._joins.clear()
        for effect in self._effects:
            claim_id = None
            if keep_going and following is None:
                claim_id = self._tools.new_id()
                following = Next(effect, claim_id, 1)
            status = StepStatus.READY if claim_id is None else StepStatus.RUNNING
            self._openings.append(Opening(effect.id, ROOT_ITEM, status, 1, claim_id, None, claim_first=True))
        advance = Advance(
            self.loaded.run_id,
            self._held[0],
            ROOT_ITEM,
            self._held[1],
            self._began,
            self._results,
            self._openings,
            self._arrivals(),
            self._outcome,
            self._error_message,
            self._output,
            self._abort,
            following.claim_id if following else None,
        )
        if following is not None:
            self._held, self._attempt = (following.node.id, following.claim_id), 1
        return advance, following

    def _arrivals(self) -> list[Arrival]:
        nodes = self.blueprint.plan.nodes
        arrivals = [
            Arrival(name, ROOT_ITEM, counts.arrived, counts.fired, nodes[name].in_degree, nodes[name].need)
            for name, counts in self._joins.items()
        ]
        self._joins.clear()
        return arrivals

    def _go_on(self) -> None:
        nodes = self.blueprint.plan.nodes
        while self._queue and self._outcome is None:
            self._enter(nodes[self._queue.popleft()])

    def _enter(self, node: PlanNode) -> None:
        """A node may run now: run it if it is pure, note it if it is an effect, begin it if it waits."""
        if node.mode is Mode.EFFECT:
            self._effects.append(node)
        elif node.mode is Mode.WAIT:
            self._begin_wait(node)
        elif node.kind is Kind.TRIGGER:
            began = time.perf_counter()
            self._attempt_pure(node, self._trigger, began)
        elif node.settings.disabled:
            self._succeeded(node, 1, Outcome(self._passed_on(node)), 0.0)
        else:
            began = time.perf_counter()
            self._attempt_pure(node, lambda: self.blueprint.nodes[node.id].run(self._scope), began)

    def _attempt_pure(self, node: PlanNode, run: Callable[[], Outcome], began: float) -> None:
        try:
            outcome = run()
        except StepFailedError as error:
            self._failed(node, self._attempt_of(node), error, time.perf_counter() - began)
        except BREAKAGES as error:
            self._failed(node, self._attempt_of(node), internal_error(error), time.perf_counter() - began)
        else:
            self._succeeded(node, self._attempt_of(node), outcome, time.perf_counter() - began)

    def _attempt_of(self, node: PlanNode) -> int:
        return self._attempt if node.id == self._held[0] else 1

    def _begin_wait(self, node: PlanNode) -> None:
        began = time.perf_counter()
        attempt = self._attempt_of(node)
        try:
            until = self.blueprint.nodes[node.id].begin(self._scope, self._context(node, attempt)).until
        except StepFailedError as error:
            self._failed(node, attempt, error, time.perf_counter() - began)
        except BREAKAGES as error:
            self._failed(node, attempt, internal_error(error), time.perf_counter() - began)
        else:
            self._openings.append(
                Opening(node.id, ROOT_ITEM, StepStatus.WAITING, attempt, None, until, claim_first=False)
            )

    def _trigger(self) -> Outcome:
        outcome = self._compose_trigger()
        self._scope["trigger"] = outcome.output
        return outcome

    def _compose_trigger(self) -> Outcome:
        payload = decode(self.loaded.trigger_payload)
        context = TriggerContext(self._run_text, self.loaded.trigger_type, payload)
        return self.blueprint.nodes[self.blueprint.plan.trigger].trigger(context)

    def _passed_on(self, node: PlanNode) -> dict[str, Any]:
        """The input of a disabled node: the output of the nearest node before it that ran."""
        for name, other in reversed(self.blueprint.plan.nodes.items()):
            if any(node.id in targets for targets in other.outgoing.values()):
                output: dict[str, Any] | None = self._outputs.get(name)
                if output is not None:
                    return output
        return {}

    def _succeeded(self, node: PlanNode, attempt: int, outcome: Outcome, seconds: float) -> None:
        try:
            texts = texts_of(outcome, stored=node.kind is not Kind.TRIGGER)
            progress = graph.end(self.blueprint.plan, node.id, outcome.handle, self._joins)
        except StepFailedError as error:
            self._failed(node, attempt, error, seconds)
            return
        except BREAKAGES as error:  # no outcome, no JSON, or none of its handles
            self._failed(node, attempt, internal_error(error), seconds)
            return
        self._see(node.id, outcome.output)
        self._record(
            node,
            attempt,
            StepStatus.SUCCESS,
            seconds,
            handle=outcome.handle,
            output=texts.output,
            step_input=texts.step_input,
        )
        if outcome.terminate is None:
            self._follow(progress)
        else:
            self._outcome = outcome.terminate.status
            self._abort = True
            if outcome.terminate.status == "failed" and outcome.terminate.message is not None:
                self._error_message = storable(outcome.terminate.message)
            self._output = texts.run_output

    def _failed(
        self, node: PlanNode, attempt: int, error: StepFailedError, seconds: float, *, final: bool = False
    ) -> None:
        error, texts = texts_of_failure(error)
        retry = node.settings.retry
        if retry is not None and not final and attempt < retry.max_attempts and error.category in retry.on:
            delay = graph.backoff(retry, attempt, error.retry_in, self._tools.random())
            self._record(node, attempt, StepStatus.RETRIED, seconds, step_input=texts.step_input, error=texts.error)
            due = self._tools.clock.at(time.monotonic() + delay)
            self._openings.append(
                Opening(node.id, ROOT_ITEM, StepStatus.WAITING, attempt + 1, None, due, claim_first=True)
            )
        elif node.settings.continue_on_error:
            self._see(node.id, error.as_output())
            self._record(
                node,
                attempt,
                StepStatus.FAILED,
                seconds,
                handle="error",
                output=texts.output,
                step_input=texts.step_input,
                error=texts.error,
            )
            self._follow(graph.end(self.blueprint.plan, node.id, "error", self._joins))
        else:
            self._record(node, attempt, StepStatus.FAILED, seconds, step_input=texts.step_input, error=texts.error)
            self._outcome, self._error_message = RunStatus.FAILED, storable(error.message)

    def _skip(self, node_id: str) -> None:
        self._follow(graph.skip(self.blueprint.plan, node_id, self._joins))

    def _follow(self, progress: graph.Progress) -> None:
        for name in progress.skipped:
            self._see(name, None)
            self._record(self.blueprint.plan.nodes[name], 1, StepStatus.SKIPPED, 0.0)
        self._queue.extend(progress.ready)

    def _see(self, node_id: str, output: dict[str, Any] | None) -> None:
        """Put an output into the context of what follows; a skipped ancestor is nil."""
        self._outputs[node_id] = output
        self._scope[node_id] = output

    def _record(  # noqa: PLR0917
        self,
        node: PlanNode,
        attempt: int,
        status: StepStatus,
        seconds: float,
        handle: str | None = None,
        output: str | None = None,
        step_input: str | None = None,
        error: str | None = None,
    ) -> None:
        STEPS.labels(node.component, status).inc()
        self._results.append(
            Result(
                node.id == self._held[0],
                node.id,
                ROOT_ITEM,
                attempt,
                status,
                handle,
                output,
                step_input,
                error,
                self._tools.clock.at(time.monotonic() - seconds),
                int(seconds * 1000),
            )
        )

    def _context(self, node: PlanNode, attempt: int) -> StepContext:
        return StepContext(
            run_id=self._run_text,
            node_id=node.id,
            item=ROOT_ITEM,
            attempt=attempt,
            idempotency_key=f"{self._run_text}:{node.id}:{ROOT_ITEM}",
            now=self._tools.clock.now(),
            timeout=node.timeout,
            egress=self._tools.egress,
        )
