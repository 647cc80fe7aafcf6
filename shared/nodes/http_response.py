"""The answer that a ``webhook`` node got: its output, or why it failed."""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final

from shared import jsontext
from shared.charsets import codec_of
from shared.egress.interface import EgressResponse
from shared.egress.pinned import shown
from shared.errors import StepFailedError

#: Bytes of a failed answer's body that the error carries.
SHOWN: Final = 2048
_TEXTUAL: Final = ("application/xml", "application/javascript", "application/x-www-form-urlencoded", "application/yaml")
#: Seconds: a longer wait than the longest timer is not taken over from the other side.
_LONGEST_RETRY: Final = 365 * 86_400.0


def succeeded(status: int, legal: Sequence[int] | None) -> bool:
    """Whether a status counts as success."""
    return 200 <= status < 300 if legal is None else status in legal


def failure(
    response: EgressResponse, now: datetime, *, code: str = "webhook_failed", what: str = "Webhook request"
) -> StepFailedError:
    """The error of an answer that is no success."""
    reason = shown(response.reason) or _phrase(response.status)
    return StepFailedError(
        code,
        f"{what} failed: {response.status} {reason}".rstrip(),
        category=_category(response.status),
        http_status=response.status,
        body=_text(response.body[:SHOWN], _header(response, "content-type")),
        retry_in=_retry_after(_header(response, "retry-after"), now),
    )


def output_of(response: EgressResponse, reading: str) -> dict[str, Any]:
    """The output of a success.

    Raises:
        StepFailedError: ``invalid_response`` if the body should be JSON and is not.
    """
    return {
        "status": response.status,
        "headers": _joined(response.headers),
        "body": _body(response, reading),
        "duration_ms": response.duration_ms,
    }


def _body(response: EgressResponse, reading: str) -> Any:
    content_type = _header(response, "content-type")
    if reading == "text":
        return _text(response.body, content_type)
    if reading == "binary":
        return base64.b64encode(response.body).decode()
    if reading == "json":
        return _json(response)
    return _guessed(response.body, content_type)


def _json(response: EgressResponse) -> Any:
    try:
        return jsontext.decode(response.body)
    except (ValueError, RecursionError) as error:
        raise StepFailedError(
            "invalid_response",
            f"The answer's body is no JSON document: {error}.",
            http_status=response.status,
            body=_text(response.body[:SHOWN], _header(response, "content-type")),
        ) from error


def _guessed(body: bytes, content_type: str) -> Any:
    if not body:
        return None
    kind = content_type.partition(";")[0].strip().lower()
    if kind.endswith(("/json", "+json")) or not kind:
        try:
            return jsontext.decode(body)
        except (ValueError, RecursionError):
            return _text_or_base64(body, content_type)
    if kind.startswith("text/") or kind.endswith("+xml") or kind in _TEXTUAL:
        return _text(body, content_type)
    return _text_or_base64(body, content_type)


def _text_or_base64(body: bytes, content_type: str) -> str:
    try:
        return body.decode(_charset(content_type))
    except UnicodeDecodeError:
        return base64.b64encode(body).decode()


def _text(body: bytes, content_type: str) -> str:
    return body.decode(_charset(content_type), "replace")


def _charset(content_type: str) -> str:
    message = Message()
    try:
        message["Content-Type"] = content_type
        charset = str(message.get_content_charset("utf-8"))
    except (LookupError, ValueError):
        return "utf-8"
    return codec_of(charset) or "utf-8"


def _joined(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name; what came more than once is joined by commas."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


def _header(response: EgressResponse, name: str) -> str:
    return next((value for key, value in response.headers if key.lower() == name), "")


def _category(status: int) -> str:
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "429"
    return {4: "4xx", 5: "5xx"}.get(status // 100, "error")


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _retry_after(text: str, now: datetime) -> float | None:
    """The seconds that ``Retry-After`` asks for, as a number or as a date."""
    if text.strip().isdecimal() and text.isascii():
        return min(float(text), _LONGEST_RETRY)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((aware - now).total_seconds(), 0.0), _LONGEST_RETRY)
