"""``ipv4_address``: the facts of an IPv4 address and its network."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any, ClassVar, Final

import msgspec

from shared.errors import StepFailedError
from shared.graph.suggest import shown
from shared.nodes.base import Kind, NodeType, Outcome
from shared.nodes.fields import Text
from shared.templates import is_template

#: Characters of an address with its mask.
_LONGEST: Final = 40


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        input: an address such as ``192.0.2.10``, which stands for a network of its own, or one with a prefix
            (``192.0.2.10/24``) or a mask (``192.0.2.10/255.255.255.0``).
    """

    input: Text[str]


class Ipv4(NodeType[Data]):
    """Tells the facts of an address.

    Output ``{address, cidr, prefix, netmask, wildcard, network, broadcast, first_host, last_host, address_count,
    host_count, class, version, integer, hex, binary, reverse, is_private, is_global, is_loopback, is_link_local,
    is_multicast, is_reserved, is_unspecified, is_network_address, is_broadcast_address}``. A /31 has two hosts and no
    broadcast address (RFC 3021), a /32 has one.
    """

    component_id = "ipv4_address"
    title = "IPv4 address"
    kind = Kind.ACTION
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {"input": "{{ n1.lan }}"}
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"lan": "192.168.10.37/24"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        if is_template(data["input"]):
            return []
        try:
            _interface(data["input"])
        except StepFailedError as error:
            return [("input", error.message.removeprefix("data.input: "))]
        return []

    def run(self, data: Data) -> Outcome:
        """Tell the facts."""
        interface = _interface(data.input)
        return Outcome({**_of_address(interface.ip), **_of_network(interface.network, interface.ip)})


def _interface(text: str) -> IPv4Interface:
    try:
        return IPv4Interface(text.strip() if len(text) <= _LONGEST else "")
    except ValueError as error:
        rule = "legal: an address such as 192.0.2.10, alone or with a prefix of /0 to /32 or a mask"
        raise StepFailedError("invalid_address", f"data.input: {shown(text)} is no IPv4 address; {rule}.") from error


def _of_address(address: IPv4Address) -> dict[str, Any]:
    return {
        "address": str(address),
        "version": 4,
        "class": _class_of(address),
        "integer": int(address),
        "hex": f"0x{int(address):08x}",
        "binary": ".".join(f"{octet:08b}" for octet in address.packed),
        "reverse": address.reverse_pointer,
        "is_private": address.is_private,
        "is_global": address.is_global,
        "is_loopback": address.is_loopback,
        "is_link_local": address.is_link_local,
        "is_multicast": address.is_multicast,
        "is_reserved": address.is_reserved,
        "is_unspecified": address.is_unspecified,
    }


def _class_of(address: IPv4Address) -> str:
    first = address.packed[0]
    return next(name for limit, name in ((128, "A"), (192, "B"), (224, "C"), (240, "D"), (256, "E")) if first < limit)


def _of_network(network: IPv4Network, address: IPv4Address) -> dict[str, Any]:
    pointless = network.prefixlen >= 31  # every address is a host's, and none the network's or the broadcast's
    edge = 0 if pointless else 1
    return {
        "cidr": str(network),
        "prefix": network.prefixlen,
        "netmask": str(network.netmask),
        "wildcard": str(network.hostmask),
        "network": str(network.network_address),
        "broadcast": None if pointless else str(network.broadcast_address),
        "first_host": str(network.network_address + edge),
        "last_host": str(network.broadcast_address - edge),
        "address_count": network.num_addresses,
        "host_count": network.num_addresses - 2 * edge,
        "is_network_address": not pointless and address == network.network_address,
        "is_broadcast_address": not pointless and address == network.broadcast_address,
    }
