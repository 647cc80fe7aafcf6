"""A trap: sockets on an internal address that count whatever arrives, by TCP or UDP."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

#: Loopback, and an address that tests of allowed calls to 127.0.0.1 do not allow.
INTERNAL = "127.0.0.2"


class Trap(asyncio.DatagramProtocol):
    """Counts connections and datagrams on one port of several addresses.

    Attributes:
        caught: of each, the address that it came to.
        sprung: whether anything came.
        speaks: whether it answers as an HTTP server does, rather than hang up.
    """

    def __init__(self) -> None:
        self.caught: list[str] = []
        self.port = 0
        self.speaks = False
        self.sprung = asyncio.Event()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """A connection came."""
        self.caught.append(f"tcp {writer.get_extra_info('sockname')}")
        self.sprung.set()
        if self.speaks:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A datagram came."""
        self.caught.append(f"udp {data[:20]!r} from {addr}")
        self.sprung.set()


@asynccontextmanager
async def trapping(*addresses: str) -> AsyncIterator[Trap]:
    """A trap on these addresses, or `INTERNAL` and, where there is one, IPv6's loopback."""
    trap, loop = Trap(), asyncio.get_running_loop()
    servers: list[asyncio.Server] = []
    transports: list[asyncio.BaseTransport] = []
    for address in addresses or (INTERNAL, "::1"):
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with suppress(OSError):  # a machine without IPv6 has no such way in
            server = await asyncio.start_server(trap.connected, address, trap.port, family=family)
            servers.append(server)
            trap.port = server.sockets[0].getsockname()[1]
            transport, _ = await loop.create_datagram_endpoint(lambda: trap, local_addr=(address, trap.port))
            transports.append(transport)
    try:
        yield trap
    finally:
        for transport in transports:
            transport.close()
        for server in servers:
            server.close()
            await server.wait_closed()
