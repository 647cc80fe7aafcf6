"""The walk of one run through its graph, from a settled step to the next commit; pure, in memory.

Pure nodes run one after the other here, with no commit between them. A walk stops where something must be durable
first: before an effect, at a wait, when it has kept the loop busy for `STRETCH`, or when nothing is left to do. What it
has done by then is one `Advance`. It stays at one item path: an iterator's items are walks of their own.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec

from shared.advances import Advance, ItemFailure, Opening
from shared.authorizations.authorizer import Authorizer
from shared.authorizations.told import Told
from shared.db import Clock
from shared.errors import StepFailedError
from shared.graph import advance as graph
from shared.graph.catalogue import Kind, Mode
from shared.graph.model import DONE_HANDLE, ERROR_HANDLE
from shared.graph.paths import depth
from shared.graph.plan import PlanNode
from shared.links import Links
from shared.nodes.base import Authorization, CompiledNode, Division, Outcome, StepContext
from shared.states import RunStatus, StepStatus, TriggerType
from shared.store.taken import Loaded
from shared.texts import (
    BREAKAGES,
    brought_by,
    internal_error,
    item_error,
    item_failed,
    storable,
    texts_of,
    texts_of_failure,
)
from worker.pending import Pending
from worker.plans import Blueprint
from worker.scope import Scope
from worker.secrets import Blanking, Secrets

#: Python looks the members of an enumeration up at 0.1 microseconds each, several times a step.
_EFFECT: Final = Mode.EFFECT
_WAIT: Final = Mode.WAIT
_ITERATE: Final = Mode.ITERATE
_TRIGGER: Final = Kind.TRIGGER
_SUCCESS: Final = StepStatus.SUCCESS
_SYNC: Final = TriggerType.SYNC
#: Seconds after which what is left of a stretch is committed as steps of their own, so that the loop gets on.
STRETCH: Final = 0.25


class Tools(NamedTuple):
    """What walks use.

    Postgres's clock, fresh ids, random numbers in [0, 1), the outbound client and links of steps. Those of runs that
    use secrets need `Secrets` too, and those that present authorizations an `Authorizer`.
    """

    clock: Clock
    new_id: Callable[[], UUID]
    random: Callable[[], float]
    egress: Any
    links: Links
    secrets: Secrets | None = None
    authorizer: Authorizer | None = None


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
        outputs: by node id, as far as they are needed from here on.
        tools: see `Tools`.
    """

    def __init__(self, loaded: Loaded, blueprint: Blueprint, outputs: dict[str, Any], tools: Tools) -> None:
        self.loaded = loaded
        self.blueprint = blueprint
        self._tools = tools
        self._item = loaded.item
        self._held = self._written = (loaded.node_id, loaded.claim_id)
        self._attempt = loaded.attempt
        self._scope = Scope(loaded, blueprint, outputs, tools.links)
        self._joins: graph.Joins = {}
        around = self.plan_node.scope
        self._starts_item = depth(loaded.item) > len(around)
        if self._starts_item:
            around = (*around, loaded.node_id)
        self._iterator = around[-1] if around else None
        self._blanking: Blanking | None = None
        self._pending: Pending  # of the stretch that is walked, begun by whatever settles a step

    def _reset(self) -> None:
        self._pending = Pending(self._tools.clock, self._item, self._held[0])

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
        return self._context(self.plan_node, self._attempt)

    async def call(self) -> Outcome:
        """Run the held effect.

        Raises:
            StepFailedError: if it failed.
        """
        node = self.blueprint.nodes[self.plan_node.id]
        scope, seconds = await self._with_vault(node) if node.secretive else (self._scope.names, 0.0)
        context = self.step_context()
        return await node.call(scope, msgspec.structs.replace(context, rendered=seconds) if seconds else context)

    async def _with_vault(self, node: CompiledNode) -> tuple[Mapping[str, Any], float]:
        """What a node's templates see that reads the vault, and the seconds that took. What it uses is kept first.

        Raises:
            StepFailedError: if an item is missing, has expired or cannot be read, or it takes too long.
        """
        values = await self._secrets.values(self.loaded.workspace_id, node.vault)
        scope = {**self._scope.names, "vault": values}
        exposed = await node.exposes(scope)
        await self._use(list(values.values()), exposed.texts)
        return scope, exposed.seconds

    async def _use(self, secrets: Sequence[str], derived: Sequence[str] = ()) -> None:
        await self._secrets.note(self.loaded.run_id, self.loaded.workspace_id, secrets, derived)
        if self._blanking is None or not self._blanking.covers([*secrets, *derived]):
            await self.look_for_secrets()
        if self._blanking is not None:
            self._blanking.check()

    async def _use_one(self, secret: str) -> None:
        await self._use([secret])

    async def look_for_secrets(self) -> None:
        """Learn which secrets the run has used by now: they are blanked in whatever is settled from here on."""
        names = self.blueprint.vault
        if names is not None:
            self._blanking = await self._secrets.blanking(self.loaded.run_id, self.loaded.workspace_id, names)

    @property
    def _secrets(self) -> Secrets:
        if self._tools.secrets is None:
            raise LookupError("a run that uses secrets needs them")
        return self._tools.secrets

    def start(self) -> None:
        """Settle the step it came by, unless that is an effect: run it, pass a skip on, end a wait, or start an item.

        A step that a message brings although its run is being ended is recorded as cancelled instead.
        """
        if self.loaded.ending:
            self.cancel(0.0)
            return
        self._reset()
        node = self.plan_node
        if not self.loaded.fired:
            self._follow(graph.skip(self.blueprint.plan, node.id, self._joins))
        elif self._starts_item:
            self._follow(graph.begin_item(self.blueprint.plan, node.id, self._joins))
        elif self.loaded.wake is not None and node.mode is _ITERATE:
            self._gather(node)
        elif self.loaded.wake is not None and node.mode is _WAIT:
            self._resume(node)
        else:
            self._enter(node)
        self._go_on()

    def settle(self, ended: Outcome | StepFailedError, seconds: float) -> None:
        """The held effect ended; go on through the graph from there."""
        self._reset()
        node = self.plan_node
        self._pending.began = self._tools.clock.microseconds(time.monotonic() - seconds)
        if isinstance(ended, StepFailedError):
            self._failed(node, self._attempt, ended, seconds)
        else:
            self._succeeded(node, self._attempt, ended, seconds)
        self._go_on()

    def cancel(self, seconds: float) -> None:
        """The held effect was aborted since its run is being ended."""
        self._reset()
        if not (self._starts_item and self._is_first):  # the start of an item is no step of its own
            self._pending.record(self.plan_node, self._attempt, StepStatus.CANCELLED, seconds)

    def concurrency_key(self) -> str | None:
        """What the run is serialised by.

        Raises:
            StepFailedError: if that cannot be rendered.
        """
        render = self.blueprint.concurrency_key
        return None if render is None else self._scope.key(render)

    def skip_run(self, message: str) -> None:
        """The run does not take place: it ends as cancelled, and says why."""
        self._reset()
        self._pending.record(self.plan_node, self._attempt, StepStatus.CANCELLED, 0.0)
        self._pending.outcome, self._pending.error_message = RunStatus.CANCELLED, message

    def fail(self, error: StepFailedError) -> None:
        """The last advance could not be stored: settle the step it held as failed, and nothing else."""
        self._held = self._written
        self._attempt = self.loaded.attempt if self._is_first else 1
        self._reset()
        self._joins.clear()
        if self._starts_item and self._is_first:
            self._fail_item(error)
        else:
            self._failed(self.plan_node, self._attempt, error, 0.0, final=True)
        self._go_on()

    @property
    def _is_first(self) -> bool:
        """Whether the walk still holds the step it came by."""
        return self._held == (self.loaded.node_id, self.loaded.claim_id)

    def advance(self, *, keep_going: bool) -> tuple[Advance, Next | None]:
        """What is to be committed now, and the effect to go on with after that.

        Args:
            keep_going: whether this worker may start another effect; if not, all of them are left to others.
        """
        pending = self._pending
        self._written = self._held
        if pending.is_over:
            pending.effects, pending.openings, pending.iterations, pending.questions = [], [], [], []
            pending.calls, pending.publications = [], []
            self._joins.clear()
        following = self._open_effects(keep_going=keep_going)
        pending.count()
        advance = Advance(
            run_id=self.loaded.run_id,
            node_id=self._held[0],
            item=self._item,
            claim_id=self._held[1],
            started_us=pending.began,
            results=pending.results,
            openings=pending.openings,
            arrivals=pending.arrivals(self.blueprint.plan, self._joins),
            outcome=pending.outcome,
            error_message=pending.error_message,
            output=pending.output,
            abort=pending.abort,
            next_claim=following.claim_id if following else None,
            iterator=self._iterator,
            caller=self.loaded.caller,
            wake=self.loaded.wake if self._is_first else None,
            item_failure=pending.item_failure,
            iterations=pending.iterations,
            questions=pending.questions,
            calls=pending.calls,
            publications=pending.publications,
            answers=self.loaded.trigger_type == _SYNC and self._answers(),
        )
        self._joins.clear()
        if following is not None:
            self._held, self._attempt = (following.node.id, following.claim_id), 1
        return advance, following

    def _answers(self) -> bool:
        """Whether what is to be committed answers the request that started the run."""
        responses = self.blueprint.responses
        return any(result.node_id in responses and result.status == _SUCCESS for result in self._pending.results)

    def _open_effects(self, *, keep_going: bool) -> Next | None:
        """Open the effects that may run now; the walk goes on with the first of them, if it may."""
        following = None
        for effect in self._pending.effects:
            claim_id = None
            if keep_going and following is None:
                claim_id = self._tools.new_id()
                following = Next(effect, claim_id, 1)
            status = StepStatus.READY if claim_id is None else StepStatus.RUNNING
            self._pending.openings.append(Opening(effect.id, self._item, status, 1, claim_id, None, claim_first=True))
        return following

    def _go_on(self) -> None:
        nodes = self.blueprint.plan.nodes
        queue = self._pending.queue
        ends = time.monotonic() + STRETCH
        while queue and not self._pending.is_over:
            node = nodes[queue.popleft()]
            if time.monotonic() < ends or node.mode is _EFFECT:
                self._enter(node)
            else:
                self._pending.leave(node)

    def _enter(self, node: PlanNode) -> None:
        """A node may run now: run it if it is pure, note it if it is an effect, begin it if it waits."""
        if node.mode is _EFFECT:
            self._pending.effects.append(node)
        elif node.mode is _WAIT:
            self._begin_wait(node)
        elif node.mode is _ITERATE:
            self._begin_items(node)
        elif node.kind is _TRIGGER:
            self._attempt_pure(node, self._scope.trigger)
        elif node.settings.disabled:
            self._succeeded(node, 1, Outcome(self._scope.passed_on(node)), 0.0)
        else:
            self._attempt_pure(node, self.blueprint.nodes[node.id].run, self._scope.names, self._tools.clock.now)

    def _attempt_pure(self, node: PlanNode, run: Callable[..., Outcome], *arguments: Any) -> None:
        attempt = self._attempt_of(node)
        began = time.perf_counter()
        try:
            outcome = run(*arguments)
        except StepFailedError as error:
            self._failed(node, attempt, error, time.perf_counter() - began)
        except BREAKAGES as error:
            self._failed(node, attempt, internal_error(error), time.perf_counter() - began)
        else:
            self._succeeded(node, attempt, outcome, time.perf_counter() - began)

    def _attempt_of(self, node: PlanNode) -> int:
        return self._attempt if node.id == self._held[0] else 1

    def _begin_wait(self, node: PlanNode) -> None:
        attempt = self._attempt_of(node)
        context = self._context(node, attempt)

        def begin() -> None:
            wait = self.blueprint.nodes[node.id].begin(self._scope.names, context)
            if self._blanking is not None:
                wait = self._blanking.wait(wait)
            self._pending.wait(node, attempt, wait, self._tools.new_id)

        self._try(node, begin)

    def _resume(self, node: PlanNode) -> None:
        context = self.step_context()
        woken = msgspec.structs.replace(context, wake=self.loaded.wake, brought=brought_by(self.loaded))
        self._attempt_pure(node, self.blueprint.nodes[node.id].resume, self._scope.names, woken)

    def _begin_items(self, node: PlanNode) -> None:
        division = self._try(node, lambda: self._division(node))
        if division is None:
            return
        if division.items:
            self._try(node, lambda: self._pending.iterate(node, self._attempt_of(node), division))
        else:
            nothing = {"results": [], "count": 0, "failed": []}
            self._succeeded(node, self._attempt_of(node), Outcome(nothing, handle=DONE_HANDLE), 0.0)

    def _division(self, node: PlanNode) -> Division:
        division = self.blueprint.nodes[node.id].divide(self._scope.names)
        return division if self._blanking is None else self._blanking.division(division)

    def _gather(self, node: PlanNode) -> None:
        """An iterator goes on: its items have ended, or one of them has stopped it."""
        output = self._scope.output(node.id)
        if self.loaded.wake == "stopped":
            self._failed(node, self._attempt, item_failed(brought_by(self.loaded)), 0.0)
        elif isinstance(output, StepFailedError):
            self._failed(node, self._attempt, output, 0.0)
        else:
            self._succeeded(node, self._attempt, Outcome(output or {}, handle=DONE_HANDLE), 0.0)

    def _try(self, node: PlanNode, begin: Callable[[], Any]) -> Any:
        """What a node begins with; None if that failed, which is settled then."""
        began = time.perf_counter()
        try:
            return begin()
        except StepFailedError as error:
            failure = error
        except BREAKAGES as error:
            failure = internal_error(error)
        self._failed(node, self._attempt_of(node), failure, time.perf_counter() - began)
        return None

    def _succeeded(self, node: PlanNode, attempt: int, outcome: Outcome, seconds: float) -> None:
        try:
            # What a trigger or an iterator gave out is composed when it is read.
            stored = node.kind is not _TRIGGER and node.mode is not _ITERATE
            if stored and self._blanking is not None:
                outcome = self._blanking.outcome(outcome)
            texts = texts_of(outcome, stored=stored)
            progress = graph.end(self.blueprint.plan, node.id, outcome.handle, self._joins)
        except StepFailedError as error:
            self._failed(node, attempt, error, seconds)
            return
        except BREAKAGES as error:  # no outcome, no JSON, or none of its handles
            self._failed(node, attempt, internal_error(error), seconds)
            return
        self._scope.see(node.id, outcome.output)
        self._pending.record(node, attempt, _SUCCESS, seconds, texts, outcome.handle)
        if outcome.terminate is None:
            self._follow(progress)
            return
        self._pending.outcome, self._pending.abort = outcome.terminate.status, True
        if outcome.terminate.status == "failed" and outcome.terminate.message is not None:
            self._pending.error_message = storable(outcome.terminate.message)
        self._pending.output = texts.run_output

    def _failed(
        self, node: PlanNode, attempt: int, error: StepFailedError, seconds: float, *, final: bool = False
    ) -> None:
        if self._blanking is not None:
            error = self._blanked(error)
        error, texts = texts_of_failure(error)
        retry = node.settings.retry
        if retry is not None and not final and attempt < retry.max_attempts and error.category in retry.on:
            delay = graph.backoff(retry, attempt, error.retry_in, self._tools.random())
            self._pending.record(node, attempt, StepStatus.RETRIED, seconds, texts._replace(output=None))
            self._pending.retry(node, attempt, delay)
        elif node.settings.continue_on_error:
            self._scope.see(node.id, error.as_output())
            self._pending.record(node, attempt, StepStatus.FAILED, seconds, texts, ERROR_HANDLE)
            self._follow(graph.end(self.blueprint.plan, node.id, ERROR_HANDLE, self._joins))
        else:
            self._pending.record(node, attempt, StepStatus.FAILED, seconds, texts._replace(output=None))
            self._uncaught(node, error)

    def _blanked(self, error: StepFailedError) -> StepFailedError:
        try:
            return error if self._blanking is None else self._blanking.failure(error)
        except BREAKAGES as broken:  # what stands in it is no JSON
            return internal_error(broken)

    def _uncaught(self, node: PlanNode, error: StepFailedError) -> None:
        """A failure that nothing catches: it fails the item it lies in, or the run."""
        if self._iterator is not None:
            self._fail_item(error)
            return
        self._pending.error_message = self._pending.error_message or storable(error.message)
        if self.blueprint.finish_branches:
            self._follow(graph.fail(self.blueprint.plan, node.id, self._joins))
        else:
            self._pending.outcome = RunStatus.FAILED

    def _fail_item(self, error: StepFailedError) -> None:
        body = self.blueprint.plan.bodies[self._iterator or ""]
        self._pending.item_failure = ItemFailure(item_error(error), body)

    def _follow(self, progress: graph.Progress) -> None:
        for name in progress.skipped:
            self._scope.see(name, None)
            self._pending.record(self.blueprint.plan.nodes[name], 1, StepStatus.SKIPPED, 0.0)
        self._pending.queue.extend(progress.ready)

    def _context(self, node: PlanNode, attempt: int) -> StepContext:
        context = StepContext(
            run_id=self._scope.run_id,
            node_id=node.id,
            item=self._item,
            attempt=attempt,
            idempotency_key=f"{self._scope.run_id}:{node.id}:{self._item}",
            now=self._tools.clock.now(),
            timeout=node.timeout,
            egress=self._tools.egress and self._tools.egress.of(self.loaded.workspace_id.int),
            authorization=self._authorization(node),
        )
        return context if self._blanking is None else msgspec.structs.replace(context, uses_secret=self._use_one)

    def _authorization(self, node: PlanNode) -> Authorization | None:
        """What a step may present: that of a type which does not say that it presents it is handed none."""
        authorizer, authorization_id = self._tools.authorizer, self.blueprint.authorization_id
        if authorizer is None or authorization_id is None or not self.blueprint.nodes[node.id].authorized:
            return None
        return Told(authorizer.of(self.loaded.workspace_id, authorization_id), self._use_one)
