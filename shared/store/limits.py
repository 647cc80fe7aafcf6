"""How many runs of a workflow may be under way, and for how long: slots and time-outs."""

from collections.abc import Mapping
from typing import Literal, NamedTuple
from uuid import UUID

import asyncpg

from shared.db import Executes
from shared.lanes import Doorbell
from shared.queries import load
from shared.store.advance import opened

_SQL = load("limits")


class Verdict(NamedTuple):
    """Whether a run may begin.

    Attributes:
        kind: ``entered``: it has its slots; ``queued``: its step waits for them, and is not held any more; ``skipped``.
        oldest: the run under way that is to be cancelled for it, if any.
    """

    kind: Literal["entered", "queued", "skipped"]
    oldest: UUID | None


async def enter(connection: Executes, run_id: UUID, claim_id: UUID, key: str | None) -> Verdict:
    """Ask for the slots of a run whose first step is held under a claim."""
    (record,) = await connection.fetch(_SQL["enter"], run_id, claim_id, key)
    return Verdict(*record)


async def admit(connection: Executes, workflow_id: UUID) -> list[Doorbell]:
    """Let runs of a workflow go on that wait for a slot; gives the messages to send.

    If the workflow is held for long by somebody else, nothing is done; the scheduler comes back to it.
    """
    return await _admitted(connection, _SQL["admit"], workflow_id)


async def admit_after(connection: Executes, run_id: UUID) -> list[Doorbell]:
    """The same after the end of a run that held a slot."""
    return await _admitted(connection, _SQL["admit_after"], run_id)


async def queued_workflows(connection: Executes, limit: int, behind: UUID) -> list[UUID]:
    """Workflows that runs wait for a slot of, in order behind one."""
    return [record["workflow_id"] for record in await connection.fetch(_SQL["queued"], limit, behind)]


async def overdue(connection: Executes, limit: int) -> Mapping[UUID, int]:
    """Runs that have been active for longer than they may, and for how many seconds they may."""
    return {record["id"]: record["run_timeout"] for record in await connection.fetch(_SQL["overdue"], limit)}


async def _admitted(connection: Executes, query: str, key: UUID) -> list[Doorbell]:
    try:
        bells = opened(await connection.fetch(query, key))
    except asyncpg.LockNotAvailableError:
        return []
    # A run of a limited workflow begins by a claim.
    return [bell._replace(reference=bell.reference._replace(claim=True)) for bell in bells]
