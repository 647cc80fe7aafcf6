"""Builders for tests of runs that start runs: workflows of one workspace that call one another, and their rows."""

import json
from typing import Any
from uuid import UUID

from shared.ids import Prefix, encode
from shared.nodes.registry import Registry
from shared.store import duties
from tests.engine import Engine, Flow, Graph, eventually, graph, wake_due, workflow

CALLED = {"component": "workflow_trigger"}
FAILED = {"component": "error_trigger"}


def call(flow: Flow | None, **data: Any) -> dict[str, Any]:
    """The data of a node that calls a workflow; of none: one that does not exist."""
    target = "fl_01h455vb4pex5vsknk084sn02q" if flow is None else encode(Prefix.WORKFLOW, flow.workflow_id)
    return {"component": "trigger_workflow", "workflow_id": target, **data}


async def beside(connection: Any, other: Flow, drawn: Graph, known: Registry | None = None) -> Flow:
    """A workflow in the workspace of another."""
    made = await workflow(connection, *drawn, known)
    for table, column in (("workflows", "id"), ("workflow_versions", "workflow_id")):
        await connection.execute(
            f"UPDATE {table} SET workspace_id = $1 WHERE {column} = $2", other.workspace_id, made.workflow_id
        )
    return made._replace(workspace_id=other.workspace_id)


async def pair(
    connection: Any, inner: Graph, outer: str = "t>c c>fz", known: Registry | None = None, **data: Any
) -> tuple[Flow, Flow]:
    """A workflow whose node ``c`` calls another, and that other one; ``data`` is the calling node's."""
    callee = await workflow(connection, *inner, known)
    spec = {"c": call(callee, **data), "fz": {"value": "{{ c.output.value }}"}}
    drawn = graph(outer, **{name: fields for name, fields in spec.items() if name in outer})
    return await beside(connection, callee, drawn, known), callee


async def runs_of(connection: Any, flow: Flow) -> list[Any]:
    """The runs of a workflow, oldest first."""
    found: list[Any] = await connection.fetch("SELECT * FROM runs WHERE workflow_id = $1 ORDER BY id", flow.workflow_id)
    return found


async def children_of(connection: Any, run_id: UUID) -> list[Any]:
    """The runs that a run started, oldest first."""
    found: list[Any] = await connection.fetch("SELECT * FROM runs WHERE parent_run_id = $1 ORDER BY id", run_id)
    return found


async def payload_of(connection: Any, run_id: UUID) -> Any:
    """What a run was started with."""
    return json.loads(await connection.fetchval("SELECT trigger_payload FROM runs WHERE id = $1", run_id))


async def settle(engine: Engine, *, seconds: float = 30.0) -> None:
    """Carry everything on until no run is open."""

    async def ended() -> bool:
        await engine.follow()
        await wake_due(engine.outside, engine.mailbox)
        async with engine.outside.acquire() as connection:
            engine.mailbox.announce((await duties.top_up(connection, window=1000, limit=1000)).doorbells)
        return not await engine.outside.fetchval("SELECT count(*) FROM runs WHERE completed_at IS NULL")

    await eventually(ended, seconds)
