"""The guard: turns a target into the addresses that may be connected to, or refuses it.

A name is resolved once, every address of the answer is checked, and the caller connects to exactly these addresses,
so no second answer can come between check and connection. One forbidden address refuses the whole answer: a name
that points both outside and inside is an attack or a mistake.
"""

import asyncio
import math
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import ip_address

import msgspec

from shared.egress.addresses import Address
from shared.egress.allow import AllowList
from shared.egress.target import Target
from shared.errors import StepFailedError

Resolve = Callable[[str], Awaitable[Sequence[str]]]

TTL = 5.0
_MAX_ENTRIES = 4096


class _Admitted(msgspec.Struct, frozen=True):
    """Addresses that passed, and until when (monotonic seconds) they may be used without asking again."""

    addresses: tuple[str, ...]
    until: float


async def system_resolve(host: str) -> Sequence[str]:
    """Every address of a name according to this machine, IPv4 and IPv6, in its order of preference.

    Raises:
        OSError: if there is none.
    """
    found = await asyncio.get_running_loop().getaddrinfo(
        host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Guard:
    """Checks targets against the forbidden ranges and the operator's allow-list.

    Args:
        allow: what is allowed although it is internal.
        resolve: all addresses of a name.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        allow: AllowList | None = None,
        *,
        resolve: Resolve = system_resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allow = allow or AllowList()
        self._resolve = resolve
        self._clock = clock
        self._admitted: dict[tuple[str, int], _Admitted] = {}
        self._lookups: dict[str, asyncio.Task[Sequence[str]]] = {}

    async def admit(self, target: Target) -> tuple[str, ...]:
        """The checked addresses of a target; a name's are kept for `TTL` seconds, an address's verdict for good.

        Raises:
            StepFailedError: ``egress_refused``, or ``network_error`` if the name does not resolve.
        """
        key = (target.host, target.port)
        kept = self._admitted.get(key)
        if kept is not None and kept.until > self._clock():
            return kept.addresses
        if target.address is not None:
            fresh = _Admitted(self._checked(target, [target.address]), math.inf)
        else:
            addresses = [ip_address(text) for text in await self._look_up(target.host)]
            fresh = _Admitted(self._checked(target, addresses), self._clock() + TTL)
        self._keep(key, fresh)
        return fresh.addresses

    def _keep(self, key: tuple[str, int], fresh: _Admitted) -> None:
        self._admitted.pop(key, None)
        if len(self._admitted) >= _MAX_ENTRIES:
            del self._admitted[next(iter(self._admitted))]
        self._admitted[key] = fresh

    def _checked(self, target: Target, addresses: Sequence[Address]) -> tuple[str, ...]:
        if not self._allow.has_host(target.host, target.port):
            for address in addresses:
                rule = self._allow.broken_rule(address, target.port)
                if rule is not None:
                    raise _refused(target, rule)
        return tuple(map(str, addresses))

    async def _look_up(self, host: str) -> Sequence[str]:
        """Resolve a name; callers that want the same one at the same time share one lookup."""
        lookup = self._lookups.get(host)
        if lookup is None:
            lookup = asyncio.ensure_future(self._resolve(host))
            self._lookups[host] = lookup
            lookup.add_done_callback(lambda done: self._looked_up(host, done))
        try:
            # One impatient caller must not cancel the lookup of the others.
            found = await asyncio.shield(lookup)
        except (OSError, UnicodeError):
            found = ()
        if not found:
            raise StepFailedError("network_error", f"The host {host} could not be resolved.", category="network")
        return found

    def _looked_up(self, host: str, lookup: asyncio.Task[Sequence[str]]) -> None:
        self._lookups.pop(host, None)
        if not lookup.cancelled():
            lookup.exception()  # seen, so that a failure that every caller gave up waiting for is not reported


def _refused(target: Target, rule: str) -> StepFailedError:
    how = "is" if target.address is not None else "resolves to"
    article = "an" if rule[0] in "aeiou" else "a"
    return StepFailedError(
        "egress_refused",
        f"{target.host} {how} {article} {rule} address, and outbound calls may not go there; "
        f"an operator can allow it with EDGEWISE_EGRESS_ALLOW.",
    )
