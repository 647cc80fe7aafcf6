"""Places that are no URLs: resolved once, checked, and connected to without a second lookup."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient
from shared.egress.guard import Guard
from shared.egress.interface import Pinned
from shared.egress.pinned import check_host, open_socket, pin
from shared.errors import StepFailedError


class Dns:
    """Answers with public addresses first and loopback ever after, as a rebinding server does."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def refusal(guard: Guard, host: str, port: int = 25) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        await pin(guard, host, port)
    return caught.value


async def test_a_name_is_resolved_once() -> None:
    """The addresses are those of the one lookup, and the name stays for the certificate."""
    dns = Dns(["93.184.216.34", "2606:4700::1111"], ["127.0.0.1"])
    place = await pin(Guard(resolve=dns), "Mail.Example.test.", 587)
    assert place == Pinned("mail.example.test", 587, ("93.184.216.34", "2606:4700::1111"))
    assert dns.asked == ["mail.example.test"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "::1", "[::1]", "::ffff:10.0.0.1", "169.254.169.254", "inside.test"]
)
async def test_the_inside_is_refused(host: str) -> None:
    """Forbidden ranges are refused in every spelling, by address and by name."""
    assert (await refusal(Guard(resolve=Dns(["93.184.216.34", "10.0.0.1"])), host)).code == "egress_refused"


async def test_the_allow_list_goes_by_port() -> None:
    """What the operator lists with a port is open on that port alone."""
    guard = Guard(parse_allow("127.0.0.1:2525"), resolve=Dns([]))
    assert (await pin(guard, "127.0.0.1", 2525)).addresses == ("127.0.0.1",)
    assert (await refusal(guard, "127.0.0.1", 2526)).code == "egress_refused"


@pytest.mark.parametrize(
    "host", ["", "a b", "a\r\nb", "a\x00", "user@a.test", "a/b", "a.test:25", "[::1", "fe80::1%lo"]
)
async def test_what_is_no_host_is_refused(host: str) -> None:
    """A host is a name or an address, and nothing is looked up for anything else."""
    dns = Dns(["93.184.216.34"])
    assert (await refusal(Guard(resolve=dns), host)).code == "invalid_host"
    with pytest.raises(StepFailedError):
        check_host(host)
    assert dns.asked == []


@pytest.mark.parametrize("port", [0, -1, 65_536])
async def test_what_is_no_port_is_refused(port: int) -> None:
    """A port is between 1 and 65535."""
    assert (await refusal(Guard(resolve=Dns(["93.184.216.34"])), "a.test", port)).code == "invalid_host"


async def test_a_name_that_does_not_resolve_is_a_network_fault() -> None:
    """Which a retry may mend."""
    error = await refusal(Guard(resolve=Dns([])), "gone.test")
    assert (error.code, error.category) == ("network_error", "network")


async def test_the_socket_leads_to_the_pinned_address() -> None:
    """An address that does not answer is passed over, and the name is never looked up again."""
    dns = Dns(["127.0.0.2", "127.0.0.1"], ["127.0.0.3"])
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with (
        EgressClient(Guard(parse_allow("127.0.0.0/8"), resolve=dns)) as egress,
        egress.visit("a.test", port, timeout=5) as place,
    ):
        connected = await open_socket(place)
    assert connected.getpeername() == ("127.0.0.1", port)
    assert not connected.getblocking()
    assert dns.asked == ["a.test"]
    connected.close()
    server.close()
    await server.wait_closed()


async def test_no_connection_is_a_network_fault() -> None:
    """A closed port is told by name and port."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(StepFailedError) as caught:
        await open_socket(Pinned("a.test", port, ("127.0.0.1",)))
    assert (caught.value.code, caught.value.category) == ("network_error", "network")
    assert caught.value.message.startswith(f"No connection to a.test:{port} (")
