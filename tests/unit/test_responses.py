"""What may stand before the body of an answer that a workflow gives on the API's own origin."""

import pytest

from shared.errors import StepFailedError
from shared.responses import Head, check_head, may_say

PLAIN = Head().content_type


@pytest.mark.parametrize(
    "name",
    [
        *("Content-Length", "transfer-encoding", "Connection", "Keep-Alive", "Upgrade", "TE", "Trailer"),
        *("Content-Type", "Content-Encoding", "Date", "Server", "X-Request-Id", "X-Run-Id", "Idempotency-Replayed"),
        *("Set-Cookie", "Strict-Transport-Security", "Clear-Site-Data", "Alt-Svc", "Service-Worker-Allowed"),
        *("Content-Security-Policy", "X-Content-Type-Options", "a b", "", "ä"),
        *("X-Accel-Redirect", "x-accel-buffering", "X-Sendfile", "X-SendFile-Type", "X-LIGHTTPD-send-file"),
        "X-Reproxy-URL",
    ],
)
def test_what_no_answer_may_say(name: str) -> None:
    """Framing, what the service says itself, what a browser keeps for the origin, and names that are none,
    and what proxies take for orders."""
    with pytest.raises(StepFailedError) as caught:
        check_head({name: "1"}, PLAIN)
    assert caught.value.code == "invalid_header"


@pytest.mark.parametrize("name", ["X-Accel-Redirect", "x-sendfile", "X-Lighttpd-Send-File", "X-Reproxy-Url"])
def test_what_steers_a_proxy(name: str) -> None:
    """It is named, and left out of an answer that was stored before it was refused."""
    with pytest.raises(StepFailedError, match=f"The header {name} would steer a proxy"):
        check_head({name: "/internal"}, PLAIN)
    assert not may_say(name)


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\0b", "a\x07", "\ud800"])
def test_values_that_end_their_line(value: str) -> None:
    """Line breaks, control characters and halves of characters are refused, and not repeated in the message."""
    with pytest.raises(StepFailedError) as caught:
        check_head({"X-A": value}, PLAIN)
    assert value not in caught.value.message


def test_how_much_may_be_said() -> None:
    """50 headers of 8 KiB together."""
    check_head({f"X-{place}": "v" for place in range(50)}, PLAIN)
    for headers in ({f"X-{place}": "v" for place in range(51)}, {"X-A": "é" * 4096}):
        with pytest.raises(StepFailedError, match="at most 50 headers of 8192 bytes"):
            check_head(headers, PLAIN)


@pytest.mark.parametrize("kind", ["text", "text/html\r\nX: y", "text/hé", "", "text/plain\tx", "a/" + "b" * 255])
def test_content_types_that_are_none(kind: str) -> None:
    """A content type is a media type, and short."""
    with pytest.raises(StepFailedError):
        check_head({}, kind)


def test_the_usual_is_fine() -> None:
    """Locations, caching, CORS and names of one's own."""
    headers = {"Location": "https://x", "Cache-Control": "max-age=1", "Access-Control-Allow-Origin": "*", "X-A": "é"}
    check_head(headers, "application/problem+json; charset=utf-8")
    assert all(map(may_say, headers))
    assert not may_say("SET-Cookie")
