"""Actions over many runs as callers send and see them."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from api.auditing import note
from api.call import Call
from api.fields import read_fields
from api.moments import stamp, stamp_or_none
from api.queries import TIME_RULE, least_id
from api.run_listing import STATUS_RULE, Status
from shared.db import Connection
from shared.errors import Fault, InvalidError, NotFoundError
from shared.graph.suggest import shown
from shared.ids import Prefix, decode, encode
from shared.store import bulk, workflows
from shared.store.bulk import STATUSES, Bulk, Filter
from shared.store.runs_read import FIRST_ID, LAST_ID

_TIMES: Final = ("from", "to")


class BulkFilter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which runs; at least one of these fields."""

    workflow_id: Annotated[str, Meta(description="the id of a workflow (fl_...)")] = ""
    status: Annotated[Status | None, Meta(description=STATUS_RULE)] = None
    from_: Annotated[str, Meta(description="a time in ISO 8601; runs created then or later")] = msgspec.field(
        default="", name="from"
    )
    to: Annotated[str, Meta(description="a time in ISO 8601; runs created before")] = ""


class NewBulk(msgspec.Struct, frozen=True):
    """An action, and the runs it is for."""

    action: Annotated[Literal["rerun", "cancel"], Meta(description="rerun or cancel")]
    filter: Annotated[BulkFilter, Meta(description="an object with workflow_id, status, from or to")]


class BulkProgress(msgspec.Struct, frozen=True, kw_only=True):
    """An action and how far it is.

    Attributes:
        status: ``running``, or ``completed`` when every run was looked at.
        matched: runs it was for, as far as it got.
        done: of these, those that were cancelled or run again.
        failed: of these, those that could not be run again since their workflow is inactive.
    """

    id: str
    action: str
    filter: dict[str, Any]
    status: Annotated[str, Meta(description="running, or completed when every run was looked at")]
    matched: Annotated[int, Meta(description="runs it was for, as far as it got")]
    done: Annotated[int, Meta(description="of these, those that were cancelled or run again")]
    failed: Annotated[
        int, Meta(description="of these, those whose workflow is inactive, so that they did not run again")
    ]
    created_at: str
    completed_at: str | None


def present_bulk(row: Bulk) -> BulkProgress:
    """An action as callers see it."""
    return BulkProgress(
        id=encode(Prefix.BULK, row.id),
        action=row.action,
        filter=row.given,
        status="running" if row.completed_at is None else "completed",
        matched=row.matched,
        done=row.done,
        failed=row.failed,
        created_at=stamp(row.created_at),
        completed_at=stamp_or_none(row.completed_at),
    )


async def create(connection: Connection, call: Call, raw: Mapping[str, Any]) -> Bulk:
    """Keep an action over the runs there are now.

    Raises:
        InvalidError: with every fault.
    """
    action, given = _read(raw)
    workflow_id = await _workflow(connection, call, given.get("workflow_id"))
    low = least_id(given["from"]) if "from" in given else FIRST_ID
    statuses = (given["status"],) if given.get("status") else STATUSES[action]
    high = least_id(given["to"]) if "to" in given else LAST_ID
    wanted = Filter(given, low, high, workflow_id, statuses)
    bulk_id, subject = call.services.mint.uuid(), call.principal.subject
    made = await bulk.add(connection, bulk_id, call.workspace_id, action, wanted, created_by=subject)
    await note(
        connection, call, "bulk.create", encode(Prefix.BULK, bulk_id), before=None, after=f"{action} {made.filter}"
    )
    return made


def _read(raw: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The action and the filter of a request."""
    values, faults = read_fields(NewBulk, {name: value for name, value in raw.items() if name != "filter"})
    faults += [
        Fault(name, "parameter_missing", f"{name} is required.") for name in ("action", "filter") if name not in raw
    ]
    given = raw.get("filter", {})
    if isinstance(given, dict):
        _, wrong = read_fields(BulkFilter, given, prefix="filter.")
        faults += wrong or _filter_faults(values.get("action"), given, missing="filter" not in raw)
    else:
        faults.append(Fault("filter", "invalid_type", f"filter must be an object, not {shown(given)}."))
    _refuse(faults)
    return values["action"], {name: value for name, value in given.items() if value is not None}


def _filter_faults(action: str | None, given: Mapping[str, Any], *, missing: bool) -> list[Fault]:
    faults = [_time_fault(name, given[name]) for name in _TIMES if name in given and not _is_time(given[name])]
    if not missing and all(value is None for value in given.values()):
        message = (
            "filter must name at least one of workflow_id, status, from, to: an action over all runs says so by from."
        )
        faults.append(Fault("filter", "required", message))
    status = given.get("status")
    if action is not None and status is not None and status not in STATUSES[action]:
        legal = ", ".join(STATUSES[action])
        message = f"filter.status must be one of {legal} for {action}, not {shown(status)}."
        faults.append(Fault("filter.status", "invalid_value", message))
    return faults


def _is_time(text: str) -> bool:
    try:
        least_id(text)
    except (ValueError, OverflowError):
        return False
    return True


def _time_fault(name: str, text: str) -> Fault:
    return Fault(f"filter.{name}", "invalid_value", f"filter.{name} must be {TIME_RULE}, not {shown(text)}.")


async def _workflow(connection: Connection, call: Call, text: str | None) -> UUID | None:
    """The workflow that the filter names, if it names one."""
    if text is None:
        return None
    try:
        workflow_id = decode(Prefix.WORKFLOW, text)
    except NotFoundError:
        known = None
    else:
        known = await workflows.target(connection, call.workspace_id, workflow_id)
    if known is None:
        message = f"There is no workflow {shown(text)} in this workspace."
        _refuse([Fault("filter.workflow_id", "unknown_workflow", message)])
        return None
    return known.id


def _refuse(faults: list[Fault]) -> None:
    if faults:
        raise InvalidError("validation_failed", " ".join(fault.message for fault in faults), faults=faults)
