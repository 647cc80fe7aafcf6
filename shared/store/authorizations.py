"""Authorizations: what a workflow presents to the APIs it calls."""

from uuid import UUID

from shared.db import Connection
from shared.queries import load

_SQL = load("authorizations")


async def exists(connection: Connection, workspace_id: UUID, authorization_id: UUID) -> bool:
    """Whether the workspace has this authorization."""
    return bool(await connection.fetchval(_SQL["exists"], authorization_id, workspace_id))
