"""The duty that takes steps from workers that have died."""

import time
from collections.abc import Callable
from datetime import datetime
from typing import Final

import asyncpg
import structlog

from scheduler.steps import settle
from shared.metrics import RESCUED
from shared.store import duties
from shared.store.duties import Moment

_log = structlog.get_logger(__name__)

_BATCH: Final = 1000
#: Seconds by which Postgres's clock and the monotonic one may part between two looks.
_TOLERANCE: Final = 0.5


class Contact:
    """For how long this process has seen one and the same postmaster without a break.

    A worker's heartbeats may be missing because Postgres was away, was restarted, had its clock set, or because this
    whole machine stood still; whoever judges must have seen that none of it is so.

    Args:
        lease: seconds.
        monotonic: the clock, in seconds.
    """

    def __init__(self, lease: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lease = lease
        self._monotonic = monotonic
        self._since: float | None = None
        self._last: tuple[Moment, float] | None = None

    def lose(self) -> None:
        """Contact was lost, or a clock was set: begin anew."""
        self._since = self._last = None

    def may_judge(self, seen: Moment) -> bool:
        """Note what Postgres said just now; True after a full lease of unbroken contact."""
        at = self._monotonic()
        if self._since is None or self._last is None or self._is_broken(*self._last, seen, at):
            self._since = at
        self._last = (seen, at)
        return at - self._since >= self._lease

    def _is_broken(self, last: Moment, last_at: float, seen: Moment, at: float) -> bool:
        return (
            seen.started != last.started
            or at - last_at > self._lease / 2
            or abs(_seconds(last.now, seen.now) - (at - last_at)) > _TOLERANCE
        )


class Rescue:
    """Declares silent incarnations dead and gives back what they hold.

    Args:
        lease: seconds without a heartbeat.
    """

    def __init__(self, pool: asyncpg.Pool, contact: Contact, *, lease: float) -> None:
        self._pool = pool
        self._contact = contact
        self._lease = lease

    async def work(self) -> bool:
        """One look; steps that come back are unsent, and top-up sends them within its next tick."""
        async with self._pool.acquire() as connection:
            judge = self._contact.may_judge(await duties.moment(connection))
            done = await duties.rescue(connection, judge=judge, lease=self._lease, limit=_BATCH)
            ended = await duties.lost_of_ended(connection, _BATCH) if done.gone else []
        if done.died or done.returned:
            _log.warning("steps were taken from dead workers", workers=done.died, steps=done.returned)
        RESCUED.inc(done.returned)
        await settle(self._pool, ended)
        return done.returned == _BATCH


def _seconds(earlier: datetime, later: datetime) -> float:
    return (later - earlier).total_seconds()
