"""``/workflows/webhooks/{token}``: the public trigger, and the hottest path of the service."""

from typing import Final

import msgspec
from aiohttp import web

from api.access import PUBLIC
from api.call import Call
from api.moments import stamp
from api.routing import Routes
from api.short import ShortAnswer
from api.webhook_payload import read_payload
from api.webhook_targets import hash_token
from shared.errors import ConflictError, EdgewiseError, NotFoundError, RateLimitedError, UnavailableError
from shared.ids import Prefix, encode
from shared.ingest import Accepted, Trigger
from shared.metrics import WEBHOOK_REQUESTS
from shared.states import TriggerType

ROUTES: Final = Routes()
_ACCEPTED: Final = WEBHOOK_REQUESTS.labels("accepted")


class WebhookAnswer(msgspec.Struct, frozen=True):
    """The run that a webhook request started."""

    run_id: str


@ROUTES.route(
    "POST",
    "/workflows/webhooks/{token}",
    access=PUBLIC,
    summary="Start a run by the secret URL of its workflow; any JSON, form, text or binary body",
    answers={202: WebhookAnswer},
)
async def receive_webhook(call: Call) -> web.Response:
    """202 means durable."""
    try:
        accepted = await _accept(call)
    except EdgewiseError as error:
        WEBHOOK_REQUESTS.labels(_outcome(error)).inc()
        raise
    _ACCEPTED.inc()
    body = b'{"run_id":"%s"}' % encode(Prefix.RUN, accepted.run_id).encode()
    return ShortAnswer(202, body)


async def _accept(call: Call) -> Accepted:
    request, services, _ = call
    token_hash = hash_token(request.match_info["token"])
    target = services.webhooks.remembered(token_hash) or await services.webhooks.find(token_hash)
    await services.backlog.admit()
    payload = await read_payload(request, services.config.webhook_max_bytes, stamp(services.clock.now()))
    trigger = Trigger(target.id, TriggerType.WEBHOOK, payload, call.request_id, call.traceparent, token_hash)
    accepted = await services.ingest.accept(trigger)
    if accepted is None:
        # What was remembered is stale: looking again says how.
        await services.webhooks.find(token_hash)
        raise ConflictError("workflow_inactive", "The workflow of this webhook changed just now; repeat the request.")
    return accepted


def _outcome(error: EdgewiseError) -> str:
    outcomes: dict[type[EdgewiseError], str] = {
        NotFoundError: "not_found",
        ConflictError: "inactive",
        RateLimitedError: "limited",
        UnavailableError: "unavailable",
    }
    return outcomes.get(type(error), "invalid")
