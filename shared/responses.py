"""What a run answers its request with: status, content type and headers, and which of these may be said.

The answer goes out on the API's own origin. So what would outlive it there is not for a workflow to say (cookies,
strict transport, service workers), nor what frames the message, steers a proxy in front, or guards whoever opens it
in a browser.
"""

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from shared.egress.fields import check_headers
from shared.errors import StepFailedError

#: Headers of an answer, and bytes of them together: what servers and proxies pass on.
MAX_HEADERS: Final = 50
MAX_HEADER_BYTES: Final = 8 * 1024
_MEDIA_TYPE: Final = re.compile(r"[\w.+!#$&^-]+/[\w.+!#$&^-]+ *(;.*)?", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
#: Of the message itself, or told by other fields of the node; `check_headers` refuses those that frame a connection.
_FRAMING: Final = frozenset(
    (
        *("content-type", "content-encoding", "content-length", "date", "server", "proxy-authenticate"),
        *("proxy-authorization", "proxy-authentication-info", "x-request-id", "x-run-id", "idempotency-replayed"),
    )
)
#: What a proxy in front of the API takes for an order and not for a header: to send a file or another of its locations
#: instead, or to buffer, cache or slow down differently. Sources: nginx (ngx_http_proxy_module), Apache and Caddy
#: (X-Sendfile), lighttpd (mod_fastcgi), Perlbal.
_ORDERS: Final = frozenset(("x-lighttpd-send-file", "x-lighttpd-send-tempfile"))
_ORDERS_BEGIN: Final = ("x-accel-", "x-reproxy-", "x-sendfile")
#: What a browser keeps for the whole origin, or what guards it from this very answer.
_ORIGIN: Final = frozenset(
    (
        *("set-cookie", "set-cookie2", "strict-transport-security", "clear-site-data", "alt-svc", "public-key-pins"),
        *("service-worker-allowed", "origin-agent-cluster", "nel", "report-to", "reporting-endpoints", "expect-ct"),
        *("content-security-policy", "x-content-type-options", "critical-ch", "accept-ch", "speculation-rules"),
    )
)


class Head(msgspec.Struct, frozen=True):
    """What stands before the body of an answer.

    Attributes:
        status: 200-599.
    """

    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: dict[str, str] = {}


def check_head(headers: Mapping[str, str], content_type: str) -> None:
    """Refuse what cannot, or may not, be said in an answer.

    Raises:
        StepFailedError: ``invalid_header``; the message names the header, never its value.
    """
    total = 0
    for name, value in headers.items():
        check_headers([(name, value)])
        _check_name(name)
        total += len(name) + len(value.encode())
        if _CONTROL.search(value):
            raise _invalid(f"The value of the header {name} has a control character.")
    if len(headers) > MAX_HEADERS or total > MAX_HEADER_BYTES:
        raise _invalid(f"An answer has at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together.")
    check_content_type(content_type)


def check_content_type(text: str) -> None:
    """Refuse a content type that is none.

    Raises:
        StepFailedError: ``invalid_header``.
    """
    check_headers([("Content-Type", text)])
    if len(text) > 255 or not text.isascii() or _CONTROL.search(text) or not _MEDIA_TYPE.fullmatch(text.strip()):
        raise _invalid("content_type must be a media type such as application/json, of at most 255 ASCII characters.")


def may_say(name: str) -> bool:
    """Whether an answer may have a header of this name."""
    return name.lower() not in _FRAMING | _ORIGIN and not _orders(name)


def _orders(name: str) -> bool:
    return name.lower() in _ORDERS or name.lower().startswith(_ORDERS_BEGIN)


def _check_name(name: str) -> None:
    if name.lower() == "content-type":
        raise _invalid("The header Content-Type is what content_type says; leave it out of headers.")
    if name.lower() in _FRAMING:
        raise _invalid(f"The header {name} is set by the service itself; leave it out.")
    if _orders(name):
        raise _invalid(f"The header {name} would steer a proxy in front of the API, so no answer may have it.")
    if name.lower() in _ORIGIN:
        raise _invalid(f"The header {name} would bind the whole origin of the API, so no answer may have it.")


def _invalid(message: str) -> StepFailedError:
    return StepFailedError("invalid_header", message)
