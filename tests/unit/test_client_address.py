"""Where a request comes from: what strangers write about it is not believed."""

from ipaddress import ip_address, ip_network

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from api.client_address import client_address, lies_in
from shared.config import parse_networks
from shared.errors import ConfigError

PROXIES = parse_networks("10.0.0.0/8, 2001:db8::/32,")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # a stranger says so
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7"], "198.51.100.7"),  # the client's own invention stands first
        ("10.0.0.1", ["203.0.113.9, 198.51.100.7 , 10.2.0.1"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.9", "198.51.100.7", "10.2.0.1"], "198.51.100.7"),
        ("10.0.0.1", ["10.3.0.1, 10.2.0.1"], "10.3.0.1"),
        ("10.0.0.1", ["unknown"], None),
        ("10.0.0.1", ["198.51.100.7, "], None),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("2001:db8::1", ["[2001:500::7]:4711"], "2001:500::7"),
        ("2001:db8::1", ["2001:500::7"], "2001:500::7"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [", ".join(["10.0.0.2"] * 40)], None),
        ("", [], None),
        ("/run/api.sock", ["198.51.100.7"], None),
    ],
)
def test_who_is_believed(peer: str, forwarded: list[str], expected: str | None) -> None:
    """Each entry is, as long as a trusted proxy added it; the first that is no proxy is the client."""
    headers = CIMultiDict([("X-Forwarded-For", line) for line in forwarded])
    request = make_mocked_request("POST", "/", headers=headers).clone(remote=peer)
    address = client_address(request, PROXIES)
    assert address == (None if expected is None else ip_address(expected))


def test_ranges_are_of_one_family() -> None:
    """An IPv4 range holds no IPv6 address, not even 0.0.0.0/0."""
    assert lies_in(ip_address("192.0.2.1"), [ip_network("::/0"), ip_network("192.0.2.0/24")])
    assert not lies_in(ip_address("2001:db8::1"), [ip_network("0.0.0.0/0")])


def test_proxies_that_cannot_be_read_are_all_told() -> None:
    """A range with bits of a host is one of them."""
    with pytest.raises(ConfigError) as caught:
        parse_networks("10.0.0.1/8, here, 192.0.2.1")
    assert len(caught.value.faults) == 2
