"""Sends hops through an HTTP proxy, which looks names up by itself: that is what aiohttp's session is for."""

import io
from typing import Final

import aiohttp
from multidict import CIMultiDict

from shared.egress.direct import MAX_FIELD, NO_TIMEOUT, USER_AGENT
from shared.egress.hop import Hop

_LARGE_BODY: Final = 1_048_576


class Proxied:
    """A pool of connections to the proxy; implements `shared.egress.answer.Sender`.

    Args:
        proxy: its URL.
        limit: connections at the same time.
        keep_alive: seconds an idle connection is kept.
    """

    def __init__(self, proxy: str, *, limit: int, keep_alive: float) -> None:
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            # The only name ever connected to is the proxy's, which the operator vouches for.
            connector=aiohttp.TCPConnector(limit=limit, keepalive_timeout=keep_alive),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=NO_TIMEOUT,
            trust_env=False,
            auto_decompress=False,
            max_line_size=MAX_FIELD,
            max_field_size=MAX_FIELD,
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def send(self, hop: Hop, addresses: tuple[str, ...], *, verify_tls: bool) -> aiohttp.ClientResponse:  # noqa: ARG002
        """See `Sender.send`; the proxy has addresses of its own."""
        headers = CIMultiDict(hop.headers)
        headers.setdefault("User-Agent", USER_AGENT)
        return await self._session.request(
            hop.method,
            hop.url,
            headers=headers,
            # The session sends large bodies piece by piece only from a file.
            data=io.BytesIO(hop.body) if hop.body and len(hop.body) > _LARGE_BODY else hop.body,
            ssl=verify_tls,
            allow_redirects=False,
            proxy=self._proxy,
        )
