"""Questions of steps that wait for answers, and the answers: written once, kept from before the wait begins.

Whoever begins or ends such a wait, or answers it, holds the lock of the run's row; so an answer and a time-out that
come at once are one after the other, and the first of them decides.
"""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.lanes import Doorbell
from shared.links import Place
from shared.queries import load
from shared.store.advance import opened

_SQL = load("answers")


class Asked(NamedTuple):
    """What is known of a step that waits for an answer, or will, or did.

    Attributes:
        run_over: its run has ended, or is being ended.
        nodes: the nodes of the run's version as JSON; None once the workflow was removed.
        question: as JSON, once the wait has begun.
        outcome: of the answer, if there is one.
        waits: it waits for it now; None if the step is not open.
        due_at: when it stops to wait.
        wait_over: it has stopped to wait.
    """

    run_over: bool
    nodes: str | None
    question: str | None
    outcome: str | None
    waits: bool | None
    due_at: datetime | None
    wait_over: bool


async def find(connection: Connection, place: Place) -> Asked | None:
    """What is known of a step; None once its run was removed."""
    record = await connection.fetchrow(_SQL["asked"], *place)
    return None if record is None else Asked(*record.values())


async def lock_run(connection: Connection, run_id: UUID) -> None:
    """Keep the waits of a run from beginning and ending until this transaction ends."""
    await connection.execute(_SQL["lock_run"], run_id)


async def answer(connection: Connection, place: Place, outcome: str, data: str) -> bool:
    """Keep an answer, its data as JSON; false if there is one. The run is locked."""
    return bool(await connection.fetchval(_SQL["answer"], *place, outcome, data))


async def wake(connection: Connection, place: Place) -> list[Doorbell]:
    """End the wait of a step that was answered. The run is locked."""
    return opened(await connection.fetch(_SQL["wake"], *place))
