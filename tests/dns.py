"""A name server on this machine that answers as it is told, and a resolver that asks it over UDP."""

import asyncio
import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address
from itertools import count
from typing import Final

_A: Final = 1
_AAAA: Final = 28
_ids: Final[Iterator[int]] = count(1)


class NameServer(asyncio.DatagramProtocol):
    """Answers each question with the next of the answers of its name, and then with the last for ever.

    Every answer has a time to live of 0: whoever asks twice is told twice.

    Attributes:
        answers: lists of addresses by name.
        asked: questions of each name, the IPv4 ones.
    """

    def __init__(self, answers: dict[str, list[list[str]]]) -> None:
        self.answers = answers
        self.asked: dict[str, int] = {}
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is up."""
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Answer a question (RFC 1035, 4.1)."""
        name, end = _name(data, 12)
        kind = struct.unpack_from("!H", data, end)[0]
        left = self.answers.get(name, [[]])
        now = left[0]
        if kind == _AAAA:  # the resolver's second question
            self.answers[name] = left[1:] or left
        else:
            self.asked[name] = self.asked.get(name, 0) + 1
        records = [ip_address(each).packed for each in now]
        fitting = [raw for raw in records if len(raw) == (4 if kind == _A else 16)]
        head = data[:2] + struct.pack("!HHHHH", 0x8180, 1, len(fitting), 0, 0)
        body = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 0, len(raw)) + raw for raw in fitting)
        self._transport.sendto(head + data[12 : end + 4] + body, addr)  # type: ignore[attr-defined] # it is one of UDP

    async def resolve(self, host: str) -> Sequence[str]:
        """All addresses of a name, as the guard asks for them."""
        return [*await _ask(self.port, host, _A), *await _ask(self.port, host, _AAAA)]


@asynccontextmanager
async def name_server(answers: dict[str, list[list[str]]]) -> AsyncIterator[NameServer]:
    """A name server while the block runs."""
    server = NameServer(answers)
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: server, local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()


def _name(data: bytes, at: int) -> tuple[str, int]:
    labels = []
    while size := data[at]:
        labels.append(data[at + 1 : at + 1 + size].decode())
        at += 1 + size
    return ".".join(labels), at + 1


class _Question(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.answer.set_result(data)


async def _ask(port: int, host: str, kind: int) -> list[str]:
    labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split(".")) + b"\0"
    question = struct.pack("!HHHHHH", next(_ids) % 65_536, 0x100, 1, 0, 0, 0) + labels + struct.pack("!HH", kind, 1)
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        _Question, remote_addr=("127.0.0.1", port)
    )
    try:
        transport.sendto(question)
        return _addresses(await protocol.answer, len(question))
    finally:
        transport.close()


def _addresses(data: bytes, at: int) -> list[str]:
    found = []
    for _ in range(struct.unpack_from("!H", data, 6)[0]):
        size = struct.unpack_from("!H", data, at + 10)[0]
        found.append(str(ip_address(data[at + 12 : at + 12 + size])))
        at += 12 + size
    return found
