"""Hostile URLs against sockets on loopback that stand there to catch them, by TCP and UDP: nothing may arrive."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.errors import StepFailedError
from tests.dns import name_server
from tests.outward import serving
from tests.trap import INTERNAL, Trap, trapping

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
#: `{0}` is the trap's host and port.
SCHEMES = [
    *("file:///etc/passwd", "file://{0}/etc/passwd", "FILE:///etc/passwd", "gopher://{0}/_GET%20/", "dict://{0}/info"),
    *("ftp://{0}/", "sftp://{0}/", "tftp://{0}/x", "ldap://{0}/", "smb://{0}/", "redis://{0}/", "ws://{0}/"),
    *("wss://{0}/", "jar:http://{0}/!/", "netdoc:///etc/passwd", "data:text/plain,x", "javascript:alert(1)"),
    *(
        "unix:/var/run/docker.sock",
        "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
        "view-source:http://{0}/",
        "url:http://{0}/",
    ),
    *(
        "//{0}/",
        "{0}",
        "/etc/passwd",
        "http:{0}/",
        "http:/{0}/",
        "http:///{0}/",
        "http:\\\\{0}/",
        "https://",
        "http://:80/",
    ),
    *("http ://{0}/", "ht\ttp://{0}/", "http\x00://{0}/", ":http://{0}/", "http://{0}\\@example.com/"),
]
#: Ports of what listens inside, and what is no port at all.
PORTS = [
    "22",
    "25",
    "53",
    "2375",
    "5432",
    "6379",
    "9200",
    "11211",
    "00080",
    "0",
    "-1",
    "65536",
    "99999",
    "8e1",
    "０",
    "80:81",
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


@pytest.fixture
async def trap() -> AsyncIterator[Trap]:
    async with trapping("127.0.0.1", "::1") as trap:
        yield trap


async def resolve(host: str) -> Sequence[str]:
    return NAMES[host]


async def refusal(client: EgressClient, url: str) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        await client.request("GET", url, timeout=5)
    await asyncio.sleep(0)  # what was sent would arrive
    return caught.value


@pytest.mark.parametrize("host", HOSTILE)
async def test_hostile_hosts_reach_nothing(trap: Trap, host: str) -> None:
    """No spelling, disguise or name of an internal address gets a connection, a datagram or a retry."""
    separator = "" if host.endswith(("\t", " ", "\n")) else f":{trap.port}"
    async with EgressClient(Guard(resolve=resolve)) as client:
        for scheme in ("http", "https"):
            error = await refusal(client, f"{scheme}://{host}{separator}/")
            assert error.code in ("egress_refused", "invalid_url")
            assert error.category == "error"
    assert trap.caught == []


@pytest.mark.parametrize("host", HOSTILE)
async def test_redirects_to_hostile_hosts_reach_nothing(trap: Trap, host: str) -> None:
    """An allowed server can't send the client where it may not go."""
    place = f"http://{host.strip()}:{trap.port}/".replace("\r", "").replace("\n", "")
    async with _redirecting(place) as (client, url):
        assert (await refusal(client, url)).code in ("egress_refused", "invalid_url")
    assert trap.caught == []


@asynccontextmanager
async def _redirecting(place: str) -> AsyncIterator[tuple[EgressClient, str]]:
    """A client that may call one server, which redirects it."""

    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": place})

    async with (
        serving(redirect) as url,
        EgressClient(Guard(parse_allow(url.removeprefix("http://")), resolve=resolve)) as client,
    ):
        yield client, url


@pytest.mark.parametrize("url", SCHEMES)
async def test_other_schemes_reach_nothing(trap: Trap, url: str) -> None:
    """Only http and https with two slashes and a host are called, first or by a redirect, whatever is allowed."""
    place = url.format(f"127.0.0.1:{trap.port}")
    async with EgressClient(Guard(parse_allow("127.0.0.0/8"), resolve=resolve)) as client:
        assert (await refusal(client, place)).code in ("egress_refused", "invalid_url")
    if place.isprintable():
        async with _redirecting(place) as (client, first):
            error = await refusal(client, first)
            # What has no scheme is a path of the same server, which redirects again.
            assert error.code in ("egress_refused", "invalid_url", "too_many_redirects")
    assert trap.caught == []


@pytest.mark.parametrize("port", PORTS)
async def test_unusual_ports_reach_nothing(trap: Trap, port: str) -> None:
    """A port makes an internal address no less internal, and what is no port makes no URL."""
    async with EgressClient(Guard(resolve=resolve)) as client:
        error = await refusal(client, f"http://127.0.0.1:{port}/")
    assert error.code == (
        "egress_refused" if port.isascii() and port.isdigit() and 0 < int(port) < 65_536 else "invalid_url"
    )
    assert trap.caught == []


@pytest.mark.parametrize("host", HOSTILE)
async def test_a_proxy_hears_nothing_of_them(host: str) -> None:
    """What goes through a proxy is judged before: the proxy could reach what this process may not."""
    async with trapping("127.0.0.1") as proxy:
        proxy.speaks = True
        async with EgressClient(Guard(resolve=resolve), proxy=f"http://127.0.0.1:{proxy.port}") as client:
            separator = "" if host.endswith(("\t", " ", "\n")) else ":81"
            assert (await refusal(client, f"http://{host}{separator}/")).code in ("egress_refused", "invalid_url")
        assert proxy.caught == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0x7f.1", "2130706433", "127。0。0。1", "rebind.test", "localhost"])
async def test_the_trap_catches(trap: Trap, host: str) -> None:
    """With loopback allowed the same URLs do arrive, so the trap is one."""
    trap.speaks = True
    async with EgressClient(Guard(parse_allow("127.0.0.0/8"), resolve=resolve)) as client:
        answer = await client.request("GET", f"http://{host}:{trap.port}/", timeout=5)
    assert answer.status == 200
    assert len(trap.caught) == 1


async def test_the_trap_catches_datagrams(trap: Trap) -> None:
    """Those too."""
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, remote_addr=("127.0.0.1", trap.port)
    )
    transport.sendto(b"hello")
    await asyncio.wait_for(trap.sprung.wait(), 5)
    transport.close()
    assert trap.caught[0].startswith("udp b'hello'")


@pytest.mark.parametrize("inside", [["127.0.0.2"], ["{public}", "127.0.0.2"], ["::ffff:127.0.0.2"], ["::1"]])
async def test_names_that_change(inside: list[str]) -> None:
    """A name server that answers outside and inside by turns: each call goes where its own check looked, or nowhere.

    127.0.0.1 stands for an address outside, 127.0.0.2 for one inside that has the same port.
    """
    now = 0.0

    async def fine(_: web.Request) -> web.Response:
        return web.Response(text="outside")

    async with serving(fine) as url, name_server({}) as dns:
        port = int(url.rpartition(":")[2])
        turns = [["127.0.0.1"], [each.format(public="127.0.0.1") for each in inside]]
        dns.answers = {"turning.test": turns * 20}
        guard = Guard(parse_allow("127.0.0.1"), resolve=dns.resolve, clock=lambda: now)
        ends: list[str] = []
        async with _trapped(port) as trap, EgressClient(guard) as client:
            for _ in range(20):
                try:
                    answer = await client.request("GET", f"http://turning.test:{port}/", timeout=5)
                    ends.append(answer.body.decode())
                except StepFailedError as error:
                    ends.append(error.code)
                now += 2.0  # some within the time for which an answer is kept, some behind it
            assert trap.caught == []
    assert dns.asked["turning.test"] > 5
    assert {*ends} == {"outside", "egress_refused"}


@asynccontextmanager
async def _trapped(port: int) -> AsyncIterator[Trap]:
    """A trap on this port of an internal address."""
    trap = Trap()
    servers = [await asyncio.start_server(trap.connected, address, port) for address in (INTERNAL, "::1")]
    try:
        yield trap
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


async def test_a_redirect_to_a_name_that_changes() -> None:
    """A server that redirects to its own name, which meanwhile leads inside, gets a refusal as well."""
    now = 0.0

    async def redirect(request: web.Request) -> web.Response:
        nonlocal now
        now += 60.0
        return web.Response(status=302, headers={"Location": f"http://turning.test:{request.url.port}/next"})

    async with serving(redirect) as url, name_server({"turning.test": [["127.0.0.1"], [INTERNAL]]}) as dns:
        port = int(url.rpartition(":")[2])
        guard = Guard(parse_allow("127.0.0.1"), resolve=dns.resolve, clock=lambda: now)
        async with _trapped(port) as trap, EgressClient(guard) as client:
            assert (await refusal(client, f"http://turning.test:{port}/")).code == "egress_refused"
            assert trap.caught == []


async def test_no_second_lookup_between_check_and_connection() -> None:
    """One question is asked for one call, so there is no second answer to connect to."""

    async def fine(_: web.Request) -> web.Response:
        return web.Response()

    async with serving(fine) as url, name_server({"rebind.test": [["127.0.0.1"], [INTERNAL]]}) as dns:
        port = int(url.rpartition(":")[2])
        async with EgressClient(Guard(parse_allow("127.0.0.1"), resolve=dns.resolve)) as client:
            assert (await client.request("GET", f"http://rebind.test:{port}/", timeout=5)).status == 200
    assert dns.asked == {"rebind.test": 1}
