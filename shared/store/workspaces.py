"""Workspaces: one row per value of the token's workspace claim, made when the first valid token comes."""

from uuid import UUID

from shared.db import Connection
from shared.queries import load

_SQL = load("workspaces")


async def find_or_add(connection: Connection, claim: str, fresh: UUID) -> UUID:
    """The workspace of a claim of 1 to 128 characters; it is made with the id ``fresh`` if there is none."""
    found: UUID | None = await connection.fetchval(_SQL["find"], claim)
    if found is None:
        found = await connection.fetchval(_SQL["add"], fresh, claim)
    if found is None:
        found = await connection.fetchval(_SQL["find"], claim)
    if found is None:
        raise LookupError(f"the workspace {claim!r} was removed while it was being made")
    return found
