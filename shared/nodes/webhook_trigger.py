"""``webhook_trigger``: a request to the workflow's own URL starts it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypedDict

from shared.nodes.base import Kind, NodeType, Outcome, TriggerContext
from shared.nodes.webhook_rules import Written, faults, secret_of
from shared.states import TriggerType
from shared.templates.fields import Rendering

#: The names under which the output holds the body.
_BODY: Final = ("webhook_payload", "body")
#: What Liquid gives for these depends on all members of an object.
_OF_THE_WHOLE: Final = ("size", "first", "last")
#: Makes the types; mypy wants their members written out.
_some: Final[Any] = TypedDict
_PAYLOAD: Final = dict.fromkeys(("headers", "query", "method", "received_at"), Any)


class WebhookTrigger(NodeType[Written]):
    """Output ``{run_id, trigger_type, webhook_payload, body, headers, query, method, received_at}``."""

    component_id = "webhook_trigger"
    title = "Webhook trigger"
    kind = Kind.TRIGGER
    data_type = Written
    example: ClassVar[Mapping[str, Any]] = {"dedupe": "{{ body.id }}", "rate_limit": {"per_second": 10, "burst": 50}}

    def renderings(self, data: Mapping[str, Any]) -> Mapping[str, Rendering]:  # noqa: ARG002 — the same for all
        """Its templates are about a request, and rendered by the api before there is a run."""
        return dict.fromkeys(Written.__struct_fields__, Rendering.NONE)

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        return list(faults(data))

    def vault_names(self, data: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
        """The item that signatures are checked with."""
        found = secret_of(data)
        return [found] if found is not None else []

    def payload_type(self, paths: Iterable[Sequence[object]]) -> Any:
        """The members of the body that are named; all of it if it is read as a whole, or its size, first or last is."""
        names: dict[str, Any] = {}
        for path in paths:
            match path:
                case [str(member), *_] if member not in _BODY:
                    pass
                case [str(), str(name), *_] if name not in _OF_THE_WHOLE:
                    names[name] = Any
                case _:
                    return Any
        body = _some("body", names, total=False)
        return _some("payload", {**_PAYLOAD, "webhook_payload": body}, total=False)

    def trigger(self, data: Written, context: TriggerContext) -> Outcome:  # noqa: ARG002 — they have done their work
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
