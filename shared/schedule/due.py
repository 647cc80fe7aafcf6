"""Which slots of a schedule are run now, when some have come: after an outage it may be several, or none."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final, NamedTuple

from shared.schedule.model import Schedule
from shared.schedule.slots import next_slot, slot_past, slots_from

#: The most slots that ``all`` makes up for: the newest.
MOST_MISSED: Final = 1_000
#: How late the oldest slot that has come must be to have been missed, where ``none`` is said. Less is what a busy
#: moment, a roll-out or a fail-over takes.
LATE: Final = timedelta(seconds=60)
#: How many slots are counted one by one; an outage that left more counts as so many.
COUNTED: Final = 20
#: A stretch that holds so many times `MOST_MISSED` slots at most is short enough to go through.
_SHORT: Final = 4
_SECOND: Final = timedelta(seconds=1)
#: Slots on the wall's clock are whole minutes, in every zone: they are as far apart at least.
_MINUTE: Final = timedelta(minutes=1)


class DueSlots(NamedTuple):
    """What becomes of the slots that have come.

    Attributes:
        slots: to be run now, oldest first.
        following: the slot to go on with: later than now, unless some of those to be run were left for the next time;
            None if there is none.
        missed: how many slots were given up; those past `COUNTED` are not counted.
    """

    slots: list[datetime]
    following: datetime | None
    missed: int


def due_slots(
    schedule: Schedule, slot: datetime, now: datetime, missed_runs: str = "one", *, room: int = MOST_MISSED
) -> DueSlots:
    """What to run of a schedule whose next slot has come.

    Args:
        schedule: not a manual one.
        slot: the oldest that nothing was done about, not later than ``now``.
        now: on the same clock.
        missed_runs: see `Policy`. Slots are missed where several have come; with ``none`` also one that is `LATE`.
        room: how many may be run now.
    """
    following = next_slot(schedule, slot)
    gives_up = missed_runs == "none" and now - slot > LATE
    if not gives_up and (following is None or following > now):
        return DueSlots([slot], following, 0)
    if missed_runs == "all":
        apart = following - slot if schedule.type == "interval" and following is not None else _MINUTE
        if (now - slot) // apart < MOST_MISSED:  # so there are no more, and none is given up
            return _oldest(schedule, slot, now, room)
        return _made_up(schedule, slot, now, room)
    behind = slot_past(schedule, slot, now)
    counted = list(islice(_walk(schedule, slot, now), COUNTED + 1))
    if gives_up:
        return DueSlots([], behind, min(len(counted), COUNTED))
    newest = counted[-1] if len(counted) <= COUNTED else newest_slot(schedule, slot, now)
    return DueSlots([newest], behind, len(counted) - 1)


def newest_slot(schedule: Schedule, slot: datetime, now: datetime) -> datetime:
    """The newest slot that is not later than ``now``, on the grid of ``slot``; halving what is left, not one by one."""
    newest, high = slot, now
    while high - newest > _SECOND:
        middle = newest + (high - newest) / 2
        found = slot_past(schedule, slot, middle)
        if found is None or found > now:
            high = middle
        else:
            newest = found
    last = slot_past(schedule, slot, newest)
    return newest if last is None or last > now else last


def newest_slots(schedule: Schedule, slot: datetime, now: datetime) -> list[datetime]:
    """The newest `MOST_MISSED` slots that are not later than ``now``, on the grid of ``slot``; oldest first."""
    walked = list(islice(_walk(schedule, slot, now), MOST_MISSED + 1))
    if len(walked) <= MOST_MISSED:
        return walked
    low, high = slot, now
    start = now - (walked[-1] - slot)  # far enough back, if slots are as far apart now as they were then
    while True:  # some stretch holds so many: from one second to the next there is one slot at most
        begin = slot_past(schedule, slot, start) or now + _SECOND
        found = list(islice(_walk(schedule, begin, now), _SHORT * MOST_MISSED + 1))
        if MOST_MISSED <= len(found) <= _SHORT * MOST_MISSED:
            return found[-MOST_MISSED:]
        low, high = (low, start) if len(found) < MOST_MISSED else (start, high)
        start = low + (high - low) / 2


def _oldest(schedule: Schedule, slot: datetime, now: datetime, room: int) -> DueSlots:
    """As many slots as there is room for; those behind them are not worked out."""
    slots = list(islice(_walk(schedule, slot, now), room + 1))
    following = slots[room] if room < len(slots) else slot_past(schedule, slot, now)
    return DueSlots(slots[:room], following, 0)


def _made_up(schedule: Schedule, slot: datetime, now: datetime, room: int) -> DueSlots:
    newest = newest_slots(schedule, slot, now)
    given_up = 0
    if newest[0] > slot:
        given_up = sum(1 for _ in islice(_walk(schedule, slot, newest[0] - _SECOND), COUNTED))
    following = newest[room] if room < len(newest) else slot_past(schedule, slot, now)
    return DueSlots(newest[:room], following, given_up)


def _walk(schedule: Schedule, slot: datetime, now: datetime) -> Iterator[datetime]:
    """``slot`` and those that follow, up to ``now``."""
    return takewhile(lambda each: each <= now, slots_from(schedule, slot))
