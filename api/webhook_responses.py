"""What webhooks answer with when it is more than 202 and the run's id: handshakes, and responses that authors wrote."""

import html
from typing import Any, Final

import msgspec
from aiohttp import web

from api.webhook_rules import Ready, scope_of
from shared import jsontext
from shared.errors import BadRequestError, StepFailedError
from shared.log import get

_log = get(__name__)
#: Characters of a question that is answered with itself.
_LONGEST: Final = 1024
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


def own_response(rules: Ready, payload: str, run_id: str) -> web.Response | None:
    """The author's response to a request that was accepted; None if it can't be made, since the run is there."""
    response = rules.response
    if response is None:
        return None
    try:
        value = rules.response_body(scope_of(payload, run_id=run_id)) if rules.response_body else response.body
    except StepFailedError as error:
        _log.info("the response of a webhook could not be rendered", run_id=run_id, error=str(error)[:200])
        return None
    if value is None:
        return web.Response(status=response.status, headers=_HARMLESS)
    body, usual = _encoded(value)
    return _made(response.status, body, response.content_type or usual)


def _encoded(value: Any) -> tuple[bytes, str]:
    if isinstance(value, str):
        return value.encode("utf-8", "replace"), _TEXT
    return jsontext.encode(value).encode(), _JSON


def _made(status: int, body: bytes, content_type: str) -> web.Response:
    return web.Response(status=status, body=body, headers={**_HARMLESS, "Content-Type": content_type})
