"""Starting a run by hand."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

import msgspec

from api.answers import Answer, json_answer
from api.call import Call, found
from api.fields import read_fields
from api.run_fields import Execution
from api.run_view import Run, first_step, present_run
from shared import jsontext
from shared.db import Connection
from shared.errors import ConflictError, InvalidError
from shared.ingest import Accepted, Trigger
from shared.inputs import input_faults
from shared.states import RunStatus, TriggerType
from shared.store import calls, workflows
from shared.store.runs_read import RunRow
from shared.store.workflows import Target

_CALLABLE: Final = "workflow_trigger"
#: Faults that a message repeats.
_QUOTED: Final = 3
_INACTIVE: Final = "The workflow is inactive; activate it first."


def context_text(body: bytes, raw: Mapping[str, Any]) -> str:
    """The context of a request as JSON text, as the caller wrote it where that can be had.

    Raises:
        InvalidError: with every fault.
    """
    given, faults = read_fields(Execution, raw)
    if faults:
        raise InvalidError("validation_failed", " ".join(fault.message for fault in faults), faults=faults)
    context = given.get("context") or {}
    try:
        written = msgspec.json.decode(body or b"{}", type=dict[str, msgspec.Raw]).get("context")
    except msgspec.DecodeError:  # lone surrogates
        written = None
    return bytes(written).decode() if written is not None and context else jsontext.encode(context)


async def target_of(connection: Connection, call: Call, workflow_id: UUID) -> Target:
    """The active workflow that is to be started.

    Raises:
        NotFoundError: if the workspace has no such workflow.
        ConflictError: if it is inactive.
    """
    target = found(await workflows.target(connection, call.workspace_id, workflow_id), "workflow", call)
    if not target.is_active:
        raise ConflictError("workflow_inactive", _INACTIVE)
    return target


async def check_input(connection: Connection, target: Target, payload: str) -> None:
    """Hold a context (JSON text) against what the workflow asks of it.

    Raises:
        InvalidError: ``invalid_input`` with every fault.
    """
    if target.trigger_component != _CALLABLE:
        return
    schema = (await calls.input_schemas(connection, [target.id])).get(target.id)
    faults = [] if schema is None else await asyncio.to_thread(input_faults, schema, jsontext.decode(payload))
    if faults:
        told = " ".join(f"{fault.path}: {fault.message}" for fault in faults[:_QUOTED])
        raise InvalidError("invalid_input", f"The workflow does not take this context. {told}", faults=faults)


def trigger_of(call: Call, target: Target, payload: str) -> Trigger:
    """What the ingest is given."""
    subject = call.principal.subject
    return Trigger(target.id, TriggerType.MANUAL, payload, call.request_id, call.traceparent, started_by=subject)


def answer_of(accepted: Accepted | None, target: Target, payload: str) -> Answer:
    """202 with the pending run.

    Raises:
        ConflictError, NotFoundError: if the workflow was switched off or deleted just now.
    """
    if accepted is None:
        raise ConflictError("workflow_inactive", _INACTIVE)
    return json_answer(202, _pending(accepted, target, payload))


def _pending(accepted: Accepted, target: Target, payload: str) -> Run:
    row = RunRow(
        id=accepted.run_id,
        workspace_id=accepted.workspace_id,
        workflow_id=accepted.workflow_id,
        version=accepted.version,
        created_at=accepted.created_at,
        trigger_type=TriggerType.MANUAL,
        trigger_payload=payload,
        status=RunStatus.PENDING,
        started_at=None,
        completed_at=None,
        error_message=None,
    )
    step = first_step(target.trigger_node, target.trigger_component)
    return msgspec.structs.replace(present_run(row), logs=[], steps=[step])
