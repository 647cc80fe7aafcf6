"""``webhook_trigger``: a request to the workflow's own URL starts it."""

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext
from shared.states import TriggerType


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """A webhook trigger has nothing to configure; its URL is made when the workflow is saved."""


class WebhookTrigger(NodeType[Data]):
    """Output ``{run_id, trigger_type, webhook_payload, body, headers, query, method, received_at}``."""

    component_id = "webhook_trigger"
    title = "Webhook trigger"
    kind = Kind.TRIGGER
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {}

    def trigger(self, data: Data, context: TriggerContext) -> Outcome:  # noqa: ARG002 — nothing to configure
        """The request; for a run started in another way its payload stands as the body of a request without headers."""
        payload = dict(context.payload)
        if context.trigger_type != TriggerType.WEBHOOK:
            payload = {"webhook_payload": payload}
        body = payload.get("webhook_payload")
        return Outcome(
            {
                "run_id": context.run_id,
                "trigger_type": context.trigger_type,
                "webhook_payload": body,
                "body": body,
                "headers": payload.get("headers", {}),
                "query": payload.get("query", {}),
                "method": payload.get("method"),
                "received_at": payload.get("received_at"),
            }
        )
