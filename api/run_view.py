"""The run object as callers see it: its log entries, its steps, and why each of them waits."""

from hashlib import sha256
from typing import Annotated, Final
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.moments import stamp, stamp_or_none
from api.run_graphs import RunGraph
from api.run_waits import WaitingFor, rate_limited, waiting_for
from shared import jsontext
from shared.graph.model import ERROR_HANDLE
from shared.ids import Prefix, encode, milliseconds_of, uuid7
from shared.nodes.base import CompiledNode
from shared.states import LOG_STATUS, StepStatus
from shared.store.runs_read import LOG_ENTRIES, OpenStep, RunRow, SettledStep

_NULL: Final = msgspec.Raw(b"null")


class LogEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of a step, the trigger included."""

    id: str
    execution_id: str
    node_id: str
    component_id: str | None
    status: str
    output: msgspec.Raw
    created_at: str
    seq: int
    input: msgspec.Raw
    attempt: int
    item: str
    started_at: str
    duration_ms: int
    handle: str | None
    error: msgspec.Raw


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Where one step stands, or how one attempt of it ended."""

    node_id: str
    component_id: str | None
    item: str
    attempt: int
    status: str
    handle: str | None
    started_at: str | None
    duration_ms: int | None
    waiting_for: WaitingFor | None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """The run object. Lists leave out ``logs`` and ``steps``.

    Attributes:
        truncated: only there, and true, if the run has more than is shown; see `shared.store.runs_read.LOG_ENTRIES`.
    """

    id: str
    status: str
    error_message: str | None
    started_at: str | None
    completed_at: str | None
    duration_in_seconds: float | None
    logs: list[LogEntry] | UnsetType = UNSET
    trigger_payload: msgspec.Raw
    created_at: str
    workflow_id: str
    version: int
    trigger_type: str
    parent_run_id: Annotated[str | None, Meta(description="the run whose step started this one")] = None
    rerun_of: Annotated[str | None, Meta(description="the run that this one repeats or goes on with")] = None
    steps: list[Step] | UnsetType = UNSET
    truncated: Annotated[
        bool | UnsetType,
        Meta(
            description="only there, and true, if the run has more than stands here: the first 10,000 log entries, as"
            " far as their outputs, inputs and errors have 16 MiB together, and the first 10,000 settled and open steps"
        ),
    ] = UNSET


def present_run(row: RunRow) -> Run:
    """A run without its logs and steps."""
    return Run(
        id=encode(Prefix.RUN, row.id),
        status=row.status,
        error_message=row.error_message,
        started_at=stamp_or_none(row.started_at),
        completed_at=stamp_or_none(row.completed_at),
        duration_in_seconds=_duration(row),
        trigger_payload=_raw(row.trigger_payload),
        created_at=stamp(row.created_at),
        workflow_id=encode(Prefix.WORKFLOW, row.workflow_id),
        version=row.version,
        trigger_type=row.trigger_type,
        parent_run_id=None if row.parent_run_id is None else encode(Prefix.RUN, row.parent_run_id),
        rerun_of=None if row.rerun_of is None else encode(Prefix.RUN, row.rerun_of),
    )


def present_whole(row: RunRow, graph: RunGraph, settled: list[SettledStep], still_open: list[OpenStep]) -> Run:
    """A run with its logs in order, and its steps: the settled in order, then the open ones."""
    run = present_run(row)
    shown, opened = settled[:LOG_ENTRIES], still_open[:LOG_ENTRIES]
    logged = [step for step in shown if step.status in LOG_STATUS and step.fits]
    whole = len(shown) == len(settled) and len(opened) == len(still_open) and all(step.fits for step in shown)
    limited = rate_limited(shown)
    return msgspec.structs.replace(
        run,
        logs=[_log_entry(row, run.id, graph, step) for step in logged],
        steps=[
            *(_settled_step(graph, step) for step in shown),
            *(_open_step(graph, step, limited=(step.node_id, step.item, step.attempt) in limited) for step in opened),
        ],
        truncated=UNSET if whole else True,
    )


def first_step(node_id: str, component: str) -> Step:
    """The trigger of a run that has just been accepted."""
    return Step(
        node_id=node_id,
        component_id=component,
        item="-",
        attempt=1,
        status=StepStatus.READY,
        handle=None,
        started_at=None,
        duration_ms=None,
        waiting_for=WaitingFor("queue", None, "It waits for its turn."),
    )


def log_id(run_id: UUID, node_id: str, item: str, attempt: int) -> str:
    """The id of a log entry: always the same for one attempt of one step, sorted with its run."""
    digest = sha256(f"{run_id.hex} {node_id} {item} {attempt}".encode()).digest()
    return encode(Prefix.LOG, uuid7(milliseconds_of(run_id), int.from_bytes(digest[:10], "big")))


def _duration(row: RunRow) -> float | None:
    if row.started_at is None or row.completed_at is None:
        return None
    return round((row.completed_at - row.started_at).total_seconds(), 6)


def _log_entry(row: RunRow, run_id: str, graph: RunGraph, step: SettledStep) -> LogEntry:
    return LogEntry(
        id=log_id(row.id, step.node_id, step.item, step.attempt),
        execution_id=run_id,
        node_id=step.node_id,
        component_id=graph.components.get(step.node_id),
        status=_log_status(step),
        output=_output(row, run_id, graph, step),
        created_at=stamp(step.started_at),
        seq=step.seq,
        input=_raw(step.input),
        attempt=step.attempt,
        item=step.item,
        started_at=stamp(step.started_at),
        duration_ms=step.duration_ms,
        handle=step.handle,
        error=_raw(step.error),
    )


def _log_status(step: SettledStep) -> str:
    """``warning`` is a failed attempt that was tried again or continued past."""
    status = StepStatus(step.status)
    return "warning" if status is StepStatus.FAILED and step.handle == ERROR_HANDLE else LOG_STATUS[status]


def _output(row: RunRow, run_id: str, graph: RunGraph, step: SettledStep) -> msgspec.Raw:
    """What a step gave out. A trigger's is not stored but made of the run; a failed step's is its error."""
    if step.output is not None:
        return _raw(step.output)
    if step.error is not None:
        return _raw(f'{{"error":{step.error}}}')
    if _is_trigger(graph.trigger, step):
        made = graph.trigger_output(run_id, row.trigger_type, row.trigger_payload)
        return msgspec.Raw(jsontext.encode(made).encode())
    return _NULL


def _is_trigger(trigger: CompiledNode | None, step: SettledStep) -> bool:
    return trigger is not None and trigger.id == step.node_id


def _settled_step(graph: RunGraph, step: SettledStep) -> Step:
    return Step(
        node_id=step.node_id,
        component_id=graph.components.get(step.node_id),
        item=step.item,
        attempt=step.attempt,
        status=step.status,
        handle=step.handle,
        started_at=stamp(step.started_at),
        duration_ms=step.duration_ms,
        waiting_for=None,
    )


def _open_step(graph: RunGraph, step: OpenStep, *, limited: bool) -> Step:
    return Step(
        node_id=step.node_id,
        component_id=graph.components.get(step.node_id),
        item=step.item,
        attempt=step.attempt,
        status=step.status,
        handle=None,
        started_at=stamp_or_none(step.started_at),
        duration_ms=None,
        waiting_for=waiting_for(step, waits=step.node_id in graph.waits, limited=limited),
    )


def _raw(text: str | None) -> msgspec.Raw:
    return _NULL if text is None else msgspec.Raw(jsontext.to_bytes(text))
