"""When a workflow runs: schedule values, checked and read, and the slots that follow from them.

Pure: the time is a parameter, and nothing is read but the zone database. `check` lists what is wrong with a schedule,
`parse` makes a `Schedule`, and `next_slot` is the one function that says when the next run is due.
"""

from shared.schedule.model import DST_FOLDS, DST_GAPS, SCHEDULE_TYPES, Schedule
from shared.schedule.slots import Slot, check, first_slot, next_slot, parse, preview, slot_past

__all__ = [
    "DST_FOLDS",
    "DST_GAPS",
    "SCHEDULE_TYPES",
    "Schedule",
    "Slot",
    "check",
    "first_slot",
    "next_slot",
    "parse",
    "preview",
    "slot_past",
]
