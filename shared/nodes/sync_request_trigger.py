"""``sync_request_trigger``: a request to ``/workflows/sync/{id}`` starts the workflow and waits for its answer."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing to configure; a ``text_transform`` with ``is_response`` says what is answered."""


class SyncRequestTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, payload}``; the payload is the request's body, any JSON."""

    component_id = "sync_request_trigger"
    title = "Synchronous request"
    kind = Kind.TRIGGER
    data_type = Data
    any_payload = True
    example: ClassVar[Mapping[str, Any]] = {}

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:  # noqa: ARG002 — nothing to configure
        """What was sent; of a run started by hand the caller's context."""
        return Outcome({"run_id": context.run_id, "trigger_type": context.trigger_type, "payload": context.payload})
