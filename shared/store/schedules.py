"""Schedules that are due, and their slots: each makes one run, whoever takes it."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.queries import load

_SQL = load("schedules")


class Due(NamedTuple):
    """A workflow whose slot is due.

    Attributes:
        due_at: its ``next_run_at``.
        settings: JSON text.
        now: Postgres's time.
    """

    workflow_id: UUID
    workspace_id: UUID
    due_at: datetime
    schedule_type: str
    schedule_value: str | None
    timezone: str
    settings: str
    now: datetime


class Taking(NamedTuple):
    """A slot to be taken, and the run it is to make."""

    workspace_id: UUID
    workflow_id: UUID
    slot: datetime
    run_id: UUID


async def lock_due(connection: Connection, limit: int, *, late: float, is_late: bool) -> list[Due]:
    """Take workflows that are due and that nobody else is firing, the oldest first, until the end of the transaction.

    With ``is_late`` those that have been due for ``late`` seconds, else the others.
    """
    records = await connection.fetch(_SQL["lock_due"], limit, late, is_late)
    return [Due(*tuple(record.values())[:8]) for record in records]


async def move(connection: Connection, following: Sequence[tuple[UUID, datetime | None]]) -> None:
    """Move locked workflows on to the moments they are due at next; None where there is none."""
    await connection.execute(_SQL["move"], *map(list, zip(*following, strict=True)))


async def take(connection: Connection, takings: Sequence[Taking]) -> set[UUID]:
    """Take slots of locked workflows; gives the run ids of those that were not taken before."""
    if not takings:
        return set()
    records = await connection.fetch(_SQL["take"], *map(list, zip(*takings, strict=True)))
    return {record["run_id"] for record in records}
