"""Servers the workloads need, each a process of its own: `python -m tests.bench.servers receiver|waves|accepting`.

``receiver`` is what outbound calls reach: it answers 200 and costs as little as an asyncio server can. ``waves``
answers likewise, 150 calls at a time, so that how many results share a commit is not up to how fast a machine is; calls
of its path ``/alone`` are answered at once.
``accepting`` is a floor: aiohttp that answers 202 and does nothing.

Each prints its port as one line and ends when its standard input does, so it never outlives whoever started it.
"""

import asyncio
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import cast

import uvloop
from aiohttp import web

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n" + b'{"ok":true}'

#: Answers a call, or sees to it that it is answered: where to write, and the head of its request.
_Answer = Callable[[asyncio.WriteTransport, bytes], None]


def split_message(buffer: bytes) -> tuple[bytes, bytes, bytes] | None:
    """The first HTTP message (with a Content-Length) of a buffer as (head, body, rest); None until it is whole."""
    end = buffer.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = buffer[:end]
    length = 0
    at = head.lower().find(b"\r\ncontent-length:")
    if at >= 0:
        length = int(head[at + 17 :].partition(b"\r\n")[0])
    start = end + 4
    if len(buffer) < start + length:
        return None
    return head, buffer[start : start + length], buffer[start + length :]


class _Receiver(asyncio.Protocol):
    def __init__(self, answer: _Answer) -> None:
        self._answer = answer
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (message := split_message(self._buffer)) is not None:
            self._buffer = message[2]
            self._answer(self._transport, message[0])


class _Waves:
    """Keeps answers back until a wave of them is due, or until no call has come for a while: those were the last."""

    _SIZE = 150
    _QUIET = 0.1

    def __init__(self) -> None:
        self._waiting: list[asyncio.WriteTransport] = []
        self._quiet: asyncio.TimerHandle | None = None

    def call(self, transport: asyncio.WriteTransport, head: bytes) -> None:
        if head.startswith(b"POST /alone "):
            transport.write(_ANSWER)
            return
        self._waiting.append(transport)
        if self._quiet is not None:
            self._quiet.cancel()
        if len(self._waiting) >= self._SIZE:
            self._answer()
        else:
            self._quiet = asyncio.get_running_loop().call_later(self._QUIET, self._answer)

    def _answer(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            transport.write(_ANSWER)


async def _listening(answer: _Answer) -> int:
    server = await asyncio.get_running_loop().create_server(lambda: _Receiver(answer), "127.0.0.1", 0, backlog=1024)
    port: int = server.sockets[0].getsockname()[1]
    return port


async def _receiver() -> int:
    return await _listening(lambda transport, _: transport.write(_ANSWER))


async def _waves() -> int:
    return await _listening(_Waves().call)


async def _accepting() -> int:
    async def accept(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=202, body=b'{"run_id":"none"}', headers={"Content-Type": "application/json"})

    app = web.Application()
    app.router.add_post("/", accept)
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]
    return port


_SERVERS: dict[str, Callable[[], Awaitable[int]]] = {
    "receiver": _receiver,
    "waves": _waves,
    "accepting": _accepting,
}


async def _serve(name: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    print(await _SERVERS[name](), flush=True)

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await stop.wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1]))
