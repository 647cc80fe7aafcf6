"""When a workflow that is saved runs next; docs/schedules.md has the table that this follows. Pure."""

from datetime import datetime, timedelta

import msgspec

from shared.schedule import Schedule, first_slot, read_policy
from shared.store.workflows import WorkflowRow


def next_run_at(row: WorkflowRow, before: WorkflowRow | None, now: datetime) -> datetime | None:
    """What is due next of a workflow as it is about to be stored.

    The slot that it waits for stays what it is as long as its timing does, also when it has come and was not fired yet.
    Else it is the first slot after ``now``: what came while it was paused, or under its old timing, is over.
    """
    if not row.is_active or row.schedule_type == "manual":
        return None
    pending = None if before is None else _pending(before, row)
    slot = first_slot(_timing(row), now) if pending is None else pending
    return None if slot is None else slot + _delay(row)


def _pending(before: WorkflowRow, row: WorkflowRow) -> datetime | None:
    """The slot that the stored workflow waits for, if the new one waits for the same."""
    if before.next_run_at is None:
        return None
    try:
        return before.next_run_at - _delay(before) if _timing(before) == _timing(row) else None
    except msgspec.DecodeError:  # it was stored by code that allowed what this one does not
        return None


def _timing(row: WorkflowRow) -> Schedule:
    return read_policy(row.settings).schedule(row.schedule_type, row.schedule_value, row.timezone)


def _delay(row: WorkflowRow) -> timedelta:
    return read_policy(row.settings).delay(row.id)
