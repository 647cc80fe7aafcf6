"""``/workflows/webhooks/{token}``: the public trigger, and the hottest path of the service."""

from typing import Final

import msgspec
from aiohttp import web

from api.access import PUBLIC
from api.call import Call
from api.routing import Routes
from api.webhook_receiving import receive

ROUTES: Final = Routes()


class WebhookAnswer(msgspec.Struct, frozen=True):
    """The run that a webhook request started; of a repeat, the run that the first one started."""

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
    return await receive(call)
