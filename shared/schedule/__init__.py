"""When a workflow runs: schedule values, checked and read, and the slots that follow from them.

Pure: the time is a parameter, and nothing is read but the zone database. `check` lists what is wrong with a schedule,
`parse` makes a `Schedule`, `next_slot` is the one function that says which slot follows another, `due_slots` says which
of those that have come are run, and `read_policy` gives what the settings add. docs/schedules.md is the user's view.
"""

from shared.schedule.due import LATE, MOST_MISSED, due_slots
from shared.schedule.model import DST_FOLDS, DST_GAPS, MAX_VALUE, SCHEDULE_TYPES, Schedule
from shared.schedule.policy import MOST_JITTER, read_policy
from shared.schedule.slots import (
    check,
    described,
    first_slot,
    next_slot,
    parse,
    preview,
    slot_past,
    slots_from,
)

__all__ = [
    "DST_FOLDS",
    "DST_GAPS",
    "LATE",
    "MAX_VALUE",
    "MOST_JITTER",
    "MOST_MISSED",
    "SCHEDULE_TYPES",
    "Schedule",
    "check",
    "described",
    "due_slots",
    "first_slot",
    "next_slot",
    "parse",
    "preview",
    "read_policy",
    "slot_past",
    "slots_from",
]
