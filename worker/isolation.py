"""Steps that ended the workers which held them run in processes of their own: the worker's side of `worker.isolated`.

A *suspect* is a step whose worker died too often while it held it. Every node that a suspect's walk comes by up to the
next commit runs in a child process, so the one that really crashes is the one that fails, and nobody else does.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog

from shared.errors import StepFailedError
from shared.graph.catalogue import Kind, Mode
from shared.graph.plan import Plan, PlanNode
from shared.jsontext import decode, encode, to_bytes
from shared.metrics import POISON_STEPS
from shared.nodes import base
from shared.nodes.base import CompiledNode, Division, Outcome, StepContext, TriggerContext, Wait, this_clock
from shared.store.taken import GIVEN_UP, Loaded
from worker.forker import Forker, NotStartedError
from worker.holdings import LostError
from worker.isolated import READY, Request
from worker.plans import Blueprint
from worker.texts import BREAKAGES, internal_error
from worker.walk import Walk

_log = structlog.get_logger(__name__)

#: How many crashes make a step a suspect. Pure nodes first run without a claim, so their first crash is not counted.
EFFECT_CRASHES: Final = 2
PURE_CRASHES: Final = 1
#: Seconds that the process has to answer, besides an effect's own timeout.
PATIENCE: Final = 30.0
#: Seconds that it has to start.
_START: Final = 60.0
#: Child processes of one worker at the same time.
_CHILDREN: Final = 16
#: No `Retry.on` names it: crashes do not use attempts up, and are not tried again by them.
_CATEGORY: Final = "crash"


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
        return StepFailedError("internal_error", "The step's result could not be stored.", category=_CATEGORY)
    if loaded.crashes and node.settings.is_once and node.mode is Mode.EFFECT:
        message = 'The worker stopped in the middle of the step; "on_crash": "fail" forbids another call.'
        return crashed(message)
    return None


def crashed(message: str) -> StepFailedError:
    """The failure of a step that a crash ended."""
    return StepFailedError("worker_crashed", message, category=_CATEGORY)


def stopped() -> StepFailedError:
    """The failure of a step that a worker aborted at its end, and that is not to be called again."""
    message = 'The worker was stopped before the step ended; "on_crash": "fail" forbids another call.'
    return StepFailedError("worker_stopped", message, category=_CATEGORY)


class Isolation:
    """Runs nodes in child processes. Belongs to the event loop it is made on, whose thread starts the children.

    Args:
        command: the program, before its argument; it answers as `worker.isolated` does.
        egress_allow, egress_proxy: as configured.
        patience: see `PATIENCE`.

    Attributes:
        room: a walk that runs apart holds it, so that a worker's death does not make hundreds of processes.
    """

    def __init__(
        self,
        command: Sequence[str] = (sys.executable, "-P", "-m", "worker.isolated"),
        *,
        egress_allow: str = "",
        egress_proxy: str = "",
        patience: float = PATIENCE,
    ) -> None:
        self._command = [*command, str(os.getpid())]
        self._egress = {"egress_allow": egress_allow, "egress_proxy": egress_proxy}
        self._patience = patience
        self._forker: Forker | None = None
        self._starting = asyncio.Lock()
        self._running: set[int] = set()
        self.room = asyncio.Semaphore(_CHILDREN)
        self.is_closed = False

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

    def close(self) -> None:
        """Kill the children, and start none any more."""
        self.is_closed = True
        for child in self._running:
            _kill(child)
        if self._forker is not None:
            self._forker.close()

    async def turn(self, walk: Walk, step: Callable[[], None]) -> None:
        """Let a walk go on to where something must be durable. What breaks here breaks each time: it fails the step.

        Raises:
            LostError: if the worker's end cut it short, so that nothing of it is to be written.
        """
        apart = is_apart(walk)
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

    async def perform(self, request: Request, seconds: float) -> Any:
        """Run one request in a child.

        Args:
            request: what to call.
            seconds: the child's own time limit.

        Raises:
            StepFailedError: what the node failed with; ``worker_crashed`` if the child ended without an answer.
            NotStartedError: if the child was not there for the node.
        """
        request = msgspec.structs.replace(request, **self._egress)
        text = to_bytes(encode(msgspec.to_builtins(request)))
        if self.is_closed:
            raise stopped()
        forker = await self._forked()
        try:
            answer = await self._asked(forker, text, seconds + self._patience)
        except NotStartedError:
            forker.close()  # whatever it has; the next call starts another
            raise
        if self.is_closed:
            raise stopped()  # it did not crash: it was killed
        return _read(answer)

    async def _asked(self, forker: Forker, text: bytes, patience: float) -> bytes:
        """What a fork answers, and the line with its status."""
        answers, requests = await forker.connect()
        child = 0
        try:
            child = await _started(answers, requests, text)
            self._running.add(child)
            async with asyncio.timeout(patience):
                return await answers.read()
        except TimeoutError:
            raise crashed("The step hangs: it did not end in a process of its own, and was killed.") from None
        finally:
            self._running.discard(child)
            if child:
                _kill(child)
                os.close(child)
            requests.close()

    async def _forked(self) -> Forker:
        """What starts children; it is started with the first, and again should it have died."""
        async with self._starting:
            if self._forker is None or self._forker.is_gone:
                if self._forker is not None:
                    self._forker.close()
                try:
                    self._forker = await Forker.start(self._command)
                except OSError as error:
                    raise NotStartedError(str(error)) from error
            return self._forker


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
        self._node = node
        self._isolation = isolation
        self._loop = asyncio.get_running_loop()

    def trigger(self, context: TriggerContext) -> Outcome:
        return self._wait("trigger", None, context)  # type: ignore[no-any-return]

    def run(self, scope: Mapping[str, Any], now: Callable[[], datetime] = this_clock) -> Outcome:  # noqa: ARG002 — the child reads its own clock
        return self._wait("run", scope, None)  # type: ignore[no-any-return]

    async def call(self, scope: Mapping[str, Any], context: StepContext) -> Outcome:
        request = self._request("call", scope, context)
        result: Outcome = await self._isolation.perform(request, context.timeout)
        return result

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
        fields = None
        if context is not None:
            names = [name for name in context.__struct_fields__ if name != "egress"]
            fields = {name: msgspec.to_builtins(getattr(context, name)) for name in names}
        return Request(
            self.id, self._node.component, self._node.data, method, None if scope is None else dict(scope), fields
        )


async def _started(answers: asyncio.StreamReader, requests: asyncio.StreamWriter, text: bytes) -> int:
    """Hand a child its request, and wait until the node's turn has come; a handle of the process, 0 if it has ended."""
    try:
        async with asyncio.timeout(_START):
            requests.write(text)
            await requests.drain()
            requests.write_eof()
            line = await answers.readline()
    except (TimeoutError, OSError) as error:
        raise NotStartedError(str(error)) from error
    if not line.startswith(READY):
        raise NotStartedError("it ended before")
    try:
        return os.pidfd_open(int(line.removeprefix(READY)))
    except ProcessLookupError:  # it has ended already
        return 0


def _kill(child: int) -> None:
    """End a child, if it has not ended by itself."""
    with suppress(OSError):
        signal.pidfd_send_signal(child, signal.SIGKILL)


def _read(told: bytes) -> Any:
    answer, end, status = told.rpartition(b"\n")
    if not end:
        raise NotStartedError("what forks was ended")  # or it would have told how the child ended
    try:
        read = decode(answer)
        if "failed" in read:
            raise StepFailedError(**_arguments(read["failed"]))
        return msgspec.convert(read["result"], getattr(base, read["type"]))
    except (ValueError, KeyError, TypeError, AttributeError, msgspec.ValidationError):
        raise crashed(f"The step ended the process of its own that it ran in ({_how(int(status))}).") from None


def _how(status: int) -> str:
    with suppress(ValueError, TypeError):
        return signal.Signals(-status).name
    return f"status {status}"


def _arguments(failure: Mapping[str, Any]) -> dict[str, Any]:
    return {**failure, "code": str(failure["code"]), "message": str(failure["message"])}
