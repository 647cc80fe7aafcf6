"""The list of runs across the workflows of a workspace."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from api.queries import bound_of, read_cursor
from shared.ids import Prefix, decode
from shared.store.runs_read import FIRST_ID, LAST_ID
from shared.store.runs_scan import Which

_LIMIT: Final = 50

Status = Literal["pending", "running", "awaiting_ui_interaction", "completed", "failed", "cancelled"]
STATUS_RULE: Final = "one of pending, running, awaiting_ui_interaction, completed, failed, cancelled"


class RunsQuery(msgspec.Struct, frozen=True):
    """Which runs, and how many of them.

    Attributes:
        from_, to: runs created at or after, and before.
    """

    workflow_id: Annotated[str | None, Meta(description="the id of a workflow (fl_...)")] = None
    status: Annotated[Status | None, Meta(description=STATUS_RULE)] = None
    from_: Annotated[str | None, Meta(description="a time in ISO 8601; runs created then or later")] = msgspec.field(
        default=None, name="from"
    )
    to: Annotated[str | None, Meta(description="a time in ISO 8601; runs created before")] = None
    limit: Annotated[Annotated[int, Meta(ge=1, le=200)], Meta(description="a whole number from 1 to 200")] = _LIMIT
    cursor: Annotated[str | None, Meta(description="the cursor of a Link header")] = None


def read_which(workspace_id: UUID, query: Mapping[str, Any]) -> tuple[Which, int]:
    """The runs that a query asks for, and the most of them.

    Raises:
        BadRequestError: if a parameter is not legal.
        NotFoundError: if ``workflow_id`` is no such id.
    """
    cursor = read_cursor(Prefix.RUN, "cursor", query.get("cursor"))
    high = bound_of("to", query.get("to")) or LAST_ID
    workflow, status = query.get("workflow_id"), query.get("status")
    which = Which(
        workspace_id,
        bound_of("from", query.get("from")) or FIRST_ID,
        high if cursor is None else min(high, cursor),
        None if workflow is None else decode(Prefix.WORKFLOW, workflow),
        None if status is None else [status],
    )
    return which, query.get("limit", _LIMIT)
