"""Redirects and header fields: what the next hop is sent."""

import pytest

from shared.egress.fields import MAX_HEADERS, Headers, decoded
from shared.egress.hop import Hop, first_hop, next_hop
from shared.errors import StepFailedError

SECRETS = [
    *(("Authorization", "Bearer x"), ("Cookie", "a=b"), ("Proxy-Authorization", "x"), ("X-Api-Key", "x")),
    *(("X-Vault-Token", "x"), ("api-key", "x"), ("Referer", "http://a.test/?t=x")),
]
HARMLESS = [("Accept", "*/*"), ("user-agent", "me"), ("Accept-Language", "de")]
OF_BODY = [("Content-Type", "text/plain"), ("content-encoding", "gzip")]


def hop(
    method: str = "POST", url: str = "http://a.test/x/y?z=1", headers: Headers = (), body: bytes | None = b"body"
) -> Hop:
    return first_hop(method, url, headers, body)


def follow(start: Hop, status: int, location: str) -> Hop:
    following = next_hop(start, status, location)
    assert following is not None
    return following


@pytest.mark.parametrize(
    ("status", "method", "becomes", "keeps"),
    [
        *((301, "POST", "GET", False), (302, "POST", "GET", False), (303, "POST", "GET", False)),
        *((301, "PUT", "PUT", True), (302, "DELETE", "DELETE", True), (303, "PUT", "GET", False)),
        *((303, "HEAD", "HEAD", True), (303, "GET", "GET", True), (301, "HEAD", "HEAD", True)),
        *((307, "POST", "POST", True), (308, "POST", "POST", True), (307, "PATCH", "PATCH", True)),
    ],
)
def test_method_rewriting(status: int, method: str, becomes: str, *, keeps: bool) -> None:
    """Methods change as the Fetch standard says, and a dropped body takes its headers along."""
    following = follow(hop(method, headers=OF_BODY + HARMLESS), status, "/next")
    assert following.method == becomes
    assert following.body == (b"body" if keeps else None)
    assert list(following.headers) == (OF_BODY + HARMLESS if keeps else HARMLESS)


ELSEWHERE = [
    *("http://b.test/", "http://a.test:81/", "//b.test/", "http://a.test.evil/", "http://sub.a.test/"),
    *("https://b.test/", "https://a.test:8443/", "https://a.test:80/"),
]


@pytest.mark.parametrize("location", [*ELSEWHERE, "https://a.test/"])
def test_another_origin_sees_no_credentials(location: str) -> None:
    """Another host, port or scheme is sent only fields that are known to be harmless."""
    following = follow(hop(headers=SECRETS + HARMLESS + OF_BODY, body=None), 307, location)
    assert list(following.headers) == HARMLESS + OF_BODY
    back = follow(following, 307, "http://a.test/")
    assert list(back.headers) == HARMLESS + OF_BODY


@pytest.mark.parametrize(
    ("method", "status"), [("POST", 307), ("POST", 308), ("PUT", 301), ("PATCH", 302), ("GET", 303)]
)
@pytest.mark.parametrize("location", ELSEWHERE)
def test_a_body_goes_to_no_other_origin(location: str, method: str, status: int) -> None:
    """It may hold secrets as headers do: the redirect is not followed; the error names both origins and the rule."""
    with pytest.raises(StepFailedError) as caught:
        next_hop(hop(method), status, location)
    target = first_hop("GET", location if "://" in location else f"http:{location}", (), None).target
    assert (caught.value.code, caught.value.http_status) == ("egress_refused", status)
    assert caught.value.message == (
        f"http://a.test redirects the call to {target.origin} ({status}), and a body goes to no other origin than "
        "the one that the node names. If it is meant to go there, name that URL in the node."
    )


def test_a_body_that_is_dropped_stops_no_redirect() -> None:
    """Another origin is asked with GET where the method changes to it, and with any method that has no body."""
    assert follow(hop(), 302, "http://b.test/").body is None
    assert follow(hop("DELETE", body=b""), 307, "http://b.test/").method == "DELETE"


def test_an_upgrade_keeps_the_body_and_a_downgrade_does_not() -> None:
    """TLS of the same host gets the body, and no credentials; from there it comes back to clear text no more."""
    secure = follow(hop(headers=SECRETS + OF_BODY), 308, "https://a.test/x")
    assert (secure.method, secure.body, list(secure.headers)) == ("POST", b"body", OF_BODY)
    for location in ("http://a.test/x", "http://a.test:443/x", "https://b.test/"):
        with pytest.raises(StepFailedError, match=r"^https://a\.test redirects the call to "):
            next_hop(secure, 308, location)


@pytest.mark.parametrize("location", ["/other", "?q=2", "next", "http://a.test:80/", "HTTP://A.test./", "//a.test/"])
def test_the_same_origin_keeps_everything(location: str) -> None:
    """A redirect within an origin, however it is spelt, keeps the headers."""
    assert list(follow(hop(headers=SECRETS), 307, location).headers) == SECRETS


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("/a", "http://a.test/a"),
        ("b", "http://a.test/x/b"),
        ("../c", "http://a.test/c"),
        ("?q", "http://a.test/x/y?q"),
        ("//b.test/d#frag", "http://b.test/d"),
        ("", "http://a.test/x/y?z=1"),
        ("/ü", "http://a.test/%C3%BC"),
        (b"/\xff".decode("utf-8", "surrogateescape"), "http://a.test/%FF"),
    ],
)
def test_relative_places(location: str, url: str) -> None:
    """A place is read relative to the URL that named it; stray bytes are encoded as they came."""
    assert str(follow(hop(body=None), 307, location).url) == url


@pytest.mark.parametrize(
    "location",
    [
        *("file:///etc/passwd", "gopher://a.test/", "javascript:1", "http://u:p@b.test/", "/\\b.test", "\\\\b.test"),
        *("http://b.test:0/", "http://[::1", "http://a b/", "data:,x"),
    ],
)
def test_unusable_places_are_refused(location: str) -> None:
    """A redirect is held to the rules of a first URL."""
    with pytest.raises(StepFailedError) as caught:
        next_hop(hop(), 302, location)
    assert caught.value.code in ("invalid_url", "egress_refused")


@pytest.mark.parametrize(("status", "location"), [(302, None), (200, "/a"), (300, "/a"), (304, "/a"), (305, "/a")])
def test_what_is_no_redirect(status: int, location: str | None) -> None:
    """Without a place, or with another status, the answer is the answer."""
    assert next_hop(hop(), status, location) is None


@pytest.mark.parametrize(
    "headers",
    [
        *([("X", "a\r\nB: c")], [("X", "a\nb")], [("X", "a\rb")], [("X", "a\0b")], [("X", "\ud800")]),
        *([("", "a")], [("X Y", "a")], [("X:", "a")], [("X\r\nY", "a")], [("Ünï", "a")], [("X" * 257, "a")]),
        *([("Host", "b.test")], [("content-length", "5")], [("Transfer-Encoding", "chunked")], [("Expect", "x")]),
        *([("Connection", "close")], [("UPGRADE", "h2c")], [("Trailer", "x")], [("TE", "x")], [("Keep-Alive", "x")]),
        [("X", "a")] * (MAX_HEADERS + 1),
        [("X", "ü" * 33_000)],
    ],
)
def test_headers_that_are_not_sent(headers: Headers) -> None:
    """Line breaks, NULs, framing fields, illegal names and masses are refused, and no value is shown."""
    with pytest.raises(StepFailedError) as caught:
        hop(headers=headers)
    assert caught.value.code == "invalid_header"
    assert "B: c" not in caught.value.message


@pytest.mark.parametrize("method", ["CONNECT", "trace", "", "GET /", "G\r\nX", "GÉT"])
def test_methods_that_are_not_sent(method: str) -> None:
    """Methods that open tunnels or echo credentials, and what is no method, are refused."""
    with pytest.raises(StepFailedError) as caught:
        hop(method)
    assert caught.value.code == "egress_refused"


def test_received_fields_are_text() -> None:
    """UTF-8 is read as such and every other byte as Latin-1, so nothing received is unprintable."""
    assert decoded([(b"X-A", "ü".encode()), (b"x-b", b"\xfc")]) == (("X-A", "ü"), ("x-b", "ü"))
