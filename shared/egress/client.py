"""The one client for everything that leaves: a pool of connections to checked addresses.

A hop is parsed, admitted by the guard and sent; the connection is made to the addresses that were admitted, without a
second lookup, while TLS and the Host header keep the name. A pooled connection leads to an address that was checked
when it was made, for the same scheme, host and port, under an allow-list that does not change while the process lives;
the host's current addresses are checked again before it is reused.
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Self

import aiohttp

from shared.egress.answer import Answer, Sender, network_error, read_body
from shared.egress.direct import Direct
from shared.egress.fields import decoded, text_of
from shared.egress.guard import Guard
from shared.egress.hop import MAX_REDIRECTS, Hop, first_hop, next_hop
from shared.egress.interface import EgressResponse, Pinned
from shared.egress.pinned import pin
from shared.egress.proxied import Proxied
from shared.errors import StepFailedError
from shared.timeouts import Timeouts

Outcome = Literal["ok", "refused", "timeout", "network", "too_large"]

_OUTCOMES: dict[str, Outcome] = {
    "timeout": "timeout",
    "network_error": "network",
    "response_too_large": "too_large",
}


class _Terms(NamedTuple):
    """What the caller wants of every hop; see `shared.egress.interface`."""

    follow_redirects: bool
    verify_tls: bool
    max_bytes: int


class EgressClient:
    """Implements `shared.egress.interface.Egress`. Belongs to the event loop that first uses it.

    Args:
        guard: decides where requests may go.
        limit: connections at the same time; further requests wait within their timeout.
        keep_alive: seconds an idle connection is kept.
        proxy: URL of an HTTP proxy for everything. Targets are still checked here, by name and address, but the proxy
            looks the name up once more, so it should refuse internal addresses itself.
        on_result: told how each request ended, for a metric.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        limit: int = 256,
        keep_alive: float = 15.0,
        proxy: str | None = None,
        on_result: Callable[[Outcome], None] | None = None,
    ) -> None:
        self._guard = guard
        self._limit = limit
        self._keep_alive = keep_alive
        self._proxy = proxy
        self._on_result = on_result or (lambda _: None)
        self._timeouts = Timeouts()
        self._sender: Sender | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pool; requests in flight fail with ``network_error``."""
        if self._sender is not None:
            await self._sender.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 — the interface's; it is kept below
        follow_redirects: bool = True,
        verify_tls: bool = True,
        max_bytes: int = 10 * 1024 * 1024,
    ) -> EgressResponse:
        """See `shared.egress.interface.Egress.request`."""
        try:
            hop = first_hop(method, url, headers, body)
            answer = await self._within(timeout, hop, _Terms(follow_redirects, verify_tls, max_bytes))
        except StepFailedError as error:
            self._on_result(_OUTCOMES.get(error.code, "refused"))
            raise
        self._on_result("ok")
        return answer

    async def pin(self, host: str, port: int) -> Pinned:
        """See `shared.egress.interface.Egress.pin`."""
        return await pin(self._guard, host, port)

    async def _within(self, seconds: float, hop: Hop, terms: _Terms) -> EgressResponse:
        try:
            with self._timeouts.within(seconds):
                return await self._exchange(hop, terms)
        except TimeoutError:
            message = f"The call to {hop.target.host} took longer than its {seconds:g} s."
            raise StepFailedError("timeout", message, category="timeout") from None

    async def _exchange(self, hop: Hop, terms: _Terms) -> EgressResponse:
        """Send hop after hop until an answer is no redirect."""
        started = time.perf_counter()
        for _ in range(MAX_REDIRECTS + 1):
            result = await self._one_hop(hop, terms, started)
            if isinstance(result, EgressResponse):
                return result
            hop = result
        raise StepFailedError("too_many_redirects", f"The call was redirected more than {MAX_REDIRECTS} times.")

    async def _one_hop(self, hop: Hop, terms: _Terms, started: float) -> EgressResponse | Hop:
        """The answer to a hop, or where it redirects to."""
        addresses = await self._guard.admit(hop.target)
        try:
            answer = await self._pool().send(hop, addresses, verify_tls=terms.verify_tls)
            try:
                location = answer.headers.get("Location") if terms.follow_redirects else None
                following = next_hop(hop, answer.status, location)
                if following is not None:
                    return following
                return _response(hop, answer, await read_body(answer, hop.target.host, terms.max_bytes), started)
            finally:
                answer.release()
        except (aiohttp.ClientError, OSError) as error:
            # Not chained: the texts of these errors show whole URLs, and a URL's query may hold a secret.
            raise network_error(hop.target.host, error) from None

    def _pool(self) -> Sender:
        if self._sender is None:
            if self._proxy:
                self._sender = Proxied(self._proxy, limit=self._limit, keep_alive=self._keep_alive)
            else:
                self._sender = Direct(limit=self._limit, keep_alive=self._keep_alive)
        return self._sender


def _response(hop: Hop, answer: Answer, body: bytes, started: float) -> EgressResponse:
    return EgressResponse(
        status=answer.status,
        reason=text_of((answer.reason or "").encode("utf-8", "surrogateescape")),
        headers=decoded(answer.raw_headers),
        body=body,
        url=str(hop.url),
        duration_ms=round((time.perf_counter() - started) * 1000),
    )
