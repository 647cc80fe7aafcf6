"""The other workflows that a workflow names: those its nodes call, and the one that its failures start."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from api.call import Call
from api.workflow_draft import Draft
from shared.db import Connection
from shared.errors import ConflictError, Fault, NotFoundError
from shared.graph.suggest import shown
from shared.ids import Prefix, decode, encode
from shared.nodes.registry import Registry
from shared.store import calls
from shared.store.calls import Callee

_CALLABLE: Final = "workflow_trigger"
_HANDLER: Final = "error_trigger"
#: The most workflows that a message names.
_NAMED: Final = 10


class Links(NamedTuple):
    """What a draft names; None for what the request leaves as it is.

    Attributes:
        callees: the workflows its nodes call.
        settings_given: whether the error workflow is to be stored.
        error_workflow_id: the one that its failures start.
    """

    callees: set[UUID] | None
    settings_given: bool
    error_workflow_id: UUID | None


async def check(
    connection: Connection, call: Call, made: Draft, raw: Mapping[str, Any], own_id: UUID | None, *, lock: bool
) -> tuple[Links, list[Fault]]:
    """What a draft names of other workflows, and everything that is wrong with it.

    Args:
        connection: with the transaction that stores the draft, if that is what comes next.
        call: of the request.
        made: the draft.
        raw: what the request changes; links that it does not touch are left alone.
        own_id: of the stored workflow, if there is one.
        lock: whether no other workflow of the workspace may begin or end to call one meanwhile.
    """
    faults: list[Fault] = []
    named = list(_calls(made, call.services.registry)) if made.plan is not None and "nodes" in raw else []
    if lock and named:
        await calls.lock(connection, call.workspace_id)
    callees: dict[UUID, str] = {}
    for path, text in named:
        callee_id, fault = await _callee(connection, call, path, text)
        faults.extend([fault] if fault else [])
        callees.update({callee_id: path} if callee_id else {})
    if own_id is not None:
        faults += await _cycle(connection, own_id, callees)
    handler, wrong = (
        await _handler(connection, call, made.values["settings"], own_id) if "settings" in raw else (None, [])
    )
    links = Links(set(callees) if "nodes" in raw else None, "settings" in raw, handler)
    return links, [*faults, *wrong]


async def store(connection: Connection, call: Call, workflow_id: UUID, links: Links) -> None:
    """Keep what a workflow names in step with its current version."""
    if links.callees is not None:
        await calls.replace(connection, call.workspace_id, workflow_id, sorted(links.callees))
    if links.settings_given:
        await calls.set_error_workflow(connection, workflow_id, links.error_workflow_id)


async def callee_faults(connection: Connection, call: Call, path: str, text: str) -> list[Fault]:
    """What is wrong with the name of a workflow that a single node calls.

    Args:
        connection: to read by.
        call: of the request.
        path: where the name stands.
        text: the name.
    """
    _, fault = await _callee(connection, call, path, text)
    return [] if fault is None else [fault]


async def refuse_called(connection: Connection, call: Call, workflow_id: UUID) -> None:
    """Refuse to delete a workflow that others call.

    Raises:
        ConflictError: naming them.
    """
    await calls.lock(connection, call.workspace_id)
    callers = await calls.callers(connection, workflow_id)
    if callers:
        message = f"The workflow is called by {names_of(callers)}. Take these calls out first."
        raise ConflictError("workflow_called", message)


def _calls(made: Draft, registry: Registry) -> Iterator[tuple[str, str]]:
    """The workflows that nodes call, each with the path of the field that says so."""
    nodes = {} if made.plan is None else made.plan.nodes
    for place, node in enumerate(made.values["nodes"]):
        planned = nodes.get(node["id"])
        text = registry.type_of(planned.component).calls(planned.data) if planned else None
        if text is not None:
            yield f"nodes[{place}].data.workflow_id", text


async def _find(connection: Connection, call: Call, text: str) -> Callee | None:
    try:
        return await calls.find(connection, call.workspace_id, decode(Prefix.WORKFLOW, text))
    except NotFoundError:
        return None


async def _callee(connection: Connection, call: Call, path: str, text: str) -> tuple[UUID | None, Fault | None]:
    callee = await _find(connection, call, text)
    if callee is not None and callee.trigger_component == _CALLABLE:
        return callee.id, None
    known = names_of(await calls.with_trigger(connection, call.workspace_id, _CALLABLE))
    options = f"Workflows that can be called: {known}." if known else "No workflow of this workspace can be called."
    if callee is None:
        message = f"There is no workflow {shown(text)} in this workspace. {options}"
        return None, Fault(path, "unknown_workflow", message)
    message = f"The workflow {shown(callee.name)} begins with {callee.trigger_component}, not {_CALLABLE}. {options}"
    return None, Fault(path, "workflow_not_callable", message)


async def _cycle(connection: Connection, own_id: UUID, callees: Mapping[UUID, str]) -> list[Fault]:
    """The shortest circle that calls of these would close."""
    way = await calls.way(connection, callees, own_id) if callees else []
    if not way:
        return []
    names = await calls.names(connection, way)
    circle = " -> ".join(shown(names[each]) for each in [own_id, *way])
    return [Fault(callees[way[0]], "workflow_cycle", f"Workflows may not call one another in a circle: {circle}.")]


async def _handler(
    connection: Connection, call: Call, settings: Mapping[str, Any], own_id: UUID | None
) -> tuple[UUID | None, list[Fault]]:
    """The error workflow that settings name."""
    text = settings.get("error_workflow_id")
    if not isinstance(text, str):
        return None, []
    path = "settings.error_workflow_id"
    handler = await _find(connection, call, text)
    if handler is None:
        message = f"There is no workflow {shown(text)} in this workspace."
        return None, [Fault(path, "unknown_workflow", message)]
    if handler.id == own_id:
        return None, [Fault(path, "workflow_cycle", "A workflow cannot be its own error workflow.")]
    if handler.trigger_component != _HANDLER:
        message = f"The workflow {shown(handler.name)} begins with {handler.trigger_component}, not {_HANDLER}."
        return None, [Fault(path, "no_error_trigger", message)]
    return handler.id, []


def names_of(workflows: Sequence[Callee]) -> str:
    """Workflows as a message names them: the first ten, and how many more there are."""
    told = [f"{shown(each.name)} ({encode(Prefix.WORKFLOW, each.id)})" for each in workflows[:_NAMED]]
    return ", ".join(told) + (f" and {more} more" if (more := len(workflows) - _NAMED) > 0 else "")
