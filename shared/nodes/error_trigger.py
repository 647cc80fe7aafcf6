"""``error_trigger``: the failure of a run whose workflow names this one in ``settings.error_workflow_id`` starts it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """An error trigger has nothing to configure."""


class ErrorTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, error: {message}, run: {id, workflow_id, version, trigger_type}}``."""

    component_id = "error_trigger"
    title = "Started by a failed run"
    kind = Kind.TRIGGER
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {}

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:  # noqa: ARG002 — nothing to configure
        """What failed and how; of a run started by hand what its caller gave in their place."""
        given = context.payload
        return Outcome(
            {
                "run_id": context.run_id,
                "trigger_type": context.trigger_type,
                "error": given.get("error"),
                "run": given.get("run"),
            }
        )
