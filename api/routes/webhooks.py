"""``/workflows/webhooks/{token}``: the public trigger, and the hottest path of the service."""

from typing import Any, Final

import msgspec
from aiohttp import web

from api.access import PUBLIC
from api.call import Call
from api.errors import ErrorBody
from api.routing import Routes
from api.webhook_receiving import receive

ROUTES: Final = Routes()
#: What a request may be refused with; docs/webhooks.md has the codes.
_REFUSED: Final = (400, 401, 403, 404, 409, 413, 415, 429, 503)


class WebhookAnswer(msgspec.Struct, frozen=True):
    """The run that a webhook request started; of a repeat, the run that the first one started."""

    run_id: str


@ROUTES.route(
    "POST",
    "/workflows/webhooks/{token}",
    access=PUBLIC,
    summary="Start a run by the secret URL of its workflow; any JSON, form, text or binary body",
    # 200 is a handshake's answer, or what the author's `response` says, which may have any status from 200 to 299.
    answers={200: Any, 202: WebhookAnswer, **dict.fromkeys(_REFUSED, ErrorBody)},
)
async def receive_webhook(call: Call) -> web.Response:
    """202 means durable."""
    return await receive(call)
