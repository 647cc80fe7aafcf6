"""A TCP line to a server that can be cut, closed, stalled, slowed and sliced, and that loses the answers to commits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from random import Random
from typing import Final, Literal

#: What is lost of a statement: nothing, the statement before the server sees it, or the answer to it.
Loss = Literal["", "before", "after"]
#: How asyncpg begins to execute a prepared statement (Bind), and what Postgres ends its answer with (ReadyForQuery).
_EXECUTE: Final = b"B"
_READY: Final = b"Z\x00\x00\x00\x05"


class Line:
    """Passes connections on to a port.

    Args:
        port: of the server.
        chance: decides what is random.
        host: of the server.

    Attributes:
        port: where to connect to.
        open: whether connections are accepted; a closed line ends those that come.
        delay: seconds that each piece of data waits.
        sliced: whether data goes on in small pieces.
        lost: the share of executed statements whose answer is lost although the server commits them; for Postgres.
        losses: how many were lost so far.
    """

    def __init__(self, port: int, chance: Random, host: str = "127.0.0.1") -> None:
        self._upstream = (host, port)
        self._chance = chance
        self.port = 0
        self.open = True
        self.delay = 0.0
        self.sliced = False
        self.lost = 0.0
        self.losses = 0
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int, chance: Random) -> AsyncIterator["Line"]:
        """A line to a port."""
        line = cls(port, chance)
        async with line.listening():
            yield line

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Be there to be connected to."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield
        finally:
            server.close()
            await asyncio.sleep(0)  # whoever was just let in has begun now
            self.sever()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # and what was aborted is closed

    def sever(self) -> None:
        """End every connection there is."""
        for task in self._tasks:
            task.cancel()

    def stall(self) -> None:
        """Pass nothing on, either way; connections stay open and new ones are accepted."""
        self._flowing.clear()

    def mend(self) -> None:
        """Be an ordinary line again."""
        self.open, self.delay, self.sliced, self.lost = True, 0.0, False, 0.0
        self._flowing.set()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with suppress(OSError, asyncio.CancelledError):
            try:
                if self.open:
                    await self._pass_on(reader, writer)
            finally:
                writer.transport.abort()

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server; one that is made while the line ends is closed, not left to the collector."""
        opening = asyncio.ensure_future(asyncio.open_connection(*self._upstream))
        try:
            return await asyncio.shield(opening)
        except asyncio.CancelledError:
            (await opening)[1].transport.abort()
            raise

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await self._open()
        losing = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as both:
                pumps = [
                    both.create_task(self._requests(reader, back, losing)),
                    both.create_task(self._answers(there, writer, losing)),
                ]
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                for pump in pumps:
                    pump.cancel()
        except* OSError:
            pass
        finally:
            back.transport.abort()

    async def _requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event
    ) -> None:
        while data := await reader.read(1 << 20):
            if data.startswith(_EXECUTE) and (loss := self._loss()):
                self.losses += 1
                if loss == "before":
                    return
                losing.set()
            await self._send(writer, data)

    def _loss(self) -> Loss:
        """What is lost of the statement that is about to be executed."""
        return "after" if self.lost and self._chance.random() < self.lost else ""

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, losing: asyncio.Event) -> None:
        end = b""  # of what was lost before: the mark may come in two reads
        while data := await reader.read(1 << 20):
            if losing.is_set():
                if _READY in end + data:
                    return
                end = (end + data)[1 - len(_READY) :]
                continue
            await self._send(writer, data)

    async def _send(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        await self._flowing.wait()
        if self.delay:
            await asyncio.sleep(self.delay)
        if self.sliced:
            data = await self._slice(writer, data)
        writer.write(data)
        await writer.drain()

    async def _slice(self, writer: asyncio.StreamWriter, data: bytes) -> bytes:
        """Send the first bytes in small pieces; the rest of them."""
        for _ in range(8):
            size = self._chance.randint(1, 7)
            writer.write(data[:size])
            await asyncio.sleep(0)
            data = data[size:]
        return data
