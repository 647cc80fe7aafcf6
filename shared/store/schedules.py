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
        slot: its ``next_run_at``.
        settings: JSON text.
        now: Postgres's time.
    """

    workflow_id: UUID
    workspace_id: UUID
    slot: datetime
    schedule_type: str
    schedule_value: str | None
    timezone: str
    settings: str
    now: datetime


class Firing(NamedTuple):
    """A slot to be taken.

    Attributes:
        slot: None takes none, and only moves the workflow on.
        run_id: of the run it is to make.
        following: the workflow's next slot; None when there is no more.
    """

    workspace_id: UUID
    workflow_id: UUID
    slot: datetime | None
    run_id: UUID
    following: datetime | None


async def lock_due(connection: Connection, limit: int) -> list[Due]:
    """Take workflows that are due and that nobody else is firing, until the end of the transaction."""
    return [Due(*tuple(record.values())[:8]) for record in await connection.fetch(_SQL["lock_due"], limit)]


async def fire(connection: Connection, firings: Sequence[Firing]) -> set[UUID]:
    """Take slots of locked workflows and move these on; gives the run ids of the slots that were not taken before."""
    records = await connection.fetch(
        _SQL["fire"],
        [firing.workspace_id for firing in firings],
        [firing.workflow_id for firing in firings],
        [firing.slot for firing in firings],
        [firing.run_id for firing in firings],
        [firing.following for firing in firings],
    )
    return {record["run_id"] for record in records}
