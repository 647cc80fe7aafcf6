"""What webhooks answer with when it is more than 202 and the run's id: handshakes, and responses that authors wrote."""

import html
from typing import Any, Final

import msgspec
from aiohttp import web

from api.webhook_rules import Ready, RenderTime, scope_of
from shared import jsontext
from shared.errors import BadRequestError
from shared.log import get
from shared.metrics import WEBHOOK_TEMPLATES_FAILED
from shared.nodes.webhook_rules import Response

_log = get(__name__)
#: Characters of a question that is answered with itself.
_LONGEST: Final = 1024
#: Characters of a response.
_LARGEST: Final = 1024 * 1024
_GRAPH: Final = "validationToken"
_TEXT: Final = "text/plain; charset=utf-8"
_JSON: Final = "application/json"
#: Whatever the answer repeats of its request, no browser makes a page of it.
_HARMLESS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
}


def graph_handshake(request: web.Request) -> web.Response | None:
    """The answer to Microsoft Graph's question whether the URL is ours: its token, as text; None if it asks nothing.

    Source: Microsoft Graph, "Receive change notifications through webhooks", notificationUrl validation.

    Raises:
        BadRequestError: if the token is none that Graph would send.
    """
    token = request.query.get(_GRAPH)
    if token is None:
        return None
    if not 1 <= len(token) <= _LONGEST or not token.isprintable():
        raise BadRequestError(
            "handshake_invalid", f"{_GRAPH} must be 1 to {_LONGEST} printable characters, and is not."
        )
    return _made(200, html.escape(token, quote=False).encode("utf-8", "replace"), _TEXT)


def slack_handshake(body: bytes) -> web.Response | None:
    """The answer to Slack's ``url_verification``: its challenge; None if the body is anything else.

    Source: Slack, "url_verification event". The signature was checked before.
    """
    try:
        asked = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if not isinstance(asked, dict) or asked.get("type") != "url_verification":
        return None
    challenge = asked.get("challenge")
    if not isinstance(challenge, str) or len(challenge) > _LONGEST:
        raise BadRequestError("handshake_invalid", f"challenge must be a text of at most {_LONGEST} characters.")
    return _made(200, jsontext.encode({"challenge": challenge}).encode(), _JSON)


def own_response(rules: Ready, payload: str, run_id: str, time_left: RenderTime) -> web.Response | None:
    """The author's response to a request that was accepted; None if it can't be made, since the run is there."""
    response = rules.response
    if response is None:
        return None
    try:
        value = response.body
        if rules.response_body is not None:
            value = time_left.rendered(rules.response_body, scope_of(payload, run_id=run_id))
        answer = _own(response, value)
    except Exception as error:  # noqa: BLE001 — whatever it is, the caller is told of the run
        WEBHOOK_TEMPLATES_FAILED.labels("response").inc()
        _log.info("the response of a webhook could not be rendered", run_id=run_id, error=str(error)[:200])
        return None
    return answer


def _own(response: Response, value: Any) -> web.Response:
    if value is None:
        return web.Response(status=response.status, headers=_HARMLESS)
    _check_size(value)
    body, usual = _encoded(value)
    return _made(response.status, body, response.content_type or usual)


def _check_size(value: Any) -> None:
    """Refuse what would be very large as text: an author's body can name a request's a thousand times.

    Raises:
        ValueError: if so.
    """
    waiting, size = [value], 0
    while waiting:
        item = waiting.pop()
        size += len(item) if isinstance(item, str) else 8
        if isinstance(item, dict):
            size += sum(map(len, item))
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
        if size > _LARGEST:
            raise ValueError(f"a response has at most {_LARGEST:,} characters")


def _encoded(value: Any) -> tuple[bytes, str]:
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), _TEXT
    return jsontext.encode(value).encode(), _JSON


def _made(status: int, body: bytes, content_type: str) -> web.Response:
    return web.Response(status=status, body=body, headers={**_HARMLESS, "Content-Type": content_type})
