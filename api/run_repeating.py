"""Runs made of runs: the same trigger once more, or going on behind a node of one that failed."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from api.auditing import note
from api.call import Call
from api.run_reading import run_name
from api.run_starting import target_of
from api.run_view import Run
from shared.db import Connection
from shared.errors import ConflictError, InvalidError, NotFoundError
from shared.graph.plan import Plan
from shared.graph.resume import Settled, frontier
from shared.graph.suggest import Nearest, shown
from shared.ingest import Accepted, Trigger
from shared.lanes import Doorbell
from shared.states import RUN_TERMINAL, RunStatus, StepStatus
from shared.store import plans, resume
from shared.store.resume import Resumption
from shared.store.runs_read import RunRow

#: The statuses of runs that can be gone on with.
_UNFINISHED: Final = frozenset({RunStatus.FAILED, RunStatus.CANCELLED})
_INACTIVE: Final = "The workflow is inactive; activate it first."


class RerunQuery(msgspec.Struct, frozen=True):
    """Which version of the workflow the new run is of."""

    version: Annotated[
        Literal["current", "original"],
        Meta(description="one of current (the default), original: the version of the run that is repeated"),
    ] = "current"


class Repeated(msgspec.Struct, frozen=True):
    """The answer of rerun and resume."""

    message: str
    new_run: Run


async def rerun(connection: Connection, call: Call, source: RunRow, *, original: bool) -> Accepted:
    """Accept the trigger of a run that has ended once more, in the caller's transaction.

    Raises:
        ConflictError: if the run is open, or its workflow inactive.
    """
    if RunStatus(source.status) not in RUN_TERMINAL:
        message = f"The run is {source.status}; only runs that have ended are run again. Cancel it first, or wait."
        raise ConflictError("run_open", message)
    await target_of(connection, call, source.workflow_id)
    version = source.version if original else None
    accepted = await call.services.ingest.accept_on(
        connection,
        Trigger(
            source.workflow_id,
            source.trigger_type,
            source.trigger_payload,
            call.request_id,
            call.traceparent,
            started_by=call.principal.subject,
            rerun_of=source.id,
            version=version,
            trigger_node=(await _plan(connection, call, source)).trigger if original else None,
        ),
    )
    if accepted is None:
        raise ConflictError("workflow_inactive", _INACTIVE)
    return accepted


async def resume_from(connection: Connection, call: Call, source: RunRow, node_id: str) -> tuple[UUID, list[Doorbell]]:
    """Make a run that goes on behind a node, in the caller's transaction; gives its id and the messages about it.

    Raises:
        ConflictError: if the run neither failed nor was cancelled, or its workflow is inactive.
        InvalidError: if nothing can go on behind this node, or nothing is left to run.
    """
    if RunStatus(source.status) not in _UNFINISHED:
        message = f"The run is {source.status}; only a failed or cancelled run can be resumed."
        raise ConflictError("run_not_resumable", message)
    await target_of(connection, call, source.workflow_id)
    plan = await _plan(connection, call, source)
    settled = await resume.results(connection, source.id)
    _check_node(plan, settled, node_id)
    start = await asyncio.to_thread(frontier, plan, settled, node_id)
    if not start.ready:
        message = (
            f"Every node of the run has ended, and nothing comes behind {shown(node_id)}: resume from an earlier one."
        )
        raise InvalidError("nothing_to_resume", message)
    run_id = call.services.mint.uuid()
    new = Resumption(run_id, source.id, call.request_id, call.traceparent, call.principal.subject)
    bells = await resume.begin(connection, new, start)
    if bells is None:
        raise ConflictError("workflow_inactive", _INACTIVE)
    await note(connection, call, "run.resume", run_name(run_id), before=None, after=f"{run_name(source.id)} {node_id}")
    return run_id, bells


def _check_node(plan: Plan, settled: Mapping[str, Settled], node_id: str) -> None:
    node = plan.nodes.get(node_id)
    if node is None:
        hint = Nearest().hint(node_id, lambda: list(plan.nodes))
        raise _refused(f"The run has no node {shown(node_id)}{hint}")
    if node.scope:
        outermost = shown(node.scope[0])
        raise _refused(
            f"{shown(node_id)} is inside the iterator {outermost}; resume from that, or from a node before it."
        )
    result = settled.get(node_id)
    if result is None or result.status != StepStatus.SUCCESS:
        status = "never ran" if result is None else f"is {result.status}"
        legal = [name for name, each in settled.items() if each.status == StepStatus.SUCCESS and name in plan.nodes]
        raise _refused(f"{shown(node_id)} did not complete: it {status}. These did: {', '.join(sorted(legal)[:20])}.")


def _refused(message: str) -> InvalidError:
    return InvalidError("node_not_resumable", message)


async def _plan(connection: Connection, call: Call, row: RunRow) -> Plan:
    """The plan of the version a run is of."""
    plan = await plans.plan(connection, call.services.registry, row.workflow_id, row.version)
    if plan is None:
        raise NotFoundError("not_found", "The workflow of this run was deleted.")
    return plan
