"""Slots: the moments at which a schedule is due. Every function takes and gives aware datetimes; slots are UTC."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from shared.errors import Fault, InvalidError
from shared.schedule.model import Schedule
from shared.schedule.rules import Rule
from shared.schedule.values import read

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
#: The last second that a datetime holds, with a day for the zones ahead of UTC.
_END: Final = (datetime(9999, 12, 31, tzinfo=UTC) - _EPOCH) // _SECOND


class Slot(msgspec.Struct, frozen=True):
    """One slot of a preview.

    Attributes:
        utc: when it is due.
        local: the same moment in the schedule's zone, with its offset.
        dst: ``gap`` if it stands for a local time that a clock change skipped, ``fold`` if its local time comes twice.
    """

    utc: datetime
    local: datetime
    dst: Literal["gap", "fold"] | None


def check(
    schedule_type: str,
    schedule_value: str | None,
    timezone: str = "UTC",
    *,
    dst_gap: str = "shift",
    dst_fold: str = "first",
) -> list[tuple[str, str]]:
    """Everything that is wrong with a schedule, as (field, message); empty if it is good."""
    return read(Schedule(schedule_type, schedule_value, timezone, dst_gap, dst_fold))[1]


def parse(
    schedule_type: str,
    schedule_value: str | None,
    timezone: str = "UTC",
    *,
    dst_gap: str = "shift",
    dst_fold: str = "first",
) -> Schedule:
    """The schedule, known to be good.

    Raises:
        InvalidError: ``invalid_schedule`` with every fault, each under the field's own name.
    """
    schedule = Schedule(schedule_type, schedule_value, timezone, dst_gap, dst_fold)
    _rule(schedule)
    return schedule


def first_slot(schedule: Schedule, now: datetime) -> datetime | None:
    """The first slot of a schedule that is saved or switched on at ``now``: strictly later, on a whole second."""
    return next_slot(schedule, now)


def next_slot(schedule: Schedule, after: datetime) -> datetime | None:
    """The slot that follows ``after``, strictly later; None for a manual schedule.

    Given the slot before it, and not the present, an interval doesn't drift. Fractions of a second of ``after`` are
    dropped, so every slot is a whole second.

    Raises:
        InvalidError: if the schedule is not one that `check` finds good.
    """
    return _moment(_rule(schedule).after(_seconds(after)))


def slot_past(schedule: Schedule, slot: datetime, now: datetime) -> datetime | None:
    """The first slot later than ``now`` (and than ``slot``) on the grid of ``slot``: where to go on after an outage.

    Constant time for intervals, however many slots were missed.
    """
    return _moment(_rule(schedule).past(_seconds(slot), _seconds(now)))


def slots_from(schedule: Schedule, first: datetime | None) -> Iterator[datetime]:
    """A slot, if there is one, and all that follow it."""
    slot = first
    while slot is not None:
        yield slot
        slot = next_slot(schedule, slot)


def preview(schedule: Schedule, after: datetime, count: int) -> list[Slot]:
    """The next ``count`` slots strictly after ``after``; fewer if there are no more."""
    return [described(schedule, slot) for slot in islice(slots_from(schedule, next_slot(schedule, after)), count)]


def described(schedule: Schedule, slot: datetime, delay: timedelta = timedelta(0)) -> Slot:
    """A slot as a preview shows it: when it is run, which is so much later, and what became of its own local time."""
    zone = ZoneInfo(schedule.timezone)
    shown = slot + delay
    if _rule(schedule).shifted(_seconds(slot)):
        return Slot(shown, shown.astimezone(zone), "gap")
    local = slot.astimezone(zone)
    twice = local.utcoffset() != local.replace(fold=1 - local.fold).utcoffset()
    return Slot(shown, shown.astimezone(zone), "fold" if twice else None)


# A compiled cron line takes about 10 KB, so the cache is kept to what one tick of the scheduler reuses.
@lru_cache(maxsize=1_024)
def _rule(schedule: Schedule) -> Rule:
    rule, faults = read(schedule)
    if rule is None:
        listed = [Fault(field, "invalid_schedule", message) for field, message in faults]
        message = "; ".join(message for _, message in faults)
        raise InvalidError("invalid_schedule", f"The schedule is not valid: {message}.", faults=listed)
    return rule


def _seconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _SECOND


def _moment(seconds: int | None) -> datetime | None:
    return None if seconds is None or seconds > _END else _EPOCH + timedelta(seconds=seconds)
