"""The slots that a workflow, or a schedule that is only thought of, will run at."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

from api.fields import read_fields
from api.moments import stamp
from api.workflow_draft import schedule_faults
from api.workflow_fields import ScheduleFields, Settings
from shared.errors import InvalidError
from shared.schedule import Schedule, described, due_slots, first_slot, read_policy, slots_from
from shared.store.workflows import WorkflowRow

#: Seconds that looking for slots may take. A day that comes every 28 years is found a few hundred times in one.
_PATIENCE: Final = 2.0

_Next = Annotated[int, Meta(ge=1, le=1000, description="a whole number from 1 to 1,000")]


class SlotsQuery(msgspec.Struct, frozen=True):
    """How many slots to show."""

    next: _Next = 20


class ShownSlot(msgspec.Struct, frozen=True):
    """A slot.

    Attributes:
        utc: when it runs.
        local: the same in the schedule's zone, with its offset.
        dst: ``gap``: a clock change skips the local time it stands for; ``fold``: its local time comes twice.
    """

    utc: str
    local: str
    dst: Literal["gap", "fold"] | None


class Jitter(msgspec.Struct, frozen=True):
    """What `jitter` does to the times.

    Attributes:
        up_to: seconds, the setting.
        seconds: by which every one of the slots shown is late; null where there is no workflow yet to tell them by, and
            the times are shown without.
    """

    up_to: int
    seconds: int | None


class Slots(msgspec.Struct, frozen=True):
    """What comes next; ``jitter`` is there if the settings have one."""

    slots: list[ShownSlot]
    jitter: Jitter | UnsetType = UNSET


async def of_workflow(row: WorkflowRow, now: datetime, count: int) -> Slots:
    """The next slots of a stored workflow, the first of them its ``next_run_at``; none while it is paused."""
    policy = read_policy(row.settings)
    schedule = policy.schedule(row.schedule_type, row.schedule_value, row.timezone)
    delay = policy.delay(row.id)
    shown: Iterable[datetime] = ()
    if row.next_run_at is not None:
        shown = _coming(schedule, row.next_run_at - delay, now - delay, policy.missed_runs)
    slots = await asyncio.to_thread(_shown, schedule, shown, count, delay)
    return _with_jitter(slots, policy.jitter, int(delay.total_seconds()))


async def of_draft(raw: Mapping[str, Any], now: datetime, count: int) -> Slots:
    """The next slots of a schedule that is saved at ``now``.

    Raises:
        InvalidError: with every fault.
    """
    given, faults = read_fields(ScheduleFields, raw)
    settings, wrong = read_fields(Settings, given.get("settings", {}), prefix="settings.")
    policy = read_policy(msgspec.json.encode(settings).decode())
    kind = given.get("schedule_type") or "manual"
    schedule = policy.schedule(kind, given.get("schedule_value"), given.get("timezone", "UTC"))
    faults += [*wrong, *schedule_faults(schedule)]
    if faults:
        told = " ".join(fault.message for fault in faults[:3])
        raise InvalidError("validation_failed", f"The schedule breaks rules. {told}", faults=faults)
    slots = await asyncio.to_thread(_shown, schedule, slots_from(schedule, first_slot(schedule, now)), count)
    return _with_jitter(slots, policy.jitter, None)


def _coming(schedule: Schedule, slot: datetime, now: datetime, missed_runs: str) -> Iterator[datetime]:
    """What will run, beginning with the slots that have come if they will; worked out by whoever goes over it."""
    if slot > now:
        yield from slots_from(schedule, slot)
        return
    due = due_slots(schedule, slot, now, missed_runs)
    yield from due.slots
    yield from slots_from(schedule, due.following)


def _shown(
    schedule: Schedule, slots: Iterable[datetime], count: int, delay: timedelta = timedelta(0)
) -> list[ShownSlot]:
    """At most so many slots, and no more than are found in time."""
    deadline = time.monotonic() + _PATIENCE
    shown: list[ShownSlot] = []
    for slot in islice(slots, count):
        one = described(schedule, slot, delay)
        shown.append(ShownSlot(stamp(one.utc), one.local.isoformat(), one.dst))
        if time.monotonic() > deadline:
            break
    return shown


def _with_jitter(slots: list[ShownSlot], up_to: int, seconds: int | None) -> Slots:
    return Slots(slots, Jitter(up_to, seconds)) if up_to else Slots(slots)
