"""A ``webhook`` node against servers that do not play fair: each ends with a clear failed step, in time and memory."""

import asyncio
import gzip
import socket
import ssl
import struct
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from shared.errors import StepFailedError
from tests.outward import called, certified, failure_of, outward, serving
from tests.soap import Stock

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

#: Bytes of Python's memory for one call, the 10 MiB that an answer may have and their copy included.
MEMORY = 32_000_000
#: Seconds; what is given up for its form, not for its time, is given up long before.
SOON = 8.0

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def answering(answer: Answer, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that does this with whoever asked, and hangs up; its URL."""
    tasks: set[asyncio.Task[Any] | None] = set()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await answer(reader, writer)
        writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", 0, ssl=context)
    try:
        yield f"http{'s' if context else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/?k=s3cret"
    finally:
        server.close()
        await server.wait_closed()
        await asyncio.wait_for(asyncio.gather(*filter(None, tasks), return_exceptions=True), 10)


def raw(pieces: Iterable[bytes], context: ssl.SSLContext | None = None) -> AbstractAsyncContextManager[str]:
    """A server that sends these bytes, as fast as they are taken."""

    async def send(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()

    return answering(send, context)


@contextmanager
def little() -> Iterator[None]:
    """What runs within takes little memory and little time."""
    tracemalloc.start()
    started = time.monotonic()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < MEMORY
        assert time.monotonic() - started < SOON
    finally:
        tracemalloc.stop()


def chunked(*parts: bytes) -> list[bytes]:
    return [OK, b"Transfer-Encoding: chunked\r\n\r\n", *parts]


def with_length(length: str, body: bytes = b"abc") -> list[bytes]:
    return [OK + f"Content-Length: {length}\r\n\r\n".encode() + body]


def packed(encoding: str, body: bytes) -> list[bytes]:
    return [OK + f"Content-Encoding: {encoding}\r\n\r\n".encode(), body]


LARGE = b"x" * 65_536
#: In 60 kB.
ZEROS = bytes(60_000_000)
NETWORK = "network_error"
HOSTILE: dict[str, tuple[Callable[[], Iterable[bytes]], str]] = {
    "an endless status line": (lambda: chain([b"HTTP/1.1 200 "], repeat(LARGE)), NETWORK),
    "a giant status line": (lambda: [b"HTTP/1.1 200 ", LARGE * 4, b"\r\n\r\n"], NETWORK),
    "an endless field": (lambda: chain([OK, b"X: "], repeat(LARGE)), NETWORK),
    "an endless field name": (lambda: chain([OK], repeat(LARGE)), NETWORK),
    "endless fields": (lambda: chain([OK], repeat(b"X: a\r\n" * 1000)), NETWORK),
    "endless interim answers": (lambda: repeat(b"HTTP/1.1 100 Continue\r\n\r\n" * 10), NETWORK),
    "an endless body": (lambda: chain([OK, b"\r\n"], repeat(LARGE)), "response_too_large"),
    "a body announced as endless": (lambda: with_length("99999999999"), "response_too_large"),
    "endless chunks": (lambda: chain(chunked(), repeat(b"10000\r\n" + LARGE + b"\r\n")), "response_too_large"),
    "endless tiny chunks": (lambda: chain(chunked(), repeat(b"1\r\na\r\n" * 100)), "timeout"),
    "an endless chunk size": (lambda: chain(chunked(), repeat(b"0" * 65_536)), "timeout"),
    "an endless chunk extension": (lambda: chain(chunked(b"3;"), repeat(LARGE)), "timeout"),
    "endless trailers": (lambda: chain(chunked(b"3\r\nabc\r\n0\r\n"), repeat(b"X: a\r\n" * 1000)), NETWORK),
    "a chunk of garbage": (lambda: chunked(b"zz\r\nabc\r\n"), NETWORK),
    "a chunk of less than nothing": (lambda: chunked(b"-1\r\nabc\r\n"), NETWORK),
    "a chunk beyond numbers": (lambda: chunked(b"f" * 20 + b"\r\nabc\r\n"), NETWORK),
    "a chunk that is too long": (lambda: chunked(b"3\r\nabcd\r\n0\r\n\r\n"), NETWORK),
    "a chunk that is too short": (lambda: chunked(b"5\r\nabc"), NETWORK),
    "a length that is too long": (lambda: with_length("10"), NETWORK),
    "a length that is too short": (lambda: with_length("2"), NETWORK),
    "a length below zero": (lambda: with_length("-1"), NETWORK),
    "a length with a sign": (lambda: with_length("+3"), NETWORK),
    "a length that is none": (lambda: with_length("abc"), NETWORK),
    "a length beyond numbers": (lambda: with_length("9" * 40), NETWORK),
    "two lengths": (lambda: with_length("3\r\nContent-Length: 4"), NETWORK),
    "length and chunks": (lambda: with_length("3\r\nTransfer-Encoding: chunked", b"0\r\n\r\n"), NETWORK),
    "a bomb of gzip": (lambda: packed("gzip", gzip.compress(ZEROS, 1)), "response_too_large"),
    "a bomb of deflate": (lambda: packed("deflate", zlib.compress(ZEROS, 1)), "response_too_large"),
    "many bombs": (lambda: packed("gzip", gzip.compress(ZEROS[:2_000_000]) * 20), "response_too_large"),
    "gzip that is none": (lambda: packed("gzip", b"abcde"), NETWORK),
    "gzip that breaks off": (lambda: packed("gzip", gzip.compress(b"hello" * 1000)[:30]), NETWORK),
    "no HTTP": (lambda: [b"SSH-2.0-OpenSSH_9.6\r\n\r\n"], NETWORK),
    "HTTP/0.9": (lambda: [b"<html>hello</html>\n"], NETWORK),
    "HTTP/2": (lambda: [b"HTTP/2 200 OK\r\n\r\n"], NETWORK),
    "HTTP/9.9": (lambda: [b"HTTP/9.9 200 OK\r\n\r\n"], NETWORK),
    "TLS": (lambda: [b"\x15\x03\x01\x00\x02\x02\x28"], NETWORK),
    "nothing": (list, NETWORK),
    "empty lines": (lambda: [b"\r\n\r\n"], NETWORK),
    "a status of letters": (lambda: [b"HTTP/1.1 abc OK\r\n\r\n"], NETWORK),
    "a long status": (lambda: [b"HTTP/1.1 99999 OK\r\n\r\n"], NETWORK),
    "no status": (lambda: [b"HTTP/1.1 000 OK\r\nContent-Length: 0\r\n\r\n"], "webhook_failed"),
    "another protocol": (lambda: [b"HTTP/1.1 101 Yes\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nx"], "webhook_failed"),
    "a NUL in a field": (lambda: [OK, b"X: a\0b\r\n\r\n"], NETWORK),
    "a NUL in a name": (lambda: [OK, b"X\0Y: ab\r\n\r\n"], NETWORK),
    "no colon": (lambda: [OK, b"Xab\r\n\r\n"], NETWORK),
    "a blank in a name": (lambda: [OK, b"X : ab\r\n\r\n"], NETWORK),
    "a circle": (lambda: [b"HTTP/1.1 302 F\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"], "too_many_redirects"),
    "a giant redirect": (lambda: [b"HTTP/1.1 302 F\r\nLocation: /", LARGE[:30_000], b"\r\n\r\n"], "invalid_url"),
}


@pytest.mark.parametrize("attack", HOSTILE)
async def test_hostile_answers(attack: str) -> None:
    """A failed step that names the host and shows no query, in a moment, whatever the server would go on to send."""
    pieces, code = HOSTILE[attack]
    seconds = 0.4 if code == "timeout" else 20.0
    made = pieces()
    async with outward() as egress, raw(made if isinstance(made, list) else chain(made)) as url:
        with little():
            data = {"method": "POST", "url": url}
            error = await failure_of("webhook", data, egress=egress, seconds=seconds)
    assert error.code == code
    assert error.category == {NETWORK: "network", "timeout": "timeout"}.get(code, "error")
    assert "s3cret" not in error.message
    assert error.message.isprintable()


@pytest.mark.parametrize("start", [OK + b"Content-Length: 100\r\n\r\nabc", OK + b"Content-Le", b""])
async def test_a_reset_in_the_middle(start: bytes) -> None:
    """A connection that is reset within the body, or within the head, breaks off."""

    async def reset(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with answering(reset) as url:
        error = await failure_of("webhook", {"method": "POST", "url": url})
    assert (error.code, error.category) == (NETWORK, "network")


@pytest.mark.parametrize(
    "start", [b"", b"HTTP/1.1 200 O", OK + b"X-A: ", OK + b"Content-Length: 99\r\n\r\n", OK + b"\r\n"]
)
async def test_slow_answers(start: bytes) -> None:
    """A byte now and then does not keep a call alive: its time is for the whole."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        gone = asyncio.ensure_future(reader.read())
        while not gone.done():
            writer.write(b"0" if start else b"")
            await asyncio.wait([gone], timeout=0.05)

    async with outward() as egress, answering(drip) as url:
        with little():
            error = await failure_of("webhook", {"method": "POST", "url": url}, seconds=0.3, egress=egress)
        assert (error.code, error.category) == ("timeout", "timeout")
        await egress.aclose()


async def test_odd_answers_that_are_answers() -> None:
    """NULs, bytes that are no text and charsets that are none come through as JSON can hold them."""
    cases = {
        b"Content-Length: 3\r\n\r\n\0\0\0": "\0\0\0",
        b'Content-Type: application/json\r\nContent-Length: 8\r\n\r\n"\\u0000"': "\0",
        b"Content-Length: 2\r\n\r\n\xff\xfe": "//4=",
        b"Content-Type: application/json\r\n\r\n" + b"[" * 100_000: "[" * 100_000,
    }
    for charset in (
        b"rot13",
        b"zip",
        b"base64",
        b"idna",
        b"punycode",
        b"undefined",
        b"unicode_escape",
        b"\xff",
        b"x" * 99,
    ):
        cases[b"Content-Type: text/plain; charset=" + charset + b"\r\nContent-Length: 4\r\n\r\na\\x4"] = "a\\x4"
    for text, expected in cases.items():
        async with raw([OK + text]) as url:
            outcome = await called("webhook", {"method": "GET", "url": url})
        assert outcome.output["body"] == expected
        msgspec.json.encode(outcome.output)


async def test_a_status_line_stays_out_of_messages() -> None:
    """A reason is shown on one line, cut, and without control characters."""
    async with raw([b"HTTP/1.1 500 Bad\0\x1b[31m\x7f" + b"x" * 5000 + b"\r\nContent-Length: 0\r\n\r\n"]) as url:
        error = await failure_of("webhook", {"method": "GET", "url": url})
    assert error.message.startswith("Webhook request failed: 500 Bad")
    assert error.message.isprintable()
    assert len(error.message) < 400


@pytest.mark.parametrize(
    ("name", "days", "works"), [("a.test", 5, True), ("b.test", 5, False), ("a.test", -1, False), ("a.test", 20, False)]
)
async def test_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, days: int, *, works: bool
) -> None:
    """One for another name, one that is over and one that has not begun are refused, although they are trusted."""
    context = certified(name, tmp_path, days=days)
    trusting = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)
    async with raw([OK, b"Content-Length: 0\r\n\r\n"], context) as url, outward({"a.test": ["127.0.0.1"]}) as egress:
        data = {"method": "GET", "url": url.replace("127.0.0.1", "a.test")}
        if works:
            assert (await called("webhook", data, egress=egress)).output["status"] == 200
            return
        error = await failure_of("webhook", data, egress=egress)
        assert (error.code, error.category) == (NETWORK, "network")
        assert error.message == "The call to a.test failed: its TLS certificate is not valid for it."
        insecure = await called("webhook", {**data, "verify_tls": False}, egress=egress)
        assert insecure.output["status"] == 200


INJECTIONS = ["a\r\nX-Evil: 1", "a\nX-Evil: 1", "a\rX-Evil: 1", "a\0b", "a\r\n\r\nGET /evil HTTP/1.1", "a\ud800"]
NODES: dict[str, dict[str, Any]] = {
    "webhook": {"method": "GET"},
    "graphql_request": {"query": "{ a }"},
    "send_notification": {"service": "generic", "message": "m"},
    "soap_request": {"operation": "GetLevel", "arguments": {"item": "tea"}},
}


@pytest.mark.parametrize("node", NODES)
@pytest.mark.parametrize("place", ["value", "name", "field"])
async def test_values_break_out_of_no_header(node: str, place: str) -> None:
    """A line break or NUL that a template brings is refused wherever it comes, and nothing is sent."""
    seen = Stock()
    async with serving(seen) as base:
        seen.base = base
        headers: Any = {
            "value": {"X-Name": "{{ n1.x }}"},
            "name": [{"key": "{{ n1.x }}", "value": "v"}],
            "field": [{"key": "X-Name", "value": "{{ n1.x }}"}],
        }[place]
        where = {"wsdl": f"{base}/stock"} if node == "soap_request" else {"url": base}
        for text in INJECTIONS:
            error = await failure_of(node, {**NODES[node], **where, "headers": headers}, {"n1": {"x": text}})
            assert error.code == "invalid_header"
    assert seen.asked == []


async def test_values_break_out_of_no_request_line() -> None:
    """In a URL they are refused, in a query they are encoded."""
    seen: list[str] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response()

    async with serving(note) as base:
        for text in INJECTIONS:
            data = {"method": "GET", "url": f"{base}/{{{{ n1.x }}}}"}
            error = await failure_of("webhook", data, {"n1": {"x": text}})
            assert error.code == "invalid_url"
            data = {"method": "GET", "url": base, "query": {"x": "{{ n1.x }}"}}
            await called("webhook", data, {"n1": {"x": text}})
    assert len(seen) == len(INJECTIONS)
    assert all(path.startswith("/?x=a") and path.isascii() and " " not in path for path in seen)


async def test_headers_go_out_as_utf_8() -> None:
    """As they were written, byte for byte."""
    seen: list[bytes] = []

    async def note(request: web.Request) -> web.Response:
        seen.extend(value for name, value in request.raw_headers if name == b"X-Name")
        return web.Response()

    async with serving(note) as base:
        for text in ("grün ✓ 日本", "tab\tin it", "é" * 100):
            await called(
                "webhook", {"method": "GET", "url": base, "headers": {"X-Name": "{{ n1.x }}"}}, {"n1": {"x": text}}
            )
            assert seen.pop() == text.encode()


async def test_a_hostile_server_holds_nobody_else() -> None:
    """While many of its answers are unpacked, dripped and refused, calls to others go through."""

    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="fine")

    bomb = gzip.compress(ZEROS, 1)
    async with serving(fine) as good, raw(packed("gzip", bomb)) as bad, outward() as egress:
        bombs = [
            asyncio.ensure_future(called("webhook", {"method": "POST", "url": bad}, egress=egress)) for _ in range(8)
        ]
        for _ in range(10):
            started = time.monotonic()
            assert (await called("webhook", {"method": "GET", "url": good}, egress=egress)).output["body"] == "fine"
            assert time.monotonic() - started < 2
        ends = await asyncio.gather(*bombs, return_exceptions=True)
    assert {end.code for end in ends if isinstance(end, StepFailedError)} == {"response_too_large"}
