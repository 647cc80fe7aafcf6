"""Which workflows call which, and which one the failures of a workflow start."""

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection, Executes
from shared.lanes import Doorbell
from shared.links import Place
from shared.queries import load
from shared.store import answers

_SQL = load("calls")


class Callee(NamedTuple):
    """A workflow that another one may name."""

    id: UUID
    name: str
    trigger_component: str


async def lock(connection: Connection, workspace_id: UUID) -> None:
    """Let no other transaction change who calls whom in a workspace until this one ends: two could close a circle."""
    await connection.execute(_SQL["lock"], workspace_id)


async def find(connection: Connection, workspace_id: UUID, workflow_id: UUID) -> Callee | None:
    """A workflow of the workspace that was not deleted."""
    record = await connection.fetchrow(_SQL["find"], workspace_id, workflow_id)
    return None if record is None else Callee(*record)


async def with_trigger(connection: Connection, workspace_id: UUID, component: str) -> list[Callee]:
    """Some active workflows of a workspace that begin with such a trigger, by name."""
    return [Callee(*record) for record in await connection.fetch(_SQL["with_trigger"], workspace_id, component)]


async def callers(connection: Connection, workflow_id: UUID) -> list[Callee]:
    """The workflows whose current version calls this one."""
    return [Callee(*record) for record in await connection.fetch(_SQL["callers"], workflow_id)]


async def way(connection: Connection, first: Collection[UUID], last: UUID) -> list[UUID]:
    """The shortest way from one of some workflows to another, each calling the next; empty if there is none."""
    called: dict[UUID, list[UUID]] = {}
    for caller, callee in await connection.fetch(_SQL["reached"], list(first)):
        called.setdefault(caller, []).append(callee)
    before: dict[UUID, UUID | None] = dict.fromkeys(first)
    queue = deque(before)
    while queue and last not in before:
        for callee in called.get(at := queue.popleft(), ()):
            if callee not in before:
                before[callee] = at
                queue.append(callee)
    return _backwards(before, last)[::-1] if last in before else []


def _backwards(before: Mapping[UUID, UUID | None], last: UUID) -> list[UUID]:
    found: list[UUID] = []
    at: UUID | None = last
    while at is not None:
        found.append(at)
        at = before[at]
    return found


async def names(connection: Connection, ids: Collection[UUID]) -> dict[UUID, str]:
    """The names of workflows."""
    return {each: name for each, name in await connection.fetch(_SQL["names"], list(ids))}  # noqa: C416 — records


async def replace(connection: Connection, workspace_id: UUID, workflow_id: UUID, callees: Sequence[UUID]) -> None:
    """Say which workflows the current version of a workflow calls."""
    await connection.execute(_SQL["forget"], workflow_id, callees)
    await connection.execute(_SQL["add"], workspace_id, workflow_id, callees)


async def set_input_schema(connection: Connection, workspace_id: UUID, workflow_id: UUID, schema: str | None) -> None:
    """Say what a workflow asks of the context that it is called with (JSON text); None: nothing."""
    if schema is None:
        await connection.execute(_SQL["drop_input_schema"], workflow_id)
    else:
        await connection.execute(_SQL["set_input_schema"], workflow_id, workspace_id, schema)


async def input_schemas(connection: Executes, ids: Collection[UUID]) -> dict[UUID, str]:
    """What some workflows ask of their context, as JSON text; nothing for those that ask nothing."""
    records = await connection.fetch(_SQL["input_schemas"], list(ids))
    return {workflow_id: schema for workflow_id, schema in records}  # noqa: C416 — records


async def refuse(connection: Connection, run_id: UUID, node_id: str, item: str, faults: str) -> list[Doorbell]:
    """Let a step that calls a workflow go on without a run, with what is wrong with its context (JSON text)."""
    await connection.execute(_SQL["refuse"], run_id, node_id, item, faults)
    return await answers.wake(connection, Place(run_id, node_id, item))


async def set_error_workflow(connection: Connection, workflow_id: UUID, error_workflow_id: UUID | None) -> None:
    """Say which workflow the failures of a workflow start."""
    await connection.execute(_SQL["set_error_workflow"], workflow_id, error_workflow_id)
