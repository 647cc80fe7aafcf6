"""Hears from workers that runs have answered. What is not heard, a look into the database finds half a second later."""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from shared.announcer import ANSWERS_CHANNEL

_log = structlog.get_logger(__name__)

#: Seconds of silence after which the server is asked whether it is there, and within which it must answer.
_QUIET: Final = 10.0
#: Seconds between two attempts to reach a server that is away.
_RETRY: Final = 0.5
#: Seconds after which a cancellation is repeated.
_CANCEL: Final = 0.2
#: Seconds that the first request of a process waits for the connection.
_FIRST: Final = 0.25
_ID: Final = 16


class AnswerBells:
    """A subscription that lasts from the first request that waits to the end of the process.

    Args:
        url: of the broker.
        ring: called with runs that have answered.
    """

    def __init__(self, url: str, ring: Callable[[Iterable[UUID]], None]) -> None:
        self._url = url
        self._ring = ring
        self._task: asyncio.Task[None] | None = None
        self._heard = asyncio.Event()

    async def listen(self) -> None:
        """Listen from now on; the first call gives the connection a moment to be made."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep_listening())
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST):
                    await self._heard.wait()

    async def close(self) -> None:
        """Hear no more. A cancellation that meets a time-out of the client may be lost there, so it is repeated."""
        while self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=_CANCEL)

    async def _keep_listening(self) -> None:
        while True:
            try:
                await self._subscribe()
            except (RedisError, OSError) as error:
                _log.warning("broker away: answers are found by looking for them", error=repr(error))
            await asyncio.sleep(_RETRY)

    async def _subscribe(self) -> None:
        """Hear until the connection breaks."""
        client = redis.asyncio.Redis.from_url(self._url, socket_connect_timeout=2.0, socket_keepalive=True)
        async with client, client.pubsub() as subscription:
            await subscription.subscribe(ANSWERS_CHANNEL)
            asked = False
            while True:
                message = await subscription.get_message(timeout=_QUIET)
                if message is None and asked:
                    raise ConnectionError("the broker does not answer")
                asked = message is None
                if asked:
                    await subscription.ping()
                else:
                    self._take(message)

    def _take(self, message: Any) -> None:
        self._heard.set()
        data = message["data"]
        if message["type"] == "message" and len(data) % _ID == 0:
            self._ring([UUID(bytes=data[at : at + _ID]) for at in range(0, len(data), _ID)])
