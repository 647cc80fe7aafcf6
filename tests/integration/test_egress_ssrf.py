"""Hostile URLs against a listener on loopback that stands there to catch them: none may arrive."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence

import pytest

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.errors import StepFailedError

HOSTILE = [
    # Loopback in every spelling.
    *("127.0.0.1", "127.0.0.2", "127.1", "127.0.1", "127.255.255.254", "0", "0.0.0.0", "0x0", "00"),
    *("2130706433", "0x7f000001", "0X7F000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "0x7f.1", "0177.1"),
    *("0000177.0.0.01", "127.0.0.1.", "127.0x0.0.0x1", "127。0。0。1", "１２７.0.0.1", "①②⑦.0.0.1", "127．1"),
    *("localhost", "LOCALHOST", "localhost.", "ＬＯＣＡＬＨＯＳＴ", "ⓛocalhost"),
    # Loopback within IPv6.
    *("[::1]", "[0:0:0:0:0:0:0:1]", "[::]", "[::127.0.0.1]", "[::7f00:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"),
    *("[0:0:0:0:0:ffff:7f00:0001]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b:1::7f00:1]"),
    *("[64:ff9b:1:7f00:0:100::]", "[2002:7f00:1::]", "[2001:0:c000:201:0:0:80ff:fffe]", "[::ffff:0.0.0.0]"),
    *("[::1%25lo]", "[::1%lo]", "[fe80::1%25lo]"),
    # Names that resolve inwards.
    *("rebind.test", "mixed.test", "mapped.test", "nat64.test", "localtest.test", "metadata.test"),
    # Parsers that disagree.
    *("user@127.0.0.1", "example.com@127.0.0.1", "example.com:80@127.0.0.1", "127.0.0.1\\@example.com"),
    *("example.com\\@127.0.0.1", "127.0.0.1%00.example.com", "%31%32%37.0.0.1", "127.0.0.1%2f.example.com"),
    *("127.0.0.1\t", "127.0.0.1 ", "127\n.0.0.1", "127.0.0.1\r\n", "lo\u00adcalhost", "127.0.0.1;.example.com"),
    *("127.0.0.1,example.com", "[127.0.0.1]", "::1", "foo@[::1]", "[::1].example.com"),
    # Internal and cloud addresses.
    *("10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376"),
    *("[::ffff:169.254.169.254]", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "100.64.0.1", "224.0.0.1"),
    *("255.255.255.255", "[fe80::1]", "[fec0::1]", "[fc00::1]", "[ff02::1]"),
]
NAMES = {
    "rebind.test": ["127.0.0.1"],
    "mixed.test": ["93.184.216.34", "127.0.0.1"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "nat64.test": ["64:ff9b::7f00:1"],
    "localtest.test": ["::1", "127.0.0.1"],
    "metadata.test": ["169.254.169.254"],
    "localhost": ["127.0.0.1"],
}


class Trap:
    """Counts connections on a port of IPv4's and, where there is one, IPv6's loopback."""

    def __init__(self) -> None:
        self.caught = 0
        self.redirect_to: str | None = None
        self.port = 0

    async def on_connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.caught += 1
        await reader.readuntil(b"\r\n\r\n")
        head = "200 OK" if self.redirect_to is None else f"302 Found\r\nLocation: {self.redirect_to}"
        writer.write(f"HTTP/1.1 {head}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    trap = Trap()
    server = await asyncio.start_server(trap.on_connect, "127.0.0.1", 0, family=socket.AF_INET)
    trap.port = server.sockets[0].getsockname()[1]
    servers = [server]
    with contextlib.suppress(OSError):  # a machine without IPv6 has no such way in
        servers.append(await asyncio.start_server(trap.on_connect, "::1", trap.port))
    yield trap
    for server in servers:
        server.close()
        await server.wait_closed()


async def resolve(host: str) -> Sequence[str]:
    return NAMES[host]


@pytest.mark.parametrize("host", HOSTILE)
async def test_hostile_hosts_reach_nothing(trap: Trap, host: str) -> None:
    """No spelling, disguise or name of an internal address gets a connection or a retry."""
    separator = "" if host.endswith(("\t", " ", "\n")) else f":{trap.port}"
    async with EgressClient(Guard(resolve=resolve)) as client:
        with pytest.raises(StepFailedError) as caught:
            await client.request("GET", f"http://{host}{separator}/", timeout=5)
    assert caught.value.code in ("egress_refused", "invalid_url")
    assert caught.value.category == "error"
    assert trap.caught == 0


@pytest.mark.parametrize("host", HOSTILE)
async def test_redirects_to_hostile_hosts_reach_nothing(trap: Trap, host: str) -> None:
    """An allowed server can't send the client where it may not go: only its own connection is made."""
    trap.redirect_to = f"http://{host.strip()}:{trap.port + 1}/".replace("\r", "").replace("\n", "")
    async with EgressClient(Guard(parse_allow(f"127.0.0.1:{trap.port}"), resolve=resolve)) as client:
        with pytest.raises(StepFailedError) as caught:
            await client.request("GET", f"http://127.0.0.1:{trap.port}/", timeout=5)
    assert caught.value.code in ("egress_refused", "invalid_url")
    assert trap.caught == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "127。0。0。1", "rebind.test", "localhost"])
async def test_the_trap_catches(trap: Trap, host: str) -> None:
    """With loopback allowed the same URLs do arrive, so the trap is one."""
    async with EgressClient(Guard(parse_allow("127.0.0.0/8"), resolve=resolve)) as client:
        answer = await client.request("GET", f"http://{host}:{trap.port}/", timeout=5)
    assert answer.status == 200
    assert trap.caught == 1


async def test_no_second_lookup_between_check_and_connection(trap: Trap) -> None:
    """A name that answers outside first and inside next is connected to the first answer alone."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    asked = 0

    async def rebinding(_: str) -> Sequence[str]:
        nonlocal asked
        asked += 1
        return answers[min(asked, 2) - 1]

    async with EgressClient(Guard(parse_allow(f"127.0.0.1:{trap.port}"), resolve=rebinding)) as client:
        answer = await client.request("GET", f"http://rebind.test:{trap.port}/", timeout=5)
    assert answer.status == 200
    assert asked == 1
