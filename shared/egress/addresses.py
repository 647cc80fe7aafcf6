"""Which addresses are nobody's business: the ranges that outbound calls may not reach, each with its name.

Sources: the IANA IPv4 and IPv6 special-purpose address registries, RFC 6890, RFC 6052 and RFC 8215 (NAT64), RFC 4380
(Teredo), RFC 3056 (6to4), and the clouds' documents for their metadata addresses.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# The first that holds an address names it, so narrow ranges stand before the wide ones around them.
_V4 = tuple(
    (IPv4Network(network), rule)
    for network, rule in (
        ("169.254.169.254/32", "cloud metadata"),  # AWS, Azure, Google, DigitalOcean, Hetzner, OpenStack
        ("169.254.170.2/32", "cloud metadata"),  # AWS containers
        ("168.63.129.16/32", "cloud metadata"),  # Azure's host agent, on what looks like a public address
        ("100.100.100.200/32", "cloud metadata"),  # Alibaba
        ("192.0.0.192/32", "cloud metadata"),  # Oracle
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "reserved"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "carrier-grade NAT"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "reserved"),  # the relays of 6to4
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmark"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
_TEREDO = IPv6Network("2001::/32")
_SIX_TO_FOUR = IPv6Network("2002::/16")
_V4_AT_THE_END = tuple(map(IPv6Network, ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_V6 = tuple(
    (IPv6Network(network), rule)
    for network, rule in (
        ("fd00:ec2::254/128", "cloud metadata"),  # AWS
        ("fd20:ce::254/128", "cloud metadata"),  # Google
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::/96", "IPv4-compatible"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::ffff:0:0:0/96", "IPv4-translated"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("2001::/32", "Teredo"),
        ("2001:2::/48", "benchmark"),
        ("2001:db8::/32", "documentation"),
        ("2001::/23", "reserved"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")


def forbidden_as(address: Address) -> str | None:
    """The name of the forbidden range that holds an address, or None for a public one."""
    if isinstance(address, IPv4Address):
        return next((rule for network, rule in _V4 if address in network), None)
    rule = next((rule for network, rule in _V6 if address in network), None)
    if rule is None and address not in _GLOBAL_UNICAST:
        return "reserved"
    return rule


def embedded(address: Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to an IPv6 address may end up at; empty if it carries none."""
    if isinstance(address, IPv4Address) or address in (IPv6Address("::"), IPv6Address("::1")):
        return ()
    return tuple(_embedded(address))


def _embedded(address: IPv6Address) -> Iterator[IPv4Address]:
    raw = address.packed
    if any(address in network for network in _V4_AT_THE_END):
        yield IPv4Address(raw[12:])
    elif address in _SIX_TO_FOUR:
        yield IPv4Address(raw[2:6])
    elif address in _TEREDO:
        yield IPv4Address(raw[4:8])
        yield IPv4Address(bytes(byte ^ 0xFF for byte in raw[12:]))
    elif address in _NAT64_LOCAL:
        # A translator may use all 48 bits as its prefix (RFC 6052 then splits the address around byte 8) or a /96
        # within: what is zero is no address, all else counts.
        candidates = (raw[6:8] + raw[9:11], raw[12:])
        yield from (IPv4Address(candidate) for candidate in candidates if any(candidate))
