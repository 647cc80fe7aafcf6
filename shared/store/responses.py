"""What runs answer the requests that started them."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple
from uuid import UUID

from shared.db import Connection, Executes
from shared.queries import load

_SQL = load("responses")
#: Behind every log entry's number.
_NEVER: Final = 2**63


class Answered(NamedTuple):
    """A run whose request can be answered.

    Attributes:
        status: how it ended; None if it goes on.
        error_message: of a run that did not complete.
        run_output: what `terminate` left, as JSON text.
        output: of the first response node that has run, as JSON text; None if none has.
        head: what stands before that (`shared.responses.Head`), as JSON text.
    """

    status: str | None
    error_message: str | None
    run_output: str | None
    output: str | None
    head: str | None


class SyncTarget(NamedTuple):
    """A workflow that a request is to start."""

    id: UUID
    is_active: bool
    trigger_component: str
    version: int


async def target(connection: Connection, workspace_id: UUID, workflow_id: UUID) -> SyncTarget | None:
    """A workflow of a workspace, as it is now."""
    record = await connection.fetchrow(_SQL["target"], workspace_id, workflow_id)
    return None if record is None else SyncTarget(*record)


async def answered(connection: Executes, waiting: Mapping[UUID, Sequence[str]]) -> dict[UUID, Answered]:
    """Those of some runs, each given with its response nodes, that have answered or ended."""
    pairs = [(run_id, node_id) for run_id, nodes in waiting.items() for node_id in nodes or ("",)]
    if not pairs:
        return {}
    least, greatest = min(waiting), max(waiting)
    records = await connection.fetch(_SQL["answered"], *zip(*pairs, strict=True), least, greatest)
    first: dict[UUID, tuple[int, Answered]] = {}
    for run_id, status, error, run_output, seq, output, head in records:
        place = _NEVER if seq is None else seq
        if run_id not in first or place < first[run_id][0]:
            first[run_id] = place, Answered(status, error, run_output, output, head)
    return {run_id: found for run_id, (_, found) in first.items()}
