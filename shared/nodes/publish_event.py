"""``publish_event``: starts a run of every workflow of the workspace that listens to an event."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final

import msgspec

from shared.errors import StepFailedError
from shared.event_names import MAX_BYTES, MAX_STEP_LISTENERS, NAME_RULE, is_name
from shared.nodes.base import EventCall, Kind, Mode, NodeType, Outcome, StepContext, Wait
from shared.nodes.fields import Text
from shared.states import Waits
from shared.templates import is_template

#: By the verdict, unless that is ``published``: what the step fails with, and what of ``retry.on`` it matches.
_REFUSALS: Final = {
    "too_deep": ("call_too_deep", "Ten runs stand above this one, and no run stands deeper than that.", "error"),
    "too_many_listeners": (
        "too_many_listeners",
        f"More workflows listen to the event than {MAX_STEP_LISTENERS:,}, which one event of a step may start.",
        "error",
    ),
    "event_too_large": (
        "event_too_large",
        f"The payloads of all runs of the event would have more bytes than {MAX_BYTES:,} together.",
        "error",
    ),
    "filters_too_slow": ("filters_too_slow", "The filters of the event take too much processor time.", "error"),
    "backlog_full": ("backlog_full", "So many runs are open that no event starts more of them now.", "429"),
}


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        event: the name: 1-128 letters, digits, dots, colons, hyphens and underscores.
        payload: what the runs get, any JSON.
    """

    event: Text[str]
    payload: Any = {}


class PublishEvent(NodeType[Data]):
    """Starts runs, exactly once in each attempt, and waits for none of them; output ``{event, run_ids}``."""

    component_id = "publish_event"
    title = "Publish an event"
    kind = Kind.ACTION
    mode = Mode.WAIT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"event": "order.paid", "payload": {"order": "{{ n1.order }}"}}
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"order": 17}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        if is_template(data["event"]) or is_name(data["event"]):
            return []
        return [("event", f"An event has a name of {NAME_RULE}.")]

    def begin(self, data: Data, context: StepContext) -> Wait:
        """Publish it; the step goes on in the same transaction.

        Raises:
            StepFailedError: ``invalid_data`` if no event can have this name.
        """
        if not is_name(data.event):
            raise StepFailedError("invalid_data", f"data.event: An event has a name of {NAME_RULE}.")
        until = context.now + timedelta(seconds=context.timeout)
        return Wait(until, Waits.CHILD_RUN, event=EventCall(data.event, data.payload))

    def resume(self, data: Data, context: StepContext) -> Outcome:
        """Give out which runs it started.

        Raises:
            StepFailedError: if it started none because of a limit.
        """
        verdict = context.brought.get("outcome", "")
        if verdict in _REFUSALS:
            code, message, category = _REFUSALS[verdict]
            raise StepFailedError(code, message, category=category)
        return Outcome({"event": data.event, "run_ids": context.brought.get("data", {}).get("run_ids", [])})
