"""Answers kept for ``Idempotency-Key``: written in the request's own transaction, good for 24 hours."""

from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import load

_SQL = load("idempotency")


class Scope(NamedTuple):
    """What a key is unique within, and the key.

    Attributes:
        route: the path as it was called, so that the same key on two workflows is two keys.
    """

    workspace_id: UUID
    method: str
    route: str
    key: str


def body_context(workspace_id: UUID, method: str, route: str, key: str) -> str:
    """What binds an encrypted answer to its row."""
    return f"idempotency.body:{workspace_id} {method} {route} {key}"


class Kept(NamedTuple):
    """An answer.

    Attributes:
        body_hash: SHA-256 of the request's body.
        headers: JSON text of the headers to give again.
        secret: whether ``body`` is encrypted with the vault key ring.
    """

    body_hash: bytes
    status: int
    headers: str
    body: bytes
    secret: bool


async def try_lock(connection: Connection, scope: Scope) -> bool:
    """Take the key for this transaction; False while another request with it is under way."""
    text = f"{scope.workspace_id.hex} {scope.method} {scope.route} {scope.key}"
    return bool(await connection.fetchval(_SQL["try_lock"], text))


async def find(connection: Connection, scope: Scope) -> Kept | None:
    """The answer that was kept, if there is one that is younger than 24 hours."""
    record = await connection.fetchrow(_SQL["find"], *scope)
    return None if record is None else Kept(*record)


async def keep(connection: Connection, scope: Scope, answer: Kept) -> None:
    """Keep an answer."""
    await connection.execute(_SQL["keep"], *scope, *answer)
