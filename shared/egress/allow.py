"""The operator's list of internal targets that outbound calls may reach (``EDGEWISE_EGRESS_ALLOW``)."""

import re
from ipaddress import ip_network

import msgspec

from shared.egress.addresses import Address, Network, embedded, forbidden_as
from shared.egress.target import parse_host
from shared.errors import ConfigError, Fault, StepFailedError

_NAME = "EDGEWISE_EGRESS_ALLOW"
_FORMS = "legal are a CIDR (10.1.0.0/16), an address, a host, or one of the last two with a port ([::1]:8080)"
_ENTRY = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]+)(?::([0-9]{1,5}))?")


class AllowList(msgspec.Struct, frozen=True):
    """What is allowed although it is internal. A port of None stands for every port.

    Attributes:
        networks: by address, whatever the host was called.
        hosts: by name, whatever it resolves to.
    """

    networks: tuple[tuple[Network, int | None], ...] = ()
    hosts: frozenset[tuple[str, int | None]] = frozenset()

    def has_host(self, host: str, port: int) -> bool:
        """Whether a canonical name is listed."""
        return (host, None) in self.hosts or (host, port) in self.hosts

    def has_address(self, address: Address, port: int) -> bool:
        """Whether a range or address is listed that holds this one."""
        return any(
            address.version == network.version and address in network and listed in (None, port)
            for network, listed in self.networks
        )

    def broken_rule(self, address: Address, port: int) -> str | None:
        """Why an address may not be reached, or None if it may.

        An IPv6 range that carries IPv4 addresses is opened by listing it, and what it carries is judged as well: to
        list NAT64's prefix gives access to the public IPv4 internet, and to no private address behind it.
        """
        rule = forbidden_as(address)
        if rule is None:
            return None
        inner_rules = [inner for carried in embedded(address) if (inner := self.broken_rule(carried, port))]
        if inner_rules:
            return f"{rule} address of a {inner_rules[0]}"
        return None if self.has_address(address, port) else rule


def parse_allow(text: str) -> AllowList:
    """Read a comma-separated list; blanks around entries and empty entries are dropped.

    Raises:
        ConfigError: ``invalid_config``, with a fault for every entry that is none of the legal forms.
    """
    networks: list[tuple[Network, int | None]] = []
    hosts: set[tuple[str, int | None]] = set()
    faults: list[Fault] = []
    for entry in filter(None, map(str.strip, text.split(","))):
        try:
            _read_entry(entry, networks, hosts)
        except ValueError as error:
            faults.append(Fault(_NAME, "invalid_entry", f"{entry[:100]!r} in {_NAME} {error}; {_FORMS}."))
    if faults:
        raise ConfigError("invalid_config", f"{_NAME} has {len(faults)} unusable entries.", faults=faults)
    return AllowList(tuple(networks), frozenset(hosts))


def _read_entry(entry: str, networks: list[tuple[Network, int | None]], hosts: set[tuple[str, int | None]]) -> None:
    if "/" in entry or (entry.count(":") > 1 and not entry.startswith("[")):
        networks.append((ip_network(entry), None))
        return
    match = _ENTRY.fullmatch(entry)
    if match is None:
        raise ValueError("is not readable")
    port = _port(match[2])
    try:
        host, address = parse_host(match[1])
    except StepFailedError:
        raise ValueError("has no legal host") from None
    if address is None:
        hosts.add((host, port))
    else:
        networks.append((ip_network(address), port))


def _port(digits: str | None) -> int | None:
    if digits is None:
        return None
    if not 1 <= int(digits) <= 65_535:
        raise ValueError("has a port that is not between 1 and 65535")
    return int(digits)
