"""Connections that are not HTTP: a host and port are resolved and checked once, and only what passed is connected to.

Whatever speaks its own protocol (mail, ssh, databases) takes its socket, or the addresses to connect to, from here; a
library that is handed a host name would look it up by itself, past the guard. The name stays with the addresses for
what needs it: the certificate's or the host key's check.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohappyeyeballs import AddrInfoType, start_connection

from shared.egress.guard import Guard
from shared.egress.interface import Pinned
from shared.egress.target import Target, parse_host
from shared.errors import StepFailedError

#: Seconds after which the next address is tried beside one that has not answered (RFC 8305, section 8).
_STAGGER = 0.25
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
#: Characters of another side's text that a message shows.
_SHOWN = 300


async def pin(guard: Guard, host: str, port: int) -> Pinned:
    """Resolve a host and check every address of it.

    Args:
        guard: decides where connections may go.
        host: a name or an address; IPv6 with or without brackets.
        port: 1 to 65535.

    Raises:
        StepFailedError: ``invalid_host``, ``egress_refused``, or ``network_error`` if the name does not resolve.
    """
    target = target_of(host, port)
    return Pinned(target.host, target.port, await guard.admit(target))


async def open_socket(place: Pinned) -> socket.socket:
    """A connected, non-blocking socket to the first address that answers; its caller closes it, and limits the time.

    Raises:
        StepFailedError: ``network_error``.
    """
    try:
        return await start_connection(
            [_numeric(place, address) for address in place.addresses], happy_eyeballs_delay=_STAGGER
        )
    except OSError as error:
        message = f"No connection to {place.host}:{place.port} ({error.strerror or 'unknown reason'})."
        raise StepFailedError("network_error", message, category="network") from None


@asynccontextmanager
async def within(seconds: float, host: str) -> AsyncIterator[None]:
    """Limit a whole exchange.

    Raises:
        StepFailedError: ``timeout`` in place of the `TimeoutError` that comes out of it, its own or a library's.
    """
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        message = f"The call to {host} took longer than its {seconds:g} s."
        raise StepFailedError("timeout", message, category="timeout") from None


def shown(text: str) -> str:
    """What a message shows of the other side's text: one line, and not much of it."""
    return _CONTROL.sub(" ", text)[:_SHOWN].strip()


def check_host(host: str) -> str:
    """The canonical form of a host that a node's author wrote.

    Raises:
        StepFailedError: ``invalid_host``.
    """
    return target_of(host, 1).host


def target_of(host: str, port: int) -> Target:
    """A place that is reached by another protocol than HTTP.

    Raises:
        StepFailedError: ``invalid_host``.
    """
    if not 1 <= port <= 65_535:
        raise StepFailedError("invalid_host", "A port is between 1 and 65535.")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        name, address = parse_host(f"[{bare}]" if ":" in bare else host)
    except StepFailedError as error:
        raise StepFailedError("invalid_host", error.message) from None
    return Target("tcp", name, port, address)


def _numeric(place: Pinned, address: str) -> AddrInfoType:
    if ":" in address:
        return (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, place.port, 0, 0))
    return (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, place.port))
