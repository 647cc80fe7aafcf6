"""A look into the broker: whether it was emptied, and how old the oldest message of each lane is."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar

import msgspec
import redis

from shared.broker import EPOCH_KEY, NAMESPACE, connect
from shared.lanes import LANES, PRIORITIES
from shared.metrics import BROKER_ERRORS

T = TypeVar("T")

#: Its oldest message, when a lane has none.
NONE_QUEUED: Final = float("inf")


class View(NamedTuple):
    """What the broker holds.

    Attributes:
        emptied: the epoch key is missing, and with it every message from before.
        queued_since: for each priority, the unix time in seconds (by its sender's clock) of the oldest message in its
            light lanes.
        bulk_since: the same of its bulk lanes.
    """

    emptied: bool
    queued_since: tuple[float, ...]
    bulk_since: tuple[float, ...]


class Queued:
    """Looks into the broker on a thread, for at most a few seconds."""

    def __init__(self, url: str) -> None:
        self._client = connect(url)

    async def look(self) -> View | None:
        """What the broker holds; None if it can't be inspected, so that nobody knows what was lost."""
        return await self._guarded(self._look)

    async def mark_epoch(self) -> None:
        """Set the epoch key again, unless somebody did."""
        await self._guarded(lambda: self._client.set(EPOCH_KEY, "1", nx=True))

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    async def _guarded(self, call: Callable[[], T]) -> T | None:
        try:
            return await asyncio.to_thread(call)
        except (redis.RedisError, OSError):
            BROKER_ERRORS.labels("inspect").inc()
            return None

    def _look(self) -> View:
        lanes = list(LANES)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.get(EPOCH_KEY)
        for key in lanes:
            pipeline.lindex(f"{NAMESPACE}:{LANES[key].queue}", 0)
        epoch, *heads = pipeline.execute()
        oldest = {bulk: [NONE_QUEUED] * len(PRIORITIES) for bulk in (False, True)}
        queued = [(key, head) for key, head in zip(lanes, heads, strict=True) if head is not None]
        for ((priority, _, bulk), _), sent_at in zip(queued, self._ages(queued), strict=True):
            oldest[bulk][priority] = min(oldest[bulk][priority], sent_at)
        return View(epoch is None, tuple(oldest[False]), tuple(oldest[True]))

    def _ages(self, queued: Sequence[tuple[tuple[int, bool, bool], bytes]]) -> list[float]:
        """When the messages at the heads were sent; one that was taken meanwhile counts as none."""
        if not queued:
            return []
        pipeline = self._client.pipeline(transaction=False)
        for key, head in queued:
            pipeline.hget(f"{NAMESPACE}:{LANES[key].queue}.msgs", head)
        return [_sent_at(body) for body in pipeline.execute()]


def _sent_at(body: bytes | None) -> float:
    """The unix time in seconds of a message; a body that is not ours counts as none."""
    if body is None:
        return NONE_QUEUED
    try:
        return float(msgspec.json.decode(body)["message_timestamp"]) / 1000
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return NONE_QUEUED
