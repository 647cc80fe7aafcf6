"""The limit of open runs, past which triggers are told to come back."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import asyncpg

from shared.db import DATABASE_ERRORS
from shared.errors import RateLimitedError
from shared.store.runs_read import count_open_runs

_EVERY: Final = 1.0
_RETRY_AFTER: Final = 2


class Backlog:
    """Knows whether too many runs are open, as of about a second ago; asks only while there is traffic.

    Args:
        most: open runs past which it is full.
        clock: seconds, never going back.
    """

    def __init__(self, pool: asyncpg.Pool, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._most = most
        self._clock = clock
        self._full = False
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def admit(self) -> None:
        """Let a trigger pass.

        A look that is under way holds nobody up, unless the last one said full: that may be long ago.

        Raises:
            RateLimitedError: if too many runs are open.
        """
        now = self._clock()
        if now - self._asked_at >= _EVERY:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        if self._full:
            if self._asking is not None:
                await asyncio.wait([self._asking])
            self._refuse_if_full()

    def _refuse_if_full(self) -> None:
        if self._full:
            raise RateLimitedError(
                "backlog_full", f"{self._most} runs are open, which is the limit; come back.", retry_after=_RETRY_AFTER
            )

    async def _ask(self) -> None:
        try:
            async with self._pool.acquire(timeout=_EVERY) as connection:
                self._full = await count_open_runs(connection, self._most) >= self._most
        except DATABASE_ERRORS:
            # Whoever stores the run finds out, and says so.
            return
