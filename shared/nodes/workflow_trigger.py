"""``workflow_trigger``: another workflow's ``trigger_workflow`` starts it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext
from shared.nodes.fields import Plain
from shared.nodes.json_schemas import SchemaFaultError, schema_of


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input_schema: a JSON Schema that the context of a call must fit; null takes any. Patterns are RE2's, and nothing
            is fetched.
    """

    input_schema: Plain[dict[str, Any] | bool | None] = None


class WorkflowTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, payload}``; the payload is the calling node's ``context``."""

    component_id = "workflow_trigger"
    title = "Called by a workflow"
    kind = Kind.TRIGGER
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "input_schema": {"type": "object", "required": ["order"], "properties": {"order": {"type": "integer"}}}
    }

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        if data.get("input_schema") is None:
            return []
        try:
            schema_of(data["input_schema"])
        except SchemaFaultError as error:
            return [("input_schema", f"{error}.")]
        return []

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:  # noqa: ARG002 — nothing to configure
        """What it was called with."""
        payload = dict(context.payload)
        return Outcome({"run_id": context.run_id, "trigger_type": context.trigger_type, "payload": payload})
