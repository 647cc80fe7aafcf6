"""``scheduled_trigger``: the workflow's schedule starts it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext
from shared.nodes.fields import Plain
from shared.schedule import check as schedule_faults
from shared.states import TriggerType


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration: the schedule, unless it stands on the workflow.

    Attributes:
        schedule_type: see `shared.schedule`.
        schedule_value: likewise.
        timezone: an IANA name; the workflow's own if there is none.
    """

    schedule_type: Plain[str | None] = None
    schedule_value: Plain[str | None] = None
    timezone: Plain[str | None] = None


class ScheduledTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, scheduled_at}``; started by hand that is null, and ``context`` is there too."""

    component_id = "scheduled_trigger"
    aliases = ("schedule_trigger",)
    title = "Scheduled trigger"
    kind = Kind.TRIGGER
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"schedule_type": "interval", "schedule_value": "5 minutes"}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        if data.get("schedule_type") is None:
            given = [name for name in ("schedule_value", "timezone") if data.get(name) is not None]
            return [("schedule_type", f'"{name}" needs a "schedule_type" beside it.') for name in given[:1]]
        return schedule_faults(data["schedule_type"], data.get("schedule_value"), data.get("timezone") or "UTC")

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:  # noqa: ARG002 — it has done its work
        """The slot that is due."""
        output: dict[str, Any] = {"run_id": context.run_id, "trigger_type": context.trigger_type}
        if context.trigger_type == TriggerType.SCHEDULED:
            return Outcome({**output, "scheduled_at": context.payload.get("scheduled_at")})
        return Outcome({**output, "scheduled_at": None, "context": dict(context.payload)})
