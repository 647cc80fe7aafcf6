"""A workflow that is due, what is done about it, and the slots that are fired."""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

import msgspec

from shared.ingest import Trigger
from shared.states import TriggerType
from shared.store.schedules import Due, Taking


class Plan(NamedTuple):
    """What is done about a workflow that is due.

    Attributes:
        slots: that have come and are not given up, oldest first.
        next_run_at: when it is due again; None if it never is.
        delay: from a slot to its run.
        missed: how many slots are given up.
        overlap: see `shared.schedule.policy.Policy`.
    """

    due: Due
    slots: list[datetime]
    next_run_at: datetime | None
    delay: timedelta = timedelta(0)
    missed: int = 0
    overlap: str = "allow"

    @property
    def is_due_again(self) -> bool:
        """Whether some slots that are to be run had no room."""
        return self.next_run_at is not None and self.next_run_at <= self.due.now


class Firing(NamedTuple):
    """A slot, and the run it makes."""

    plan: Plan
    slot: datetime
    run_id: UUID

    @property
    def workflow_id(self) -> UUID:
        """Of the workflow."""
        return self.plan.due.workflow_id

    def taking(self) -> Taking:
        """The slot's row."""
        return Taking(self.plan.due.workspace_id, self.workflow_id, self.slot, self.run_id)

    def payload(self) -> str:
        """What the run's trigger gets, as JSON text."""
        return _payload(self.slot)

    def trigger(self) -> Trigger:
        """What makes the run."""
        return Trigger(self.workflow_id, TriggerType.SCHEDULED, self.payload(), run_id=self.run_id)


@lru_cache(maxsize=256)  # what is due at once is mostly due at the same moment
def _payload(slot: datetime) -> str:
    text = slot.isoformat(timespec="microseconds").replace("+00:00", "Z")
    return msgspec.json.encode({"scheduled_at": text}).decode()
