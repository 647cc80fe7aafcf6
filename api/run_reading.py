"""Reading one run as callers see it."""

from uuid import UUID

from api.call import Call, found
from api.run_iterators import with_results
from api.run_view import Run, present_whole
from shared.db import Connection
from shared.ids import Prefix, encode
from shared.store import runs_read
from shared.store.runs_read import RunRow


async def row_of(connection: Connection, call: Call) -> RunRow:
    """The run that the path names.

    Raises:
        NotFoundError: if the workspace has no such run.
    """
    run_id = call.path_id(Prefix.RUN)
    return found(await runs_read.get(connection, call.workspace_id, run_id), "run", call)


async def whole(connection: Connection, call: Call, row: RunRow) -> Run:
    """A run with its logs and steps."""
    settled = await runs_read.settled_steps(connection, row.id)
    still_open = await runs_read.open_steps(connection, row.id, call.services.config.lease_seconds)
    graph = await call.services.graphs.get(connection, row.workflow_id, row.version)
    settled = await with_results(connection, call.services.registry, row, graph, settled)
    return present_whole(row, graph, settled, still_open)


async def whole_by_id(connection: Connection, call: Call, run_id: UUID) -> Run:
    """The same for a run that is known to be there."""
    row = await runs_read.get(connection, call.workspace_id, run_id)
    if row is None:
        raise LookupError("a run that this transaction made or changed is gone")
    return await whole(connection, call, row)


def run_name(run_id: UUID) -> str:
    """The id of a run as callers know it."""
    return encode(Prefix.RUN, run_id)
