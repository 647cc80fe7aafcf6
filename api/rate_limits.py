"""Rates of webhooks, over all api processes: one bucket in Redis each, and one in this process that never goes away.

Redis is no ledger, and here nothing is lost with it: a request has to find room in this process's own bucket first, so
without Redis, or when it is slow, each process alone keeps the rate, and all of them together at most their number
times it. A bucket in Postgres would be exact without Redis too, and would cost each request a locked row and a commit.
"""

import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from api.buckets import Buckets
from shared.broker import NAMESPACE
from shared.errors import RateLimitedError
from shared.metrics import BROKER_ERRORS
from shared.nodes.webhook_rules import RateLimit

#: Seconds for which Redis may keep a request waiting, and for which it is not asked again after it did not answer.
_PATIENCE: Final = 0.25
_REST: Final = 1.0
_CONNECTIONS: Final = 8
#: Webhooks whose buckets this process keeps.
_BUCKETS: Final = 16_384
_MICROSECONDS: Final = 1_000_000
#: `Buckets.take` once more. ``KEYS[1]``: the bucket; ``ARGV``: microseconds of cost and depth. Gives 0, or the
#: microseconds after which there is room. By the clock of Redis, which all processes share; a full bucket goes.
_TAKE: Final = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local paid = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + tonumber(ARGV[1])
local late = paid - now - tonumber(ARGV[2])
if late > 0 then return math.ceil(late) end
redis.call('SET', KEYS[1], string.format('%.0f', paid), 'PX', math.ceil((paid - now) / 1000) + 1)
return 0
"""


class RateLimits:
    """Admits requests at the rate of their webhook. Make it on the loop that uses it, end it with `close`.

    Args:
        broker_url: of Redis.
        clock: seconds, never going back.
    """

    def __init__(self, broker_url: str, clock: Callable[[], float] = time.monotonic) -> None:
        connections = redis.asyncio.BlockingConnectionPool.from_url(
            broker_url,
            max_connections=_CONNECTIONS,
            timeout=_PATIENCE,
            socket_timeout=_PATIENCE,
            socket_connect_timeout=_PATIENCE,
            socket_keepalive=True,
            retry=Retry(NoBackoff(), 0),
        )
        self._shared = redis.asyncio.Redis.from_pool(connections)
        self._clock = clock
        self._here: Buckets[UUID] = Buckets(_BUCKETS, 3600.0, clock)
        self._rests_until = float("-inf")

    async def admit(self, workflow_id: UUID, limit: RateLimit) -> None:
        """Let a request of a webhook pass.

        Raises:
            RateLimitedError: ``webhook_rate_limit``, if there were too many before it.
        """
        cost = 1 / limit.per_second
        late = self._here.take(workflow_id, cost, limit.most_at_once * cost) or await self._take_shared(
            workflow_id, limit
        )
        if late > 0:
            raise RateLimitedError(
                "webhook_rate_limit",
                f"This webhook takes {limit.per_second:g} requests a second, and at most {limit.most_at_once} at once.",
                retry_after=max(1, -int(-late // 1)),
            )

    async def close(self) -> None:
        """Drop the connections."""
        await self._shared.aclose()

    async def _take_shared(self, workflow_id: UUID, limit: RateLimit) -> float:
        """The same of the bucket of all processes, which has room whenever Redis does not say otherwise."""
        if self._clock() < self._rests_until:
            return 0.0
        cost = _MICROSECONDS / limit.per_second
        arguments = (f"{NAMESPACE}:rate:{workflow_id}", f"{cost:.0f}", f"{cost * limit.most_at_once:.0f}")
        try:
            late: int = await self._shared.eval(_TAKE, 1, *arguments)
        except (RedisError, OSError, TimeoutError):
            BROKER_ERRORS.labels("rate").inc()
            self._rests_until = self._clock() + _REST
            return 0.0
        return late / _MICROSECONDS
