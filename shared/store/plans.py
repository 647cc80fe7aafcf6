"""The source and the plan of workflow versions."""

import asyncio
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.graph.catalogue import Catalogue
from shared.graph.plan import PLAN_FORMAT, Plan, compile_plan, decode_plan
from shared.jsontext import decode
from shared.queries import load

_SQL = load("plans")


class Source(NamedTuple):
    """A version, as JSON text but for the format of its plan."""

    plan: str
    plan_format: int
    nodes: str
    edges: str


async def source(connection: Connection, workflow_id: UUID, version: int) -> Source | None:
    """A version; None once its workflow was removed."""
    record = await connection.fetchrow(_SQL["load_version"], workflow_id, version)
    return None if record is None else Source(*(record[name] for name in Source._fields))


async def plan(connection: Connection, catalogue: Catalogue, workflow_id: UUID, version: int) -> Plan | None:
    """The plan of a version; None once its workflow was removed. Large ones take a while, so a thread reads them."""
    found = await source(connection, workflow_id, version)
    if found is None:
        return None
    if found.plan_format == PLAN_FORMAT:
        return await asyncio.to_thread(decode_plan, found.plan)
    return await asyncio.to_thread(compile_plan, decode(found.nodes), decode(found.edges), catalogue)
