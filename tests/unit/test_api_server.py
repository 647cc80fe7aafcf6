"""Clients that take their time: connections and bodies that never come to an end are ended."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, suppress

import pytest
from aiohttp import web

from api.bodies import read
from api.server import Limits, Runner
from api.webhook_payload import compose

_FOR_EVER = 3600.0
_SHORT = 0.05
_POST = b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n"
_FORM = b"POST /form HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n"
_GET = b"GET /body HTTP/1.1\r\nHost: x\r\n\r\n"

Connect = Callable[[Limits], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


async def _body(request: web.Request) -> web.Response:
    return web.Response(body=await read(request, 1000))


async def _form(request: web.Request) -> web.Response:
    return web.Response(text=await compose(request, await read(request, 1000), "now"))


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Serves two routes that read bodies, with limits, and connects to them."""
    async with AsyncExitStack() as stack:

        async def made(limits: Limits) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
            app = web.Application()
            app.router.add_route("*", "/body", _body)
            app.router.add_post("/form", _form)
            runner = Runner(app, public_url="http://x", grace_seconds=0.1, limits=limits)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
            stack.callback(writer.close)
            return reader, writer

        yield made


async def _answer(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The head and the body of the next answer."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode()
    length = next(line for line in head.splitlines() if line.startswith("Content-Length"))
    return head, await reader.readexactly(int(length.split()[1]))


@pytest.mark.parametrize("sent", [b"", b"GET /bo", _POST])
async def test_a_first_request_that_does_not_come_ends_the_connection(connect: Connect, sent: bytes) -> None:
    """Nothing, half a first line, and headers without an end: the connection is closed, without an answer."""
    reader, writer = await connect(Limits(head=_SHORT, body=_FOR_EVER, idle=_FOR_EVER))
    writer.write(sent)
    assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_bytes_that_trickle_in_do_not_put_the_end_off(connect: Connect) -> None:
    """A header sent byte by byte is cut off all the same."""
    reader, writer = await connect(Limits(head=0.5, body=_FOR_EVER, idle=_FOR_EVER))
    writer.write(_GET)
    await _answer(reader)
    ended = asyncio.create_task(reader.read())
    writer.write(b"GET /body HTTP/1.1\r\nX: ")
    async with asyncio.timeout(10):
        with suppress(ConnectionError):
            while not ended.done():
                writer.write(b"x")
                await asyncio.wait({ended}, timeout=0.02)
        with suppress(ConnectionError):
            assert await ended == b""


async def test_a_connection_that_was_answered_may_be_idle(connect: Connect) -> None:
    """The time for a first request does not end a connection between requests; the time for idling does."""
    reader, writer = await connect(Limits(head=0.5, body=_FOR_EVER, idle=1.2))
    loop = asyncio.get_running_loop()
    asked = loop.time()
    writer.write(_GET)
    await _answer(reader)
    assert await asyncio.wait_for(reader.read(), 10) == b""
    assert loop.time() - asked > 1.1


@pytest.mark.parametrize("sent", [_POST + b"\r\nhalf", _POST + b"\r\n", _FORM + b"--b\r\n"])
async def test_a_body_that_does_not_come_is_408(connect: Connect, sent: bytes) -> None:
    """Half a body, none, and half a form are answered 408 in the error's form, and the connection is not kept."""
    reader, writer = await connect(Limits(head=_FOR_EVER, body=_SHORT, idle=_FOR_EVER))
    writer.write(sent)
    head, body = await _answer(reader)
    assert head.startswith("HTTP/1.1 408 ")
    assert "Connection: close" in head
    error = json.loads(body)
    assert (error["type"], error["code"]) == ("timeout_error", "request_timeout")
    assert "0.05 seconds" in error["message"]


async def test_a_body_may_come_in_pieces(connect: Connect) -> None:
    """What arrives within the time is read whole, and the next request on the connection too."""
    reader, writer = await connect(Limits(head=_FOR_EVER, body=_FOR_EVER, idle=_FOR_EVER))
    for pieces in ((_POST + b"\r\n", b"01234", b"56789"), (_POST + b"\r\n0123456789",)):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        assert (await _answer(reader))[1] == b"0123456789"
