"""The source and the plan of workflow versions."""

from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
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
