"""Whatever is sent to a webhook, as HTTP or as bytes that hardly are, is answered as the contract says: no 500."""

import asyncio
import re
import socket
from contextlib import suppress
from typing import Any, Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from api.codes import ERRORS
from tests.api_client import PUBLIC_URL, Answer, node
from tests.property.test_api_fuzz import _Sync, fuzzed  # noqa: F401 — a fixture

_FUZZ = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
_VALUE = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60).map(
    str.strip
)
_NAMES: Final = [
    "Idempotency-Key",
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "X-GitHub-Delivery",
    "X-Hub-Signature-256",
    "Stripe-Signature",
    "X-Slack-Signature",
    "X-Slack-Request-Timestamp",
    "X-Forwarded-For",
    "Content-Type",
    "Content-Encoding",
    "Expect",
    "X-Seal",
    "traceparent",
    "X-Request-Id",
]
_TYPES: Final = [
    "application/json",
    "application/json; charset=utf-16",
    "application/x-www-form-urlencoded; charset=rot13",
    "multipart/form-data; boundary=b",
    'multipart/form-data; boundary="b',
    "Multipart/Form-Data",
    "multipart/mixed; boundary=b",
    "text/plain; charset=idna",
    "application/octet-stream",
]
_BODIES: Final = [
    b'{"type":"url_verification","challenge":"x"}',
    b'{"id":"\\ud800\\u0000","a":{"b":[1e308,-0.0]},"a":1}',
    b"[" * 150 + b"]" * 150,
    b"[" * 5000,
    b'"' + b"\\ud800" * 50 + b'"',
    b"a=1&a=%ff&=&%00=%u0000",
    b'--b\r\nContent-Disposition: form-data; name="a"; filename="x"\r\nContent-Encoding: gzip\r\n\r\n\x00\r\n--b--',
    b'--b\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!\r\n--b--',
    b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--",
    b"--b\r\n\r\nx\r\n--b--",
    b"--b--",
    b"\xef\xbb\xbf{}",
    b"nul\x00l",
]
_RULES: Final[list[dict[str, Any]]] = [
    {},
    {"dedupe": "{{ body.id }}{{ headers['webhook-id'] }}{{ query.q | upcase }}", "response": {"body": "{{ body }}"}},
    {"response": {"body": {"echo": "{{ body.a.b[0] }}", "all": "{{ headers }}"}}, "handshake": "microsoft_graph"},
    {"allowed_ips": ["127.0.0.1", "203.0.113.0/24"], "rate_limit": {"per_second": 50_000}},
    *(
        {"signature": {"scheme": scheme, "secret": "the-item", **({"header": "X-Seal"} if scheme == "hmac" else {})}}
        for scheme in ("github", "stripe", "slack", "standard_webhooks", "hmac")
    ),
]
_STATUSES: Final = {200, 202, 400, 401, 403, 413, 415, 429, 503}


_PUNCTUATION: Final = [
    b"",
    b";",
    b"; ",
    b"=",
    b'"',
    b"''",
    b"*=",
    b"*0=",
    b"*0*=",
    b",",
    b"\\",
    b"\x00",
    b"\xff",
    b" " * 300,
]
_WORDS: Final = [b"form-data", b"name", b"filename", b"_charset_", b"utf-8", b"punycode", b"%ff", b"x", b"x" * 9_000]
_HEADS: Final = [
    b"Content-Type: text/plain; charset=",
    b"Content-Type: multipart/form-data; boundary=b",
    b"Content-Type: ",
    b"Content-Encoding: gzip",
    b"Content-Length: ",
    b"Content-Transfer-Encoding: base64",
    b"Content-Transfer-Encoding: quoted-printable",
    b"Content-Transfer-Encoding: ",
    b": ",
    b"X Y: ",
    b"X: " + b"x" * 10_000,
    b"\r\n".join([b"X: 1"] * 150),
    b"nothing",
]
_JUNK: Final = st.lists(st.sampled_from(_PUNCTUATION + _WORDS), max_size=8).map(b"".join)
_DISPOSITION: Final = st.just(b'form-data; name="a"') | st.builds(b"form-data; %b".__mod__, _JUNK) | _JUNK
_HEAD: Final = st.builds(
    lambda disposition, heads: b"\r\n".join([b"Content-Disposition: " + disposition, *heads]),
    _DISPOSITION,
    st.lists(st.builds(lambda head, value: head + value, st.sampled_from(_HEADS), _JUNK), max_size=3),
)
_BREAK: Final = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""])
_CONTENT: Final = st.sampled_from([b"x", b"", b"punycode", b"=4", b"abc", b"\xff", b"--b", b"\r\n"]) | st.binary(
    max_size=20
)
_FIELD: Final = st.builds(
    lambda head, content, one, two: b"--b" + one + head + two + two + content + one, _HEAD, _CONTENT, _BREAK, _BREAK
)
_END: Final = st.sampled_from([b"--b--\r\n", b"--b--", b"--b", b"", b"--c--", b"--b--\r\n--b"])
#: Multipart forms, and what is nearly one.
_FORMS: Final = st.builds(lambda fields, end: b"".join(fields) + end, st.lists(_FIELD, min_size=1, max_size=3), _END)


def _hooks(sync: _Sync) -> list[str]:
    """Webhooks with each of the rules."""
    made = sync.run(sync.client.call("POST", "/workflows/vault", {"name": "the-item", "secret": "whsec_c2VjcmV0"}))
    assert made.status == 201, made.body
    paths = []
    for data in _RULES:
        nodes = [node("n1", "webhook_trigger", **data), node("n2", "text_transform", template="x")]
        paths.append(sync.run(sync.client.create(nodes=nodes))["webhook_url"].removeprefix(PUBLIC_URL))
    return paths


def _is_of_the_contract(answer: Answer) -> None:
    assert answer.status in _STATUSES, (answer.status, answer.body)
    assert "X-Request-Id" in answer.headers
    if answer.status >= 400:
        body = answer.json
        assert body["code"] in ERRORS
        assert answer.status != 503 or body["code"] == "webhook_secret_missing"
        assert answer.status not in (429, 503) or int(answer.headers["Retry-After"]) > 0


def test_any_headers_and_bodies(fuzzed: _Sync) -> None:  # noqa: F811 — the fixture
    """On webhooks that ask nothing, and on those that ask all there is."""
    paths = _hooks(fuzzed)
    queries = st.sampled_from(
        ["", "?validationToken=%00%ff", "?validationToken=" + "x" * 2000, "?q=%F0%9F&q=1&=", "?[]=1"]
    )

    @_FUZZ
    @given(
        st.sampled_from(paths),
        st.dictionaries(st.sampled_from(_NAMES), _VALUE, max_size=4),
        st.sampled_from(_TYPES) | _VALUE,
        st.sampled_from(_BODIES) | st.binary(max_size=80),
        queries,
    )
    def check(path: str, headers: dict[str, str], content_type: str, body: bytes, query: str) -> None:
        sent = {"Content-Type": content_type, **headers}
        _is_of_the_contract(fuzzed.run(fuzzed.client.call("POST", path + query, token="", data=body, headers=sent)))

    check()


def test_any_form(fuzzed: _Sync) -> None:  # noqa: F811 — the fixture
    """Multipart forms with anything in their heads, on a webhook that takes them and on one that wants them signed."""
    hooks = _hooks(fuzzed)
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    @settings(parent=_FUZZ, max_examples=100)
    @given(_FORMS)
    def check(body: bytes) -> None:
        for path, statuses in ((hooks[0], {202, 400, 415}), (hooks[4], {401})):
            answer = fuzzed.run(fuzzed.client.call("POST", path, token="", data=body, headers=headers))
            _is_of_the_contract(answer)
            assert answer.status in statuses, (answer.status, answer.body)

    check()


def _exchange(port: int, request: bytes, patience: float) -> bytes:
    """Send bytes, and read what comes back until the connection is closed or nothing comes any more."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        answer = b""
        with suppress(OSError):  # it may close on what it will not read, or wait for more
            connection.sendall(request)
            connection.settimeout(patience)
            while chunk := connection.recv(65536):
                answer += chunk
    return answer


def _raw(sync: _Sync, request: bytes, patience: float = 5.0) -> list[int]:
    """The statuses that a connection answers these bytes with."""
    base = sync.client.http._base_url
    assert base is not None
    answer = sync.run(asyncio.to_thread(_exchange, base.port or 0, request, patience))
    return [int(status) for status in re.findall(rb"^HTTP/1\.[01] (\d{3}) ", answer, re.MULTILINE)]


#: Headers and a body, and the statuses that they may be answered with; 100 comes before another.
_ODD: Final[list[tuple[str, bytes, set[int]]]] = [
    ("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n", {202}),
    ("Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n", {202}),
    ("Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n", {400}),
    ("Transfer-Encoding: chunked", b"-1\r\n{}\r\n", {400}),
    ("Transfer-Encoding: chunked", b"ffffffffffffffffffff\r\n{}", {400, 413}),
    ("Transfer-Encoding: gzip, chunked", b"2\r\n{}\r\n0\r\n\r\n", {202, 400}),
    ("Transfer-Encoding: chunked\r\nContent-Length: 2", b"2\r\n{}\r\n0\r\n\r\n", {400}),
    ("Content-Length: 2\r\nContent-Length: 3", b"{}", {400}),
    ("Content-Length: -2", b"{}", {400}),
    ("Content-Length: 2x", b"{}", {400}),
    ("Content-Length: 99999999999999999999", b"{}", {413, 400}),
    ("Content-Length: 2\r\nX-Big: " + "x" * 100_000, b"{}", {400}),
    ("Content-Length: 2\r\n" + "\r\n".join(f"X-{n}: {n}" for n in range(2000)), b"{}", {202, 400}),
    ("Content-Length: 2\r\nContent-Encoding: gzip", b"{}", {400}),
    ("Content-Length: 2\r\nContent-Encoding: zap", b"{}", {202, 400, 415}),
    ("Content-Length: 2\r\nExpect: 100-continue", b"{}", {100, 202}),
    ("Content-Length: 2\r\nExpect: miracles", b"{}", {400, 417}),
    ("Content-Length: 2\r\nX-Odd: \xff\xfe\x80", b"{}", {202}),
    ("Content-Length: 2\r\nIdempotency-Key: \xff\xfe\x80", b"{}", {202}),
    ("Content-Length: 2\r\nX Space: 1", b"{}", {400}),
    ("Content-Length: 2\r\n: nameless", b"{}", {400}),
    ("Content-Length: 2\r\nX-Nul: a\x00b", b"{}", {400}),
    ("Content-Length: 2\r\nX-Line: a\n b", b"{}", {400, 202}),
    ("Content-Length: 2\r\nUpgrade: websocket\r\nConnection: Upgrade", b"{}", {202, 400}),
    ("Content-Length: 0\r\nContent-Length: 0", b"", {202, 400}),
]


def test_what_is_hardly_http(fuzzed: _Sync) -> None:  # noqa: F811 — the fixture
    """Broken framing, headers that are too large or not legal: refused as the client's fault, or taken."""
    path = fuzzed.workflow["webhook_url"].removeprefix(PUBLIC_URL)
    for head, body, statuses in _ODD:
        request = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{head}\r\n\r\n"
        told = _raw(fuzzed, request.encode("latin-1") + body)
        assert told, (head[:80], body)
        assert set(told) <= statuses, (head[:80], told)


def test_any_bytes(fuzzed: _Sync) -> None:  # noqa: F811 — the fixture
    """A request cut, repeated and changed anywhere is answered with no status of ours, or not at all."""
    path = fuzzed.workflow["webhook_url"].removeprefix(PUBLIC_URL)
    whole = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\n{}\r\n0\r\n\r\n"
    ).encode()
    places = st.integers(0, len(whole))
    edits = st.lists(st.tuples(places, places, st.binary(max_size=6)), min_size=1, max_size=3)

    @settings(parent=_FUZZ, max_examples=40)
    @given(edits)
    def check(changes: list[tuple[int, int, bytes]]) -> None:
        request = whole
        for start, end, between in changes:
            request = request[: min(start, end)] + between + request[max(start, end) :]
        assert all(status < 500 for status in _raw(fuzzed, request, 0.1))

    check()
