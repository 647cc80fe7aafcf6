"""Tests of single nodes: one call, in a process of its own, of which nothing is stored.

A node may hang, eat memory or take the processor for as long as it can, and an api process accepts webhooks beside it.
So tests run in forked processes (`shared.apart`) that give way to it, with limits of time, memory and number.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

import msgspec

from api.moments import stamp
from shared.apart.forker import NotStartedError
from shared.apart.isolated import Request
from shared.apart.processes import Processes, fields_of
from shared.errors import RateLimitedError, UnavailableError
from shared.graph.catalogue import Kind, Mode
from shared.graph.model import Node
from shared.ids import Prefix, encode
from shared.metrics import NODE_TESTS
from shared.nodes.base import Division, Exposed, Outcome, StepContext, TriggerContext, Wait
from shared.states import TriggerType, Waits
from shared.texts import texts_of

#: Seconds that an effect may take, whatever its own timeout is, and that any other node may.
EFFECT_SECONDS: Final = 30.0
PURE_SECONDS: Final = 10.0
#: Tests at the same time: of one api process, and of one workspace in it.
ROOM: Final = 8
ROOM_EACH: Final = 4
#: Seconds that a process has to answer beside those.
_PATIENCE: Final = 5.0
#: Seconds without a test after which what starts the processes is ended.
_IDLE: Final = 60.0
#: Bytes of address space of a test, and of JSON that it may give.
_MEMORY: Final = 1024**3
_LARGEST: Final = 4 * 1024**2
#: How much tests give way to the api, the workers and everything else.
_NICENESS: Final = 10
#: By what a node begins to wait for: the reason as runs give it, and a sentence for people.
_WAITS: Final = {
    Waits.TIMER: ("timer", "A run would go on at this time."),
    Waits.CALLBACK: ("callback", "A run would wait for an answer to its callback URL."),
    Waits.PERSON: ("callback", "A run would wait for a person's answer."),
    Waits.CHILD_RUN: ("child_run", "A run would start others, and wait for the end of one if it is told to."),
}
_METHODS: Final = {Mode.PURE: "run", Mode.EFFECT: "call", Mode.WAIT: "begin", Mode.ITERATE: "divide"}


class NodeTests:
    """Runs tests of nodes for one api process.

    Args:
        egress_allow, egress_proxy: as configured; tests leave by the same guard as runs.
        processes: what runs the calls, if not the usual.
    """

    def __init__(self, *, egress_allow: str, egress_proxy: str, processes: Processes | None = None) -> None:
        self._processes = processes or Processes(
            egress_allow=egress_allow, egress_proxy=egress_proxy, patience=_PATIENCE, idle=_IDLE
        )
        self._under_way: Counter[UUID] = Counter()

    async def perform(
        self, workspace_id: UUID, node: Node, data: dict[str, Any], scope: Mapping[str, Any], context: StepContext
    ) -> Outcome:
        """How the node ends in this scope. A wait does not wait, and an iterator starts no item: they say what for.

        Raises:
            StepFailedError: if it failed.
            RateLimitedError: if too many tests are under way.
            UnavailableError: if no process could be had.
        """
        request, seconds = _request(node, data, scope, context), _seconds(node, context)
        outcome = _as_outcome(await self._performed(workspace_id, request, seconds, context))
        texts_of(outcome, stored=True)  # what could not be stored fails here as it would in a run
        return outcome

    async def exposed(
        self, workspace_id: UUID, node: Node, data: dict[str, Any], scope: Mapping[str, Any]
    ) -> tuple[str, ...]:
        """The texts that the node's templates make of the vault's values.

        Raises:
            StepFailedError, RateLimitedError, UnavailableError: see `perform`.
        """
        request = _asked(node, data, "exposes", scope, None)
        exposed: Exposed = await self._performed(workspace_id, request, PURE_SECONDS, None)
        return tuple(exposed.texts)

    def close(self) -> None:
        """End what is under way, and start nothing any more."""
        self._processes.close()

    async def _performed(
        self, workspace_id: UUID, request: Request, seconds: float, context: StepContext | None
    ) -> Any:
        with self._place(workspace_id):
            try:
                return await self._processes.perform(request, seconds, context)
            except NotStartedError as error:
                message = "No process could be started for the test; come back."
                raise UnavailableError("test_not_started", message, retry_after=5) from error

    @contextmanager
    def _place(self, workspace_id: UUID) -> Iterator[None]:
        if self._under_way.total() >= ROOM or self._under_way[workspace_id] >= ROOM_EACH:
            NODE_TESTS.labels("refused").inc()
            message = f"At most {ROOM} nodes are tested at a time, {ROOM_EACH} of one workspace; come back."
            raise RateLimitedError("too_many_tests", message, retry_after=1)
        self._under_way[workspace_id] += 1
        try:
            yield
        finally:
            self._under_way[workspace_id] -= 1
            if not self._under_way[workspace_id]:
                del self._under_way[workspace_id]


def _request(node: Node, data: dict[str, Any], scope: Mapping[str, Any], context: StepContext) -> Request:
    if node.kind is Kind.TRIGGER:
        return _asked(node, data, "trigger", None, TriggerContext(context.run_id, TriggerType.MANUAL, scope))
    told = context if node.mode in (Mode.EFFECT, Mode.WAIT) else None
    return _asked(node, data, _METHODS[node.mode], scope, told)


def _asked(
    node: Node, data: dict[str, Any], method: str, scope: Mapping[str, Any] | None, context: msgspec.Struct | None
) -> Request:
    return Request(
        node_id=node.id,
        component=node.component or "",
        data=data,
        method=method,
        scope=None if scope is None else dict(scope),
        context=fields_of(context),
        niceness=_NICENESS,
        largest=_LARGEST,
        memory=_MEMORY,
    )


def _seconds(node: Node, context: StepContext) -> float:
    return context.timeout if node.mode is Mode.EFFECT else PURE_SECONDS


def _as_outcome(ended: Outcome | Wait | Division) -> Outcome:
    if isinstance(ended, Wait):
        return Outcome(_waited_for(ended))
    if isinstance(ended, Division):
        divided = {"items": ended.items, "count": len(ended.items), "concurrency": ended.concurrency}
        return Outcome({**divided, "on_item_error": "stop" if ended.halts else "continue"})
    return ended


def _waited_for(wait: Wait) -> dict[str, Any]:
    """What a step would wait for, as a run says it; what it would ask, and which run it would start."""
    reason, detail = _WAITS[wait.reason]
    told: dict[str, Any] = {"waiting_for": {"reason": reason, "until": stamp(wait.until), "detail": detail}}
    if wait.question is not None:
        told["question"] = msgspec.to_builtins(wait.question)
    if wait.call is not None:
        called = encode(Prefix.WORKFLOW, wait.call.workflow_id)
        told["starts"] = {"workflow_id": called, "context": wait.call.payload, "wait": wait.call.waits}
    if wait.event is not None:
        told["publishes"] = msgspec.to_builtins(wait.event)
    return told


def timeout_of(node: Node) -> float:
    """Seconds that a test of this node may take."""
    own = node.settings.timeout
    return EFFECT_SECONDS if own is None else min(own, EFFECT_SECONDS)
