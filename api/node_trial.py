"""One test of a node, from a draft to what is answered."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from api.call import Call
from api.node_draft import NodeDraft
from api.node_tests import timeout_of
from shared.authorizations.told import Told
from shared.errors import Fault, StepFailedError
from shared.graph.catalogue import Kind
from shared.graph.suggest import clean
from shared.ids import Prefix, encode
from shared.log import get
from shared.metrics import NODE_TESTS
from shared.nodes.base import Outcome, StepContext
from shared.redaction import Redactor
from shared.states import TriggerType

_log = get(__name__)


class Success(msgspec.Struct, frozen=True, tag_field="status", tag="success"):
    """The node ended well.

    Attributes:
        output: what nodes behind it would see; of a wait, what a run would wait for; of an iterator, its items.
        handle: the named output that it takes; null for the single unnamed one.
        input: what an effect was called with.
    """

    output: dict[str, Any]
    handle: str | None
    input: Any = UNSET


class TestError(msgspec.Struct, frozen=True, omit_defaults=True):
    """Why a node failed.

    Attributes:
        status: of the answer that failed it.
        body: the beginning of that answer.
        errors: every fault, when there are several to tell.
    """

    code: str
    message: str
    status: int | None
    body: Any
    errors: tuple[Fault, ...] = ()


class Failure(msgspec.Struct, frozen=True, tag_field="status", tag="error"):
    """The node failed."""

    error: TestError
    input: Any | UnsetType = UNSET


async def ended(call: Call, draft: NodeDraft) -> Success | Failure:
    """How the node ends. Nothing of it is stored; the log says that it was tested, and by whom.

    Raises:
        RateLimitedError, UnavailableError: see `NodeTests.perform`.
    """
    answer = await _ended(call, draft)
    NODE_TESTS.labels("success" if isinstance(answer, Success) else "error").inc()
    _log.info(
        "node tested",
        component=draft.node.component,
        outcome="success" if isinstance(answer, Success) else answer.error.code,
        workspace=encode(Prefix.WORKSPACE, call.workspace_id),
        subject=call.principal.subject,
        request_id=call.request_id,
    )
    return answer


async def _ended(call: Call, draft: NodeDraft) -> Success | Failure:
    if draft.unseen:
        message = " ".join(fault.message for fault in draft.unseen)
        return Failure(TestError("unknown_reference", message, None, None, tuple(draft.unseen)))
    secrets: list[str] = []
    context = _step_context(call, draft, secrets)
    derived: list[str] = []
    try:
        scope = await _with_vault(call, draft, _scope(draft, context.run_id), secrets)
        if secrets:
            derived += await call.services.tests.exposed(call.workspace_id, draft.node, draft.data, scope)
        outcome = await call.services.tests.perform(call.workspace_id, draft.node, draft.data, scope, context)
    except StepFailedError as error:
        return await _blanked(partial(_failure, error), secrets, derived)
    return await _blanked(partial(_success, outcome), secrets, derived)


async def _blanked(
    tell: Callable[[Redactor], Success | Failure], secrets: list[str], derived: list[str]
) -> Success | Failure:
    """What is told without secrets; if there are any, in a thread: the forms of a long one take a tenth of a second."""
    if not secrets:
        return tell(Redactor(()))
    return await asyncio.to_thread(lambda: tell(Redactor(secrets, derived)))


def _failure(error: StepFailedError, blank: Redactor) -> Failure:
    told = error.as_output()["error"]
    message = blank.text(clean(error.message))
    failed = TestError(clean(error.code), message, told["status"], blank.value(told["body"]))
    return Failure(failed, UNSET if error.step_input is None else blank.value(error.step_input))


def _success(outcome: Outcome, blank: Redactor) -> Success:
    given = UNSET if outcome.step_input is None else blank.value(outcome.step_input)
    return Success(blank.value(outcome.output), outcome.handle, given)


def _step_context(call: Call, draft: NodeDraft, secrets: list[str]) -> StepContext:
    """The context of a first attempt in a run that there is not; ``secrets`` gets what is presented to others."""
    run_id = encode(Prefix.RUN, call.services.mint.uuid())

    async def uses_secret(secret: str) -> None:
        secrets.append(secret)

    return StepContext(
        run_id=run_id,
        node_id=draft.node.id,
        item="-",
        attempt=1,
        idempotency_key=f"{run_id}:{draft.node.id}:-",
        now=call.services.clock.now(),
        timeout=timeout_of(draft.node),
        egress=None,  # type: ignore[arg-type] # the process that calls the node has its own
        authorization=_authorization(call, draft, uses_secret),
        uses_secret=uses_secret,
    )


async def _with_vault(call: Call, draft: NodeDraft, scope: dict[str, Any], secrets: list[str]) -> dict[str, Any]:
    """The scope with the values of the vault that the node reads.

    Raises:
        StepFailedError: if an item has expired or cannot be read.
    """
    if not draft.vault or draft.node.kind is Kind.TRIGGER:
        return scope
    values = await call.services.vault.values(call.workspace_id, draft.vault)
    secrets.extend(values.values())
    return {**scope, "vault": values}


def _authorization(call: Call, draft: NodeDraft, uses_secret: Callable[[str], Awaitable[None]]) -> Told | None:
    if draft.authorization_id is None:
        return None
    return Told(call.services.authorizer.of(call.workspace_id, draft.authorization_id), uses_secret)


def _scope(draft: NodeDraft, run_id: str) -> dict[str, Any]:
    """What templates see: the context, and what a run has beside it, unless the context gives that too."""
    if draft.node.kind is Kind.TRIGGER:
        return dict(draft.context)
    outputs = {name: output for name, output in draft.context.items() if name not in ("run", "workflow")}
    run = {"id": run_id, "trigger_type": str(TriggerType.MANUAL), "links": {}, **(draft.context.get("run") or {})}
    workflow = {"id": None, "name": "", "version": 0, **(draft.context.get("workflow") or {})}
    return {**outputs, "nodes": outputs, "run": run, "workflow": workflow}
