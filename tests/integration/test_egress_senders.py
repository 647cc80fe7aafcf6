"""The two ways out, straight and through a proxy, held against each other: what goes over the wire, byte by byte."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.errors import StepFailedError

Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Open = Callable[[Raw], Awaitable["Way"]]
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Way:
    """A client that reaches a server one way; the server is the proxy, if that is the way."""

    def __init__(self, port: int, *, proxied: bool) -> None:
        proxy = f"http://127.0.0.1:{port}" if proxied else None
        self.client = EgressClient(Guard(parse_allow("127.0.0.1")), proxy=proxy)
        self.url = f"http://127.0.0.1:{port}/a?b=c"

    async def call(self, method: str, **wanted: Any) -> bytes:
        """The body of the answer."""
        return (await self.client.request(method, self.url, timeout=10.0, **wanted)).body


@pytest.fixture(params=["direct", "proxied"])
async def reach(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    servers: list[asyncio.Server] = []
    ways: list[Way] = []

    async def start(handler: Raw) -> Way:
        async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the client hung up
            finally:
                writer.close()

        servers.append(await asyncio.start_server(on_connect, "127.0.0.1", 0))
        ways.append(Way(servers[0].sockets[0].getsockname()[1], proxied=request.param == "proxied"))
        return ways[0]

    yield start
    for way in ways:
        await way.client.aclose()
    for server in servers:
        server.close()
        await server.wait_closed()


AGENT = ("user-agent", "Edgewise")
BINARY = ("content-type", "application/octet-stream")
ACCEPT = [("accept", "*/*"), ("accept-encoding", "gzip, deflate")]


@pytest.mark.parametrize(
    ("method", "given", "body", "sent"),
    [
        ("GET", [], None, [AGENT, *ACCEPT]),
        ("HEAD", [], None, [AGENT, *ACCEPT]),
        ("GET", [("Content-Type", "text/plain")], None, [AGENT, *ACCEPT, ("content-type", "text/plain")]),
        ("POST", [], None, [AGENT, *ACCEPT, ("content-length", "0"), BINARY]),
        ("GET", [], b"", [AGENT, *ACCEPT, ("content-length", "0"), BINARY]),
        ("GET", [], b"abc", [AGENT, *ACCEPT, ("content-length", "3"), BINARY]),
        ("DELETE", [], None, [AGENT, *ACCEPT, ("content-length", "0")]),
        (
            *("POST", [], b"abc"),
            [AGENT, *ACCEPT, ("content-length", "3"), BINARY],
        ),
        (
            *("PUT", [("content-TYPE", "text/plain"), ("X-A", "1"), ("X-A", "2"), ("User-agent", "me")], b"abc"),
            [
                *ACCEPT,
                *(("content-length", "3"), ("content-type", "text/plain")),
                *(("x-a", "1"), ("x-a", "2"), ("user-agent", "me")),
            ],
        ),
        ("GET", [("ACCEPT", "a/b")], None, [AGENT, ("accept", "a/b"), ACCEPT[1]]),
        (
            "GET",
            [("Accept-Encoding", "identity")],
            None,
            [AGENT, ACCEPT[0], ("accept-encoding", "identity")],
        ),
        (
            "OPTIONS",
            [("X-Empty", ""), ("X-Text", "grün ✓")],
            None,
            [AGENT, *ACCEPT, ("x-empty", ""), ("x-text", "grün ✓")],
        ),
    ],
)
async def test_both_ways_send_the_same(
    reach: Open, method: str, given: list[tuple[str, str]], body: bytes | None, sent: list[tuple[str, str]]
) -> None:
    """The caller's fields go out once each; what is missing is added, and nothing else is."""
    seen: list[tuple[str, bytes]] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        seen.append((head, await reader.readexactly(len(body or b""))))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await reader.read()

    way = await reach(handler)
    await way.call(method, headers=given, body=body)
    start, *fields = seen[0][0].removesuffix("\r\n\r\n").split("\r\n")
    assert start in {f"{method} /a?b=c HTTP/1.1", f"{method} {way.url} HTTP/1.1"}
    pairs = [(name.lower(), value) for name, _, value in (field.partition(": ") for field in fields)]
    assert Counter(pairs) == Counter([*sent, ("host", way.url.split("/")[2])])
    assert seen[0][1] == (body or b"")


def answering(*answers: bytes, connections: list[int], is_open: bool = True) -> Raw:
    """A server that gives each connection's requests these answers; counts connections."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
        if is_open:
            await reader.read()

    return handler


async def test_interim_answers_are_passed_over(reach: Open) -> None:
    """100 and 103 before the answer are none; the connection serves the next call."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    connections: list[int] = []
    way = await reach(answering(interim + FINE, FINE, connections=connections))
    assert [await way.call("GET"), await way.call("GET")] == [b"ok", b"ok"]
    assert len(connections) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    ],
)
async def test_an_answer_that_ends_its_connection(reach: Open, answer: bytes) -> None:
    """A body without a length ends with its connection, which serves nobody else; nor does one that says so."""
    connections: list[int] = []
    way = await reach(answering(answer, connections=connections, is_open=False))
    assert [await way.call("GET"), await way.call("GET")] == [b"ok", b"ok"]
    assert len(connections) == 2


def hanging_up(times: int, connections: list[int]) -> Raw:
    """A server that ends the first connections without an answer."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        if len(connections) > times:
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            await reader.read()

    return handler


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_what_may_be_repeated_is_sent_once_more(reach: Open, method: str) -> None:
    """A connection that breaks before the answer is given one more try."""
    connections: list[int] = []
    way = await reach(hanging_up(1, connections))
    assert await way.call(method) == b""
    assert len(connections) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
async def test_what_could_act_twice_is_not(reach: Open, method: str) -> None:
    """Whether to call again is up to the step's own retries."""
    connections: list[int] = []
    way = await reach(hanging_up(1, connections))
    with pytest.raises(StepFailedError) as caught:
        await way.call(method, body=b"x")
    assert (caught.value.code, len(connections)) == ("network_error", 1)


async def test_it_gives_up_after_the_second_try(reach: Open) -> None:
    """A server that always hangs up is asked twice."""
    connections: list[int] = []
    way = await reach(hanging_up(9, connections))
    with pytest.raises(StepFailedError):
        await way.call("GET")
    assert len(connections) == 2


async def test_an_answer_before_the_request_was_read(reach: Open) -> None:
    """It counts, and its connection, on which the rest of the request is stuck, serves nobody else."""
    connections: list[int] = []
    answer = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nok"

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await gone.wait()

    gone = asyncio.Event()
    way = await reach(handler)
    assert [await way.call("POST", body=bytes(20_000_000)), await way.call("POST", body=b"x")] == [b"ok", b"ok"]
    gone.set()
    assert len(connections) == 2
