"""``event_trigger``: an event, posted to ``/workflows/events/{name}`` or published by a step, starts the workflow."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.event_names import NAME_RULE, is_name
from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext
from shared.nodes.fields import Plain
from shared.nodes.rules import ItemRule, Logic, rule_faults


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        event: the name: 1-128 letters, digits, dots, colons, hyphens and underscores.
        filter: comparisons ``{field, operator, value}`` of the payload, as of ``array_filter``, and groups
            ``{logic, rules}``; at most 100 in all and 10 deep. One group may stand for the list. Without any, every
            event of the name starts the workflow.
        logic: what joins them.
    """

    event: Plain[str]
    filter: Plain[list[ItemRule] | ItemRule | None] = None
    logic: Plain[Logic] = "AND"


class EventTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, event, payload}``; the payload is any JSON."""

    component_id = "event_trigger"
    title = "Event"
    kind = Kind.TRIGGER
    data_type = Data
    any_payload = True
    example: ClassVar[Mapping[str, Any]] = {
        "event": "order.paid",
        "filter": [{"field": "total", "operator": ">=", "value": 100}],
    }

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        faults = [] if is_name(data["event"]) else [("event", f"An event has a name of {NAME_RULE}.")]
        wanted = data.get("filter")
        if isinstance(wanted, dict):
            found = rule_faults([wanted], "filter")
            faults += [(path.replace("filter[0]", "filter", 1), message) for path, message in found]
        elif wanted:
            faults += rule_faults(wanted, "filter")
        return faults

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:
        """What came with the event; of a run started by hand the caller's context."""
        return Outcome(
            {
                "run_id": context.run_id,
                "trigger_type": context.trigger_type,
                "event": data.event,
                "payload": context.payload,
            }
        )
