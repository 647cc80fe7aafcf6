"""``workflow_trigger``: another workflow's ``trigger_workflow`` starts it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """A workflow trigger has nothing to configure."""


class WorkflowTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, payload}``; the payload is the calling node's ``context``."""

    component_id = "workflow_trigger"
    title = "Called by a workflow"
    kind = Kind.TRIGGER
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {}

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:  # noqa: ARG002 — nothing to configure
        """What it was called with."""
        payload = dict(context.payload)
        return Outcome({"run_id": context.run_id, "trigger_type": context.trigger_type, "payload": payload})
