"""A line to Postgres that loses an answer, or a request, when a test says so."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random
from urllib.parse import urlsplit

from tests.line import Line, Loss


class Proxy(Line):
    """Stands before a server.

    Attributes:
        cut: what to do with the next execution of a statement: lose it before the server sees it, or lose the answer
            after the server has committed. Each setting counts for one statement.
        url: leads through it.
    """

    cut: Loss = ""
    url = ""

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator["Proxy"]:
        """A proxy for the server of this URL."""
        parts = urlsplit(url)
        proxy = cls(parts.port or 0, Random(0), parts.hostname or "")
        async with proxy.listening():
            place = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
            proxy.url = parts._replace(netloc=place).geturl()
            yield proxy

    def _loss(self) -> Loss:
        how, self.cut = self.cut, ""
        return how
