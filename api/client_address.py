"""Where a request really comes from, behind proxies that are trusted; and ranges of addresses."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeAlias

from aiohttp import web

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

_FORWARDED: Final = "X-Forwarded-For"
#: Hops that are followed; who stands behind more of them is not known.
_MOST_HOPS: Final = 32


def client_address(request: web.Request, trusted: Sequence[Network]) -> Address | None:
    """The address of the client; None if it can't be told.

    ``X-Forwarded-For`` is what anybody may write, so only what trusted proxies wrote counts: it is read from its end,
    each entry believed as long as the one who added it is trusted.

    Args:
        request: any.
        trusted: the operator's proxies; empty if requests come straight from their clients.
    """
    peer = _parsed(request.remote or "")
    if peer is None or not lies_in(peer, trusted):
        return peer
    hops = [hop.strip() for line in request.headers.getall(_FORWARDED, ()) for hop in line.split(",")]
    address: Address | None = peer
    for hop in list(reversed(hops))[:_MOST_HOPS]:
        address = _parsed(hop)
        if address is None or not lies_in(address, trusted):
            return address
    return address if len(hops) <= _MOST_HOPS else None


def lies_in(address: Address, networks: Iterable[Network]) -> bool:
    """Whether one of the ranges holds an address."""
    return any(address.version == network.version and address in network for network in networks)


def _parsed(text: str) -> Address | None:
    """An address, with or without a port; IPv4 that came over IPv6 is IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
