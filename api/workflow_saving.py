"""Saving workflows: from a request's object to rows, each write with its audit row in the caller's transaction."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from uuid import UUID

import msgspec

from api import workflow_authorization, workflow_links, workflow_triggers, workflow_vault
from api.auditing import note
from api.call import Call, found
from api.webhook_targets import TRIGGER_COMPONENT, hash_token
from api.workflow_draft import Base, Draft, base_of, draft
from api.workflow_timing import next_run_at
from api.workflow_view import etag, token_context
from shared import jsontext
from shared.db import Connection
from shared.errors import ConflictError, Fault, InvalidError, NotFoundError, PreconditionFailedError
from shared.graph.plan import PLAN_FORMAT, Plan, encode_plan
from shared.graph.suggest import shown
from shared.ids import Prefix, decode, encode, new_secret
from shared.nodes import webhook_rules
from shared.off_loop import off_loop
from shared.schedule import read_policy
from shared.store import authorizations, retention, scheduled_runs, workflows
from shared.store.cancel import cancel_workflow_runs
from shared.store.workflows import Version, WorkflowRow

_QUOTED: Final = 3


async def validate(call: Call, raw: Mapping[str, Any]) -> list[Fault]:
    """Everything that creating this workflow would be refused for."""
    made, faults = await _draft(call, raw, None)
    async with call.reading() as connection:
        _, more = await _authorization(connection, call, made, raw, None, lock=False)
        _, wrong = await workflow_links.check(connection, call, made, raw, None, lock=False)
        _, unknown = await workflow_vault.check(connection, call, made, raw, lock=False)
    return faults + more + wrong + unknown


async def create(connection: Connection, call: Call, raw: Mapping[str, Any]) -> WorkflowRow:
    """Store a new workflow.

    Raises:
        InvalidError: with every fault.
    """
    made, faults = await _draft(call, raw, None)
    authorization_id, more = await _authorization(connection, call, made, raw, None, lock=True)
    links, wrong = await workflow_links.check(connection, call, made, raw, None, lock=True)
    items, unknown = await workflow_vault.check(connection, call, made, raw, lock=True)
    _refuse(faults + more + wrong + unknown)
    row = await _row(connection, call, made, authorization_id, None)
    saved = await workflows.add(connection, row, _version(call, row, made))
    await retention.set_keep_days(connection, saved.id, made.keep_runs_days)
    await workflow_links.store(connection, call, saved.id, links)
    await workflow_vault.store(connection, call, saved.id, items)
    await workflow_triggers.store(connection, saved.workspace_id, saved.id, made)
    await _audit(connection, call, "workflow.create", None, saved)
    return saved


async def update(connection: Connection, call: Call, workflow_id: UUID, raw: Mapping[str, Any]) -> WorkflowRow:
    """Change what the request says of a workflow; a new version if its graph, settings or authorization change.

    Raises:
        NotFoundError: if the workspace has no such workflow.
        PreconditionFailedError: if ``If-Match`` names another state of it.
        InvalidError: with every fault.
    """
    before = await _locked(connection, call, workflow_id)
    made, faults = await _draft(call, raw, base_of(before))
    authorization_id, more = await _authorization(connection, call, made, raw, before, lock=True)
    links, wrong = await workflow_links.check(connection, call, made, raw, workflow_id, lock=True)
    items, unknown = await workflow_vault.check(connection, call, made, raw, lock=True)
    _refuse(faults + more + wrong + unknown)
    row = await _row(connection, call, made, authorization_id, before)
    saved = await workflows.update(connection, row, _version(call, row, made) if row.version > before.version else None)
    await retention.set_keep_days(connection, saved.id, made.keep_runs_days)
    await workflow_links.store(connection, call, saved.id, links)
    await workflow_vault.store(connection, call, saved.id, items)
    if saved.settings != before.settings and read_policy(saved.settings).overlap != "allow":
        await scheduled_runs.add_open(connection, saved.id)
    await workflow_triggers.store(connection, saved.workspace_id, saved.id, made)
    await _audit(connection, call, "workflow.update", before, saved)
    return saved


async def delete(connection: Connection, call: Call, workflow_id: UUID) -> None:
    """Make a workflow gone, and end its open runs.

    Raises:
        NotFoundError, PreconditionFailedError: as in `update`.
        ConflictError: if other workflows call it.
    """
    before = await _locked(connection, call, workflow_id)
    await workflow_links.refuse_called(connection, call, workflow_id)
    await workflows.mark_deleted(connection, before.workspace_id, workflow_id)
    await cancel_workflow_runs(connection, workflow_id)
    name = encode(Prefix.WORKFLOW, before.id)
    await note(connection, call, "workflow.delete", name, before=_digested(before), after=None)


async def rotate_token(connection: Connection, call: Call, workflow_id: UUID, overlap: int) -> WorkflowRow:
    """Give a workflow another webhook token; the one of before works for ``overlap`` more seconds.

    Raises:
        NotFoundError, PreconditionFailedError: as in `update`.
        ConflictError: if its trigger is no webhook trigger.
    """
    before = await _locked(connection, call, workflow_id)
    if before.trigger_component != TRIGGER_COMPONENT:
        raise ConflictError("no_webhook", "The workflow's trigger is no webhook_trigger, so it has no token to rotate.")
    fresh = _with_token(call, msgspec.structs.replace(before, webhook_token=None))
    saved = await workflows.rotate_token(connection, fresh, overlap=overlap)
    await _audit(connection, call, "workflow.rotate_token", before, saved)
    return saved


async def _locked(connection: Connection, call: Call, workflow_id: UUID) -> WorkflowRow:
    row = found(await workflows.lock(connection, call.workspace_id, workflow_id), "workflow", call)
    wanted = call.request.headers.get("If-Match")
    if wanted is not None and wanted.strip() != "*" and etag(row) not in [tag.strip() for tag in wanted.split(",")]:
        raise PreconditionFailedError(
            "precondition_failed", f"The workflow has changed: its ETag is {etag(row)} now. Read it again and repeat."
        )
    return row


async def _draft(call: Call, raw: Mapping[str, Any], base: Base | None) -> tuple[Draft, list[Fault]]:
    work = partial(draft, raw, call.services.registry, base, longest_keep=call.services.config.keep_runs_days)
    values = (raw, base.values if base is not None else {})
    return await off_loop(work, sum(len(jsontext.encode(each.get("nodes"))) for each in values))


async def _authorization(
    connection: Connection,
    call: Call,
    made: Draft,
    raw: Mapping[str, Any],
    before: WorkflowRow | None,
    *,
    lock: bool,
) -> tuple[UUID | None, list[Fault]]:
    """The authorization that the workflow will have, locked until that is stored, and what is wrong with it."""
    text = made.values.get("authorization_id")
    if text is None:
        kept = before.authorization_id if before is not None and "authorization_id" not in raw else None
        if kept is None:
            return None, workflow_authorization.missing(made, call.services.registry)
        if "nodes" not in raw:
            return kept, []
        text = encode(Prefix.AUTHORIZATION, kept)  # it may have been deleted since
    try:
        authorization_id = decode(Prefix.AUTHORIZATION, text)
    except NotFoundError:
        known = False
    else:
        known = await (authorizations.hold if lock else authorizations.exists)(
            connection, call.workspace_id, authorization_id
        )
    if known:
        return authorization_id, []
    message = f"There is no authorization {shown(text)} in this workspace."
    return None, [Fault("authorization_id", "unknown_authorization", message)]


def _refuse(faults: list[Fault]) -> None:
    if faults:
        told = " ".join(fault.message for fault in faults[:_QUOTED])
        more = f" And {len(faults) - _QUOTED} more." if len(faults) > _QUOTED else ""
        raise InvalidError("validation_failed", f"The workflow breaks rules. {told}{more}", faults=faults)


async def _row(
    connection: Connection, call: Call, made: Draft, authorization_id: UUID | None, before: WorkflowRow | None
) -> WorkflowRow:
    """The row of a draft without faults."""
    plan = made.plan
    if plan is None:
        raise LookupError("a draft without faults has a plan")
    now = await workflows.now(connection)
    row = WorkflowRow(
        id=before.id if before else call.services.mint.uuid(),
        workspace_id=call.workspace_id,
        name=made.values["name"],
        description=made.values["description"],
        authorization_id=authorization_id,
        is_active=made.values["is_active"],
        schedule_type=made.schedule.type,
        schedule_value=made.schedule.value,
        timezone=made.schedule.timezone,
        settings=made.settings,
        version=_next_version(made, authorization_id, before),
        priority=made.priority,
        trigger_node=plan.trigger,
        trigger_component=plan.nodes[plan.trigger].component,
        next_run_at=None,
        webhook_token_hash=before.webhook_token_hash if before else None,
        webhook_token=before.webhook_token if before else None,
        nodes=made.nodes,
        edges=made.edges,
        created_at=now,
        updated_at=now,
    )
    return _with_token(call, msgspec.structs.replace(row, next_run_at=next_run_at(row, before, now)))


def _next_version(made: Draft, authorization_id: UUID | None, before: WorkflowRow | None) -> int:
    """Everything that a run keeps makes a version."""
    if before is None:
        return 1
    kept = (before.nodes, before.edges, before.settings, before.authorization_id)
    same = (made.nodes, made.edges, made.settings, authorization_id) == kept
    return before.version if same else before.version + 1


def _with_token(call: Call, row: WorkflowRow) -> WorkflowRow:
    """The row with a webhook token if it needs one; one that it has is kept, whatever the trigger becomes."""
    if row.trigger_component != TRIGGER_COMPONENT or row.webhook_token is not None:
        return row
    token = new_secret("whsec")
    encrypted = call.services.keys.encrypt(token.encode(), context=token_context(row))
    return msgspec.structs.replace(row, webhook_token_hash=hash_token(token), webhook_token=encrypted)


def _version(call: Call, row: WorkflowRow, made: Draft) -> Version:
    if made.plan is None or row.nodes is None or row.edges is None:
        raise LookupError("a version has a plan and a graph")
    plan = encode_plan(made.plan).decode()
    author = call.principal.subject
    source = (row.nodes, row.edges, row.settings)
    return Version(
        row.workspace_id,
        row.id,
        row.version,
        *source,
        plan,
        PLAN_FORMAT,
        author,
        _rules(made.plan),
        row.authorization_id,
    )


def _rules(plan: Plan) -> str | None:
    """What the plan's webhook trigger asks of requests, if it is one."""
    trigger = plan.nodes[plan.trigger]
    return webhook_rules.stored(trigger.data) if trigger.component == TRIGGER_COMPONENT else None


async def _audit(
    connection: Connection, call: Call, action: str, before: WorkflowRow | None, after: WorkflowRow
) -> None:
    target = encode(Prefix.WORKFLOW, after.id)
    await note(connection, call, action, target, before=_digested(before), after=_digested(after))


def _digested(row: WorkflowRow | None) -> str | None:
    """What the audit keeps a digest of: everything a caller can set, and where it led."""
    if row is None:
        return None
    parts = msgspec.structs.asdict(row)
    for passing in ("next_run_at", "webhook_token", "webhook_token_hash", "created_at", "updated_at"):
        del parts[passing]
    return msgspec.json.encode(parts).decode()
