"""The audit trail: one row for each write, in the write's own transaction."""

from hashlib import sha256
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import load

_SQL = load("audit")


class Entry(NamedTuple):
    """One write.

    Attributes:
        actor: the subject of the token.
        action: ``workflow.create``, ``workflow.update``, ``workflow.delete``, ``workflow.rotate_token``,
            ``delivery.replay``, ``run.cancel``, ``run.resume``, ``bulk.create``, ``vault.create``, ``vault.update``,
            ``vault.delete``, ``authorization.create``, ``authorization.consent``, ``authorization.consent_again``,
            ``authorization.delete``. The ingest writes ``run.create`` and ``run.rerun`` itself.
        target: the id of the thing, as callers know it.
        before, after: the thing as stored, as text; None where there was or is none. Only digests are kept.
    """

    id: UUID
    workspace_id: UUID
    actor: str
    action: str
    target: str
    before: str | None
    after: str | None
    request_id: str


async def add(connection: Connection, entry: Entry) -> None:
    """Write one entry."""
    await connection.execute(
        _SQL["add"],
        entry.id,
        entry.workspace_id,
        entry.actor,
        entry.action,
        entry.target,
        _digest(entry.before),
        _digest(entry.after),
        entry.request_id,
    )


def _digest(text: str | None) -> bytes | None:
    return None if text is None else sha256(text.encode("utf-8", "surrogatepass")).digest()
