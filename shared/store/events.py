"""Which workflows listen to which events, and the runs of events that steps publish."""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from shared.db import Connection, Executes
from shared.lanes import Doorbell, Reference
from shared.queries import load

_SQL = load("events")


class Listener(NamedTuple):
    """A workflow that an event may start; the filter is JSON text, None if it takes every event."""

    workflow_id: UUID
    filter: str | None


class Publication(NamedTuple):
    """An event that a step publishes.

    Attributes:
        verdict: ``published``, or why it is not.
        runs: id and workflow of each run that it starts.
        payload: JSON text.
    """

    run_id: UUID
    node_id: str
    item: str
    verdict: str
    runs: Sequence[tuple[UUID, UUID]]
    payload: str


async def listeners(connection: Executes, workspace_id: UUID, event: str, limit: int) -> list[Listener]:
    """The active workflows of a workspace that listen to an event, at most so many."""
    records = await connection.fetch(_SQL["listeners"], workspace_id, event, limit)
    return [Listener(workflow_id, text) for workflow_id, text in records]


async def workspace_of(connection: Executes, run_id: UUID) -> UUID:
    """The workspace of a run."""
    (record,) = await connection.fetch(_SQL["workspace"], run_id)
    found: UUID = record["workspace_id"]
    return found


async def listen(connection: Connection, workspace_id: UUID, workflow_id: UUID, event: str, text: str | None) -> None:
    """Say to which event a workflow listens, and with which filter (JSON text)."""
    await connection.execute(_SQL["listen"], workflow_id, workspace_id, event, text)


async def forget(connection: Connection, workflow_id: UUID) -> None:
    """Say that a workflow listens to nothing."""
    await connection.execute(_SQL["forget"], workflow_id)


async def publish(connection: Executes, publication: Publication) -> list[Doorbell]:
    """Start the runs of an event in the transaction of the step that publishes it, and let that step go on."""
    run_id, node_id, item, verdict, runs, payload = publication
    ids, flows = [each for each, _ in runs], [flow for _, flow in runs]
    records = await connection.fetch(_SQL["publish"], run_id, node_id, item, verdict, ids, flows, payload)
    return [
        Doorbell(Reference(run, node, at, claim=False), priority, new=run != run_id)
        for run, node, at, priority in records
    ]
