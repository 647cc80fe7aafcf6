"""Making a run that goes on where another one ended; what it inherits is copied by the database itself."""

from typing import NamedTuple
from uuid import UUID

from shared.db import Connection
from shared.graph.resume import Frontier, Settled
from shared.lanes import Doorbell, Reference
from shared.queries import load
from shared.store.duties import changed

_SQL = load("resume")
_ROOT = "-"


class Resumption(NamedTuple):
    """A run that is to be made.

    Attributes:
        run_id: of the new run.
        source_id: the run it goes on with; terminal.
        started_by: the subject of the token.
    """

    run_id: UUID
    source_id: UUID
    request_id: str | None
    traceparent: str | None
    started_by: str


async def results(connection: Connection, run_id: UUID) -> dict[str, Settled]:
    """How each node of a run ended that lies outside iterators."""
    records = await connection.fetch(_SQL["results"], run_id)
    return {record["node_id"]: Settled(record["status"], record["handle"]) for record in records}


async def begin(connection: Connection, new: Resumption, start: Frontier) -> list[Doorbell] | None:
    """Make the run, in the caller's transaction; gives the messages to send after its commit.

    None if the workflow is gone or inactive: then the caller must not commit.
    """
    copied = changed(await connection.execute(_SQL["copy_steps"], new.run_id, new.source_id, start.copied))
    for table in (_SQL["copy_iterations"], _SQL["copy_items"]):
        await connection.execute(table, new.run_id, new.source_id, start.copied)
    made = await connection.fetchval(
        _SQL["add_run"], new.run_id, new.source_id, len(start.ready), copied, start.skipped, *new[2:]
    )
    if made is None:
        return None
    joins = sorted(start.joins.items())
    counts = ([join.arrived for _, join in joins], [join.fired for _, join in joins])
    await connection.execute(_SQL["count_joins"], new.run_id, [name for name, _ in joins], *counts)
    priority = await connection.fetchval(_SQL["open"], new.run_id, start.ready)
    return [Doorbell(Reference(new.run_id, name, _ROOT, claim=True), priority, new=True) for name in start.ready]
