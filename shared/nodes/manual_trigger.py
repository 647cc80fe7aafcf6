"""``manual_trigger``: a person or a program starts the workflow."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """A manual trigger has nothing to configure."""


class ManualTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, context}`` and the context's own keys beside them."""

    component_id = "manual_trigger"
    title = "Manual trigger"
    kind = Kind.TRIGGER
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {}

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:  # noqa: ARG002 — nothing to configure
        """The caller's context, flat and whole; the three names of the trigger's own win."""
        given = dict(context.payload)
        return Outcome({**given, "run_id": context.run_id, "trigger_type": context.trigger_type, "context": given})
