"""A TCP proxy in front of Postgres that loses an answer, or a request, when a test says so."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urlsplit

_READY = b"Z\x00\x00\x00\x05"
_EXECUTE = b"B"  # Bind: how asyncpg begins to execute a prepared statement


class Proxy:
    """Passes connections on to a server.

    Attributes:
        cut: what to do with the next execution of a statement: lose it before the server sees it, or lose the answer
            after the server has committed. Each setting counts for one statement.
        cuts: how many were lost so far.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
        self.cut: Literal["", "before", "after"] = ""
        self.cuts = 0
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator["Proxy"]:
        """A proxy for the server of this URL; ``url`` of the proxy leads through it."""
        parts = urlsplit(url)
        proxy = cls(parts.hostname or "", parts.port or 0)
        server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        proxy.url = parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{port}").geturl()
        try:
            yield proxy
        finally:
            server.close()
            await asyncio.sleep(0)  # whoever was just let in has begun now
            for task in proxy._tasks:
                task.cancel()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # and what was aborted is closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            await self._pass_on(reader, writer)
        finally:
            writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server; one that is made while the proxy ends is closed, not left to the collector."""
        opening = asyncio.ensure_future(asyncio.open_connection(*self._upstream))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            (await opening)[1].transport.abort()
            raise

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._open()
        losing = asyncio.Event()
        pumps = [
            asyncio.create_task(self._requests(reader, back, losing)),
            asyncio.create_task(self._answers(there, writer, losing)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            back.transport.abort()  # before anything that can be cancelled
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _requests(self, reader: asyncio.StreamReader, back: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        while data := await reader.read(1 << 20):
            if self.cut and data.startswith(_EXECUTE):
                self.cuts += 1
                how, self.cut = self.cut, ""
                if how == "before":
                    return
                losing.set()
            back.write(data)
            await back.drain()

    async def _answers(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        end = b""  # of what was lost before: the mark may come in two reads
        while data := await there.read(1 << 20):
            if losing.is_set():
                if _READY in end + data:
                    return
                end = (end + data)[1 - len(_READY) :]
                continue
            writer.write(data)
            await writer.drain()
