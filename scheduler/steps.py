"""Duties over steps that wait to be sent: waits that are over, the backlog, and messages that were lost."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from scheduler.queued import Queued
from shared.announcer import Announcer
from shared.metrics import RESENT
from shared.store import duties
from shared.store.cancel import settle_ended
from shared.store.duties import Sent

_log = structlog.get_logger(__name__)

_BATCH: Final = 500
_RESEND_BATCH: Final = 1000
_UNSEND_BATCH: Final = 5000
#: Seconds that a sender may take from the commit to the message, or its clock be behind Postgres's.
_MARGIN: Final = 2.0


class Steps:
    """Sends what is ready.

    Args:
        window: the most sent and untaken steps of one workflow.
    """

    def __init__(self, pool: asyncpg.Pool, announcer: Announcer, queued: Queued, *, window: int) -> None:
        self._pool = pool
        self._announcer = announcer
        self._queued = queued
        self._window = window

    async def wake_due(self) -> bool:
        """End waits that are over; the window does not hold them back, since each had its turn."""
        async with self._pool.acquire() as connection:
            doorbells = await duties.wake_due(connection, _BATCH)
        self._announcer.announce(doorbells)
        RESENT.labels("due").inc(len(doorbells))
        return bool(doorbells)  # others that wake some at this moment make a batch smaller than what there is

    async def top_up(self) -> bool:
        """Send what is unsent, as far as the window allows.

        A step that nobody has sent and that need not be claimed is the trigger of a new run: all others are sent when
        they open, or were claimed before. So that is what goes into the lanes of new runs.
        """
        async with self._pool.acquire() as connection:
            sent = await duties.top_up(connection, window=self._window, limit=_BATCH)
        await self._send(sent, "unsent")
        return bool(sent.doorbells)

    async def resend(self) -> bool:
        """Send again what must have been lost; all of it, by and by, if the broker was emptied."""
        view = await self._queued.look()
        if view is None:
            return False
        if view.emptied:
            await self._unsend_all()
            return False
        async with self._pool.acquire() as connection:
            sent = await duties.resend(
                connection,
                limit=_RESEND_BATCH,
                queued_since=[moment - _MARGIN for moment in view.queued_since],
                bulk_since=[moment - _MARGIN for moment in view.bulk_since],
            )
        await self._send(sent, "lost")
        return False

    async def _unsend_all(self) -> None:
        """The broker was emptied: top-up sends everything again, window by window and fairly.

        The epoch is marked last, so that a scheduler that dies on the way leaves the rest to another.
        """
        async with self._pool.acquire() as connection:
            until = (await duties.moment(connection)).now
            steps = 0
            while taken_back := await duties.unsend(connection, until=until, limit=_UNSEND_BATCH):
                steps += taken_back
        await self._queued.mark_epoch()
        if steps:
            _log.warning("the broker was emptied; everything is sent again", steps=steps)
        else:
            _log.info("the broker was empty; no step had to be sent again")

    async def _send(self, sent: Sent, reason: str) -> None:
        self._announcer.announce(sent.doorbells)
        RESENT.labels(reason).inc(len(sent.doorbells))
        await settle(self._pool, sent.ended)


async def settle(pool: asyncpg.Pool, run_ids: Sequence[UUID]) -> None:
    """Settle what is left of runs that are being ended."""
    if run_ids:
        async with pool.acquire() as connection:
            await settle_ended(connection, run_ids)
