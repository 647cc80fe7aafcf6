"""What nodes see of the outbound client; `shared.egress.client` implements it."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol

import msgspec


class EgressResponse(msgspec.Struct, frozen=True):
    """An answer from outside.

    Attributes:
        headers: in the order received, names as sent.
        url: of the last hop.
        duration_ms: from the first connection to the last byte.
    """

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    url: str
    duration_ms: int


class Pinned(NamedTuple):
    """A place outside that passed the guard, for what is not HTTP; `shared.egress.pinned` connects to it.

    Attributes:
        host: canonical, for names in TLS and in messages; an IPv6 address without brackets.
        port: 1 to 65535.
        addresses: those that may be connected to, in order of preference; never empty.
    """

    host: str
    port: int
    addresses: tuple[str, ...]


class Egress(Protocol):
    """The one client for everything that leaves."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 — the client is where it turns into `asyncio.timeout`
        follow_redirects: bool = True,
        verify_tls: bool = True,
        max_bytes: int = 10 * 1024 * 1024,
    ) -> EgressResponse:
        """Send one request.

        Args:
            method: any but CONNECT and TRACE.
            url: http or https; no user information.
            headers: sent in this order as UTF-8; those that frame the message are the client's own.
            body: sent as given; its length and, if ``headers`` has none, a binary content type are added.
            timeout: seconds for the whole exchange, redirects included.
            follow_redirects: up to 10, each checked like the first; other origins see none but harmless headers, and a
                redirect that would carry a body there fails the call.
            verify_tls: False accepts any certificate.
            max_bytes: of the decoded answer.

        Raises:
            StepFailedError: ``egress_refused`` (category ``error``) when the target is not allowed, ``invalid_url``,
                ``invalid_header``, ``too_many_redirects``, ``timeout`` (category ``timeout``), ``network_error``
                (category ``network``), ``circuit_open`` (likewise, with ``retry_in``), ``response_too_large``.
        """
        ...

    def visit(
        self,
        host: str,
        port: int,
        *,
        timeout: float,
    ) -> AbstractAsyncContextManager[Pinned]:
        """Resolve and check a place that is reached by another protocol than HTTP, for a whole conversation with it.

        That counts for the limit and the breaker of its host; see `shared.egress.pinned`.

        What comes out of it with the category ``network`` or ``timeout`` is a failure of the host.

        Args:
            host: a name or an address.
            port: 1 to 65535.
            timeout: seconds that the caller gives the conversation, and ends it after.

        Raises:
            StepFailedError: ``invalid_host``, ``egress_refused``, ``network_error`` if the name does not resolve, or
                ``circuit_open``.
        """
        ...
