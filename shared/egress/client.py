"""The one client for everything that leaves: a pool of connections to checked addresses.

A hop is parsed, admitted by the guard and sent; the connection is made to the addresses that were admitted, without a
second lookup, while TLS and the Host header keep the name. A pooled connection leads to an address that was checked
when it was made, for the same scheme, host and port, under an allow-list that does not change while the process lives;
the host's current addresses are checked again before it is reused.
"""

import asyncio
import io
import socket
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Literal, NamedTuple, Self

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from shared.egress.answer import network_error, read_body
from shared.egress.fields import decoded, text_of
from shared.egress.guard import Guard
from shared.egress.hop import MAX_REDIRECTS, Hop, first_hop, next_hop
from shared.egress.interface import EgressResponse
from shared.errors import StepFailedError

Outcome = Literal["ok", "refused", "timeout", "network", "too_large"]

_USER_AGENT = "Edgewise"
_MAX_FIELD = 32_768
_LARGE_BODY = 1_048_576
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None)
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


_admitted: ContextVar[tuple[str, ...]] = ContextVar("admitted")


class _AdmittedResolver(AbstractResolver):
    """Answers every lookup with the addresses the guard has admitted for the request in flight."""

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        return [_numeric(host, address, port) for address in _admitted.get()]

    async def close(self) -> None:
        """Nothing is held."""


def _numeric(host: str, address: str, port: int) -> ResolveResult:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST)


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
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the pool; requests in flight fail with ``network_error``."""
        if self._session is not None:
            await self._session.close()

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        timeout: float = 30.0,  # noqa: ASYNC109 — the interface's; it becomes `asyncio.timeout` below
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

    async def _within(self, seconds: float, hop: Hop, terms: _Terms) -> EgressResponse:
        try:
            async with asyncio.timeout(seconds):
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
            answer = await self._send(hop, addresses, terms)
            try:
                location = answer.headers.get("Location") if terms.follow_redirects else None
                following = next_hop(hop, answer.status, location)
                if following is not None:
                    return following
                return _response(answer, await read_body(answer, hop.target.host, terms.max_bytes), started)
            finally:
                # Gives the connection back if the answer was read to its end, and closes it if not.
                answer.release()
        except (aiohttp.ClientError, OSError) as error:
            # Not chained: the texts of these errors show whole URLs, and a URL's query may hold a secret.
            raise network_error(hop.target.host, error) from None

    async def _send(self, hop: Hop, addresses: tuple[str, ...], terms: _Terms) -> aiohttp.ClientResponse:
        _admitted.set(addresses)
        headers = CIMultiDict(hop.headers)
        headers.setdefault("User-Agent", _USER_AGENT)
        return await self._pool().request(
            hop.method,
            hop.url,
            headers=headers,
            # The pool sends large bodies piece by piece only from a file.
            data=io.BytesIO(hop.body) if hop.body and len(hop.body) > _LARGE_BODY else hop.body,
            ssl=terms.verify_tls,
            allow_redirects=False,
            proxy=self._proxy,
        )

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = self._open_pool()
        return self._session

    def _open_pool(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            # Behind a proxy the only name ever connected to is the proxy's, which the operator vouches for.
            resolver=None if self._proxy else _AdmittedResolver(),
            use_dns_cache=self._proxy is not None,
            limit=self._limit,
            keepalive_timeout=self._keep_alive,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            trust_env=False,
            max_line_size=_MAX_FIELD,
            max_field_size=_MAX_FIELD,
        )


def _response(answer: aiohttp.ClientResponse, body: bytes, started: float) -> EgressResponse:
    return EgressResponse(
        status=answer.status,
        reason=text_of((answer.reason or "").encode("utf-8", "surrogateescape")),
        headers=decoded(answer.raw_headers),
        body=body,
        url=str(answer.url),
        duration_ms=round((time.perf_counter() - started) * 1000),
    )
