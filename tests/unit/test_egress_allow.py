"""Which addresses are forbidden, and what the allow-list opens."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.egress.addresses import embedded, forbidden_as
from shared.egress.allow import AllowList, parse_allow
from shared.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("0.0.0.0", "unspecified"),
        ("0.1.2.3", "reserved"),
        ("10.255.255.255", "private"),
        ("100.64.0.1", "carrier-grade NAT"),
        ("100.127.255.255", "carrier-grade NAT"),
        ("100.100.100.200", "cloud metadata"),
        ("127.255.255.254", "loopback"),
        ("168.63.129.16", "cloud metadata"),
        ("169.254.0.1", "link-local"),
        ("169.254.169.254", "cloud metadata"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.0.0.192", "cloud metadata"),
        ("192.0.2.1", "documentation"),
        ("192.88.99.1", "reserved"),
        ("192.168.1.1", "private"),
        ("198.19.255.255", "benchmark"),
        ("198.51.100.1", "documentation"),
        ("203.0.113.255", "documentation"),
        ("224.0.0.1", "multicast"),
        ("239.255.255.255", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "broadcast"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("::127.0.0.1", "IPv4-compatible"),
        ("::ffff:8.8.8.8", "IPv4-mapped"),
        ("::ffff:0:127.0.0.1", "IPv4-translated"),
        ("64:ff9b::8.8.8.8", "NAT64"),
        ("64:ff9b:1::1", "NAT64"),
        ("100::1", "reserved"),
        ("2001::1", "Teredo"),
        ("2001:2::1", "benchmark"),
        ("2001:20::1", "reserved"),
        ("2001:db8::1", "documentation"),
        ("2002:7f00:1::", "6to4"),
        ("3fff::1", "documentation"),
        ("4000::1", "reserved"),
        ("5f00::1", "reserved"),
        ("fc00::1", "unique local"),
        ("fd00:ec2::254", "cloud metadata"),
        ("fe80::1", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::1", "multicast"),
        *((public, None) for public in ("1.1.1.1", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1")),
        *((public, None) for public in ("172.15.255.255", "172.32.0.1", "193.0.0.1", "223.255.255.255")),
        *((public, None) for public in ("2606:4700::1111", "2001:4860:4860::8888", "2a00:1450::1")),
    ],
)
def test_ranges(text: str, rule: str | None) -> None:
    """Every special range is named at its edges, and its public neighbours are free."""
    assert forbidden_as(ip_address(text)) == rule


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
def test_nothing_private_to_the_standard_library_is_public_here(address: IPv4Address | IPv6Address) -> None:
    """The ranges cover at least what Python's registry calls not global, over addresses drawn from special ranges."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        # Python 3.11 also counts 192.0.0.0/29's neighbours and IPv6's unassigned space; all are refused here too.
        assert forbidden_as(address) is not None


@pytest.mark.parametrize(
    ("text", "carried"),
    [
        ("::127.0.0.1", ["127.0.0.1"]),
        ("::ffff:127.0.0.1", ["127.0.0.1"]),
        ("::ffff:0:10.0.0.1", ["10.0.0.1"]),
        ("64:ff9b::10.0.0.1", ["10.0.0.1"]),
        ("2002:c0a8:0101::", ["192.168.1.1"]),
        ("2001:0:c000:201:0:0:80ff:fffe", ["192.0.2.1", "127.0.0.1"]),
        ("64:ff9b:1:7f00:0:100::", ["127.0.0.1"]),
        ("64:ff9b:1::10.0.0.1", ["10.0.0.1"]),
        ("::1", []),
        ("2606:4700::1111", []),
        ("127.0.0.1", []),
    ],
)
def test_embedded_addresses(text: str, carried: list[str]) -> None:
    """Every way to carry IPv4 in IPv6 is read, Teredo's server and inverted client both."""
    assert [str(address) for address in embedded(ip_address(text))] == carried


def test_an_open_range_does_not_open_what_it_carries() -> None:
    """NAT64's prefix on the list gives the public internet and no private address behind it."""
    allow = parse_allow("64:ff9b::/96")
    assert allow.broken_rule(ip_address("64:ff9b::8.8.8.8"), 80) is None
    assert allow.broken_rule(ip_address("64:ff9b::127.0.0.1"), 80) == "NAT64 address of a loopback"
    both = parse_allow("64:ff9b::/96,127.0.0.0/8")
    assert both.broken_rule(ip_address("64:ff9b::127.0.0.1"), 80) is None


def test_listing_ipv4_does_not_open_its_ipv6_disguises() -> None:
    """127.0.0.1 on the list does not allow it mapped, translated or tunnelled."""
    allow = parse_allow("127.0.0.1")
    assert allow.broken_rule(ip_address("127.0.0.1"), 80) is None
    for text in ("::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::"):
        assert allow.broken_rule(ip_address(text), 80) is not None


@pytest.mark.parametrize(
    ("entry", "address", "port", "open_"),
    [
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "192.168.0.1", 80, False),
        ("10.0.0.1", "10.0.0.1", 443, True),
        ("10.0.0.1", "10.0.0.2", 443, False),
        ("10.0.0.1:8080", "10.0.0.1", 8080, True),
        ("10.0.0.1:8080", "10.0.0.1", 80, False),
        ("fd00::/8", "fd12::1", 80, True),
        ("::1", "::1", 80, True),
        ("[::1]", "::1", 80, True),
        ("[::1]:9000", "::1", 9000, True),
        ("[::1]:9000", "::1", 80, False),
        ("169.254.0.0/16", "169.254.169.254", 80, True),
        ("0x7f.1:80", "127.0.0.1", 80, True),
    ],
)
def test_address_entries(entry: str, address: str, port: int, *, open_: bool) -> None:
    """Each legal form of an address opens that and no more."""
    assert (parse_allow(f" , {entry} ,").broken_rule(ip_address(address), port) is None) is open_


def test_host_entries() -> None:
    """Hosts are listed by name, in any case, with a trailing dot or in Unicode, for one port or all."""
    allow = parse_allow("Internal.Example., db:5432, bücher.test")
    assert allow.has_host("internal.example", 1)
    assert allow.has_host("db", 5432)
    assert allow.has_host("xn--bcher-kva.test", 80)
    assert not allow.has_host("db", 80)
    assert not allow.has_host("sub.internal.example", 80)


def test_empty_allows_nothing() -> None:
    """The default list opens no address."""
    assert parse_allow("") == AllowList()
    assert AllowList().broken_rule(ip_address("127.0.0.1"), 80) == "loopback"


def test_every_fault_is_listed() -> None:
    """One error names each entry that is no legal form, with the legal ones beside it."""
    bad = [
        "10.0.0.1/8",
        "10.0.0.0/33",
        "a b",
        "host:0",
        "host:70000",
        "host:x",
        "http://x/",
        "[::1",
        ":80",
        "300.1.1.1",
    ]
    with pytest.raises(ConfigError) as caught:
        parse_allow(",".join(["10.0.0.0/8", *bad]))
    assert len(caught.value.faults) == len(bad)
    for entry, fault in zip(bad, caught.value.faults, strict=True):
        assert repr(entry) in fault.message
        assert "a CIDR" in fault.message
