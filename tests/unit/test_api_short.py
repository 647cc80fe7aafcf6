"""Short answers against those of aiohttp, byte by byte."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from api.server import Runner
from api.short import ShortAnswer

_BODY = b'{"run_id":"fl_run_1"}'


@pytest_asyncio.fixture
async def port() -> AsyncIterator[int]:
    """A server of which ``/short`` and ``/plain`` say the same, each in its way."""

    async def short(_: web.Request) -> web.StreamResponse:
        return ShortAnswer(202, _BODY)

    async def plain(_: web.Request) -> web.StreamResponse:
        return web.Response(status=202, body=_BODY, headers={"Content-Type": "application/json"})

    app = web.Application()
    app.add_routes([web.post("/short", short), web.post("/plain", plain)])
    runner = Runner(app, public_url="http://test", grace_seconds=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


async def told(port: int, path: str, version: str, *lines: str) -> list[bytes]:
    """The lines of the answers to two requests on a connection, less their time; empty lines where it was closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for _ in range(2):
        request = [
            f"POST {path} HTTP/{version}",
            "Host: test",
            "X-Request-Id: one",
            "Content-Length: 0",
            *lines,
            "",
            "",
        ]
        writer.write("\r\n".join(request).encode())
        head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
        answers += sorted(line for line in head.split(b"\r\n") if not line.startswith(b"Date: "))
        answers.append(await reader.readexactly(len(_BODY)) if head else b"")
        if b"close" in head or (version == "1.0" and b"keep-alive" not in head):
            answers.append(await reader.read())
            break
    writer.close()
    return answers


@pytest.mark.parametrize(
    ("version", "lines"),
    [("1.1", ()), ("1.1", ("Connection: close",)), ("1.0", ()), ("1.0", ("Connection: keep-alive",))],
)
async def test_a_short_answer_says_what_a_plain_one_says(port: int, version: str, lines: tuple[str, ...]) -> None:
    """Status, headers, body, and whether the connection goes on."""
    short, plain = [await told(port, path, version, *lines) for path in ("/short", "/plain")]
    assert short == plain
    assert _BODY in short


async def test_a_short_answer_tells_the_time(port: int) -> None:
    """As every answer does."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /short HTTP/1.1\r\nHost: test\r\nContent-Length: 0\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert head.count(b"\r\nDate: ") == 1
    assert head.count(b"\r\nX-Request-Id: req_") == 1
