"""The one client for everything that leaves: a pool of connections to checked addresses.

A hop is parsed, admitted by the guard and sent; the connection is made to the addresses that were admitted, without a
second lookup, while TLS and the Host header keep the name. A pooled connection leads to an address that was checked
when it was made, for the same scheme, host and port, under an allow-list that does not change while the process lives;
the host's current addresses are checked again before it is reused. Before each hop stands the gate of its host, which
limits calls at the same time and lets none out while the host does not answer (`shared.egress.hosts`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, Literal, Self

import aiohttp

from shared.egress.answer import Answer, Sender, network_error, read_body
from shared.egress.call import Call
from shared.egress.direct import Direct
from shared.egress.fields import decoded, text_of
from shared.egress.guard import Guard
from shared.egress.hop import MAX_REDIRECTS, Hop, first_hop, next_hop
from shared.egress.hosts import Change, Gate, Hosts, Limits
from shared.egress.interface import Egress, EgressResponse, Pinned
from shared.egress.pinned import pin, target_of
from shared.egress.proxied import Proxied
from shared.egress.target import Target
from shared.errors import StepFailedError
from shared.timeouts import Timeouts

Outcome = Literal["ok", "refused", "timeout", "network", "too_large", "open"]

_OUTCOMES: Final[dict[str, Outcome]] = {
    "timeout": "timeout",
    "network_error": "network",
    "response_too_large": "too_large",
    "circuit_open": "open",
}
#: The part of its time after which a call that is ended from outside counts as timed out: a step's own timeout is as
#: long as its call's, and began a moment earlier.
_ALL_BUT: Final = 0.95
#: Of a visit any other error is what the host said.
_REFUSALS: Final = frozenset(("egress_refused", "invalid_host"))


class EgressClient:
    """Implements `shared.egress.interface.Egress`. Belongs to the event loop that first uses it.

    Args:
        guard: decides where requests may go.
        limit: connections at the same time; further requests wait within their timeout.
        keep_alive: seconds an idle connection is kept.
        proxy: URL of an HTTP proxy for everything. Targets are still checked here, by name and address, but the proxy
            looks the name up once more, so it should refuse internal addresses itself.
        limits: what one host is asked to bear.
        on_result: told how each request ended, for a metric.
        on_change: told of breakers and of calls that wait for a place, likewise.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        limit: int = 256,
        keep_alive: float = 15.0,
        proxy: str | None = None,
        limits: Limits | None = None,
        on_result: Callable[[Outcome], None] | None = None,
        on_change: Callable[[Change], None] | None = None,
    ) -> None:
        self._guard = guard
        self._limit = limit
        self._keep_alive = keep_alive
        self._proxy = proxy
        self._hosts = Hosts(limits, most=limit, on_change=on_change)
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

    def of(self, tenant: Hashable) -> Egress:
        """This client for one workspace: the pool is shared, limits and breakers of hosts are its own."""
        return _Tenant(self, tenant)

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
        tenant: Hashable = None,
    ) -> EgressResponse:
        """See `shared.egress.interface.Egress.request`; ``tenant`` is whose limits and breakers it goes by."""
        try:
            hop = first_hop(method, url, headers, body)
            call = Call(tenant, hop.target.host, follow_redirects, verify_tls, max_bytes)
            answer = await self._within(timeout, hop, call)
        except StepFailedError as error:
            self._on_result(_OUTCOMES.get(error.code, "refused"))
            raise
        self._on_result("ok")
        return answer

    @asynccontextmanager
    async def visit(
        self,
        host: str,
        port: int,
        *,
        timeout: float,  # noqa: ASYNC109 — it is kept by the caller
        tenant: Hashable = None,
    ) -> AsyncIterator[Pinned]:
        """See `shared.egress.interface.Egress.visit`."""
        call = Call(tenant, host)
        try:
            target = target_of(host, port)
            async with self._gated(call, target):
                yield await pin(self._guard, host, port)
        except StepFailedError as error:
            self._on_result(_OUTCOMES.get(error.code, "refused" if error.code in _REFUSALS else "ok"))
            raise
        except asyncio.CancelledError:
            self._ended(call, timeout)
            raise
        self._on_result("ok")

    @asynccontextmanager
    async def _gated(self, call: Call, target: Target) -> AsyncIterator[None]:
        gate = await self._enter(call, target)
        try:
            yield
        except StepFailedError as error:
            if error.code in ("network_error", "timeout"):
                self._hosts.failed(gate, error.message)
            raise
        else:
            self._hosts.succeeded(gate)
        finally:
            self._hosts.leave(gate, call)

    async def _within(self, seconds: float, hop: Hop, call: Call) -> EgressResponse:
        try:
            with self._timeouts.within(seconds):
                return await self._exchange(hop, call)
        except TimeoutError:
            error = call.too_late(seconds)
            if call.gate is not None:
                self._hosts.failed(call.gate, error.message)
            raise error from None
        except asyncio.CancelledError:
            self._ended(call, seconds)
            raise

    def _ended(self, call: Call, seconds: float) -> None:
        """It was ended from outside: because its run was, or because its step's time is over."""
        if time.perf_counter() - call.started < _ALL_BUT * seconds:
            return
        self._on_result("timeout")
        if call.gate is not None:
            self._hosts.failed(call.gate, call.too_late(seconds).message)

    async def _exchange(self, hop: Hop, call: Call) -> EgressResponse:
        """Send hop after hop until an answer is no redirect."""
        for _ in range(MAX_REDIRECTS + 1):
            result = await self._one_hop(hop, call)
            if isinstance(result, EgressResponse):
                return result
            hop = result
        raise StepFailedError("too_many_redirects", f"The call was redirected more than {MAX_REDIRECTS} times.")

    async def _one_hop(self, hop: Hop, call: Call) -> EgressResponse | Hop:
        """The answer to a hop, or where it redirects to; its host's gate is held meanwhile, and no other."""
        gate = await self._enter(call, hop.target)
        try:
            result = await self._sent(hop, call)
        except StepFailedError as error:
            if error.code == "network_error":
                self._hosts.failed(gate, error.message)
            raise
        else:
            self._hosts.succeeded(gate)
            return result
        finally:
            self._hosts.leave(gate, call)

    async def _enter(self, call: Call, target: Target) -> Gate:
        call.host, call.gate = target.host, None
        call.gate = await self._hosts.enter((call.tenant, target.host, target.port), call)
        return call.gate

    async def _sent(self, hop: Hop, call: Call) -> EgressResponse | Hop:
        addresses = await self._guard.admit(hop.target)
        try:
            answer = await self._pool().send(hop, addresses, verify_tls=call.verify_tls)
            try:
                location = answer.headers.get("Location") if call.follow_redirects else None
                following = next_hop(hop, answer.status, location)
                if following is not None:
                    return following
                return _response(hop, answer, await read_body(answer, hop.target.host, call.max_bytes), call.started)
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


class _Tenant:
    """A client for one workspace; implements `shared.egress.interface.Egress`."""

    __slots__ = ("_client", "_tenant")

    def __init__(self, client: EgressClient, tenant: Hashable) -> None:
        self._client = client
        self._tenant = tenant

    def request(self, method: str, url: str, **terms: Any) -> Coroutine[Any, Any, EgressResponse]:
        return self._client.request(method, url, tenant=self._tenant, **terms)

    def visit(self, host: str, port: int, *, timeout: float) -> AbstractAsyncContextManager[Pinned]:
        return self._client.visit(host, port, timeout=timeout, tenant=self._tenant)


def _response(hop: Hop, answer: Answer, body: bytes, started: float) -> EgressResponse:
    return EgressResponse(
        status=answer.status,
        reason=text_of((answer.reason or "").encode("utf-8", "surrogateescape")),
        headers=decoded(answer.raw_headers),
        body=body,
        url=str(hop.url),
        duration_ms=round((time.perf_counter() - started) * 1000),
    )
