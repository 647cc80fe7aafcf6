"""``ipv4_address``: facts of addresses and networks."""

from typing import Any

import pytest

from shared.errors import StepFailedError
from shared.nodes.registry import default_registry
from tests.compiling import compile_node


def facts(text: str) -> dict[str, Any]:
    """What the node tells."""
    return compile_node("n2", "ipv4_address", {"input": text}).run({}).output


def test_facts_of_an_address_in_its_network() -> None:
    """Everything that follows from an address and its prefix."""
    assert facts("192.168.10.37/24") == {
        "address": "192.168.10.37",
        "version": 4,
        "class": "C",
        "integer": 3232238117,
        "hex": "0xc0a80a25",
        "binary": "11000000.10101000.00001010.00100101",
        "reverse": "37.10.168.192.in-addr.arpa",
        "is_private": True,
        "is_global": False,
        "is_loopback": False,
        "is_link_local": False,
        "is_multicast": False,
        "is_reserved": False,
        "is_unspecified": False,
        "cidr": "192.168.10.0/24",
        "prefix": 24,
        "netmask": "255.255.255.0",
        "wildcard": "0.0.0.255",
        "network": "192.168.10.0",
        "broadcast": "192.168.10.255",
        "first_host": "192.168.10.1",
        "last_host": "192.168.10.254",
        "address_count": 256,
        "host_count": 254,
        "is_network_address": False,
        "is_broadcast_address": False,
    }


@pytest.mark.parametrize(
    ("text", "cidr", "hosts", "first", "last", "broadcast"),
    [
        ("10.1.2.3/255.255.252.0", "10.1.0.0/22", 1022, "10.1.0.1", "10.1.3.254", "10.1.3.255"),
        ("8.8.8.8", "8.8.8.8/32", 1, "8.8.8.8", "8.8.8.8", None),
        ("10.0.0.1/31", "10.0.0.0/31", 2, "10.0.0.0", "10.0.0.1", None),
        ("10.0.0.1/30", "10.0.0.0/30", 2, "10.0.0.1", "10.0.0.2", "10.0.0.3"),
        ("1.2.3.4/0", "0.0.0.0/0", 4294967294, "0.0.0.1", "255.255.255.254", "255.255.255.255"),
        (" 10.0.0.1/8 ", "10.0.0.0/8", 16777214, "10.0.0.1", "10.255.255.254", "10.255.255.255"),
    ],
)
def test_hosts_of_networks(text: str, cidr: str, hosts: int, first: str, last: str, broadcast: str | None) -> None:
    """A prefix or a mask says the network; a /31 has two hosts and a /32 one, without a broadcast address."""
    found = facts(text)
    told = [found[name] for name in ("cidr", "host_count", "first_host", "last_host", "broadcast")]
    assert told == [cidr, hosts, first, last, broadcast]


@pytest.mark.parametrize(
    ("text", "true"),
    [
        ("127.0.0.1", {"is_loopback", "is_private"}),
        ("169.254.1.1", {"is_link_local", "is_private"}),
        ("224.0.0.1", {"is_multicast", "is_global"}),
        ("250.0.0.1", {"is_reserved", "is_private"}),
        ("0.0.0.0", {"is_unspecified", "is_private"}),
        ("8.8.8.8", {"is_global"}),
        ("100.64.0.1", set()),
        ("192.0.2.0/24", {"is_private", "is_network_address"}),
        ("8.8.8.255/24", {"is_global", "is_broadcast_address"}),
    ],
)
def test_what_an_address_is_for(text: str, true: set[str]) -> None:
    """The ranges of IANA's registries."""
    assert {name for name, value in facts(text).items() if value is True} == true


@pytest.mark.parametrize(("first", "letter"), [(1, "A"), (127, "A"), (128, "B"), (192, "C"), (224, "D"), (255, "E")])
def test_classes(first: int, letter: str) -> None:
    """The class follows from the first octet."""
    assert facts(f"{first}.1.1.1")["class"] == letter


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1.2.3",
        "1.2.3.4.5",
        "1.2.3.256",
        "01.2.3.4",
        "1.2.3.4/33",
        "::1",
        "1.2.3.4/",
        "1.2.3.4" + " " * 40 + "x",
    ],
)
def test_what_is_no_address(text: str) -> None:
    """It is refused when it is saved, and fails the step if a template gave it, with what would be one."""
    (fault,) = default_registry().check("ipv4_address", {"input": text}, "d")[0]
    assert fault.path == "d.input"
    assert "is no IPv4 address; legal: " in fault.message
    node = compile_node("n2", "ipv4_address", {"input": "{{ n1.x }}"})
    with pytest.raises(StepFailedError, match=r"data\.input: .*is no IPv4 address") as caught:
        node.run({"n1": {"x": text}})
    assert caught.value.code == "invalid_address"
