"""The limits of open runs, past which triggers are told to come back."""

import asyncio
import time
from collections.abc import Callable
from typing import Final
from uuid import UUID

import asyncpg

from shared.db import DATABASE_ERRORS
from shared.errors import RateLimitedError
from shared.store.open_runs import OpenRuns, RunLimits, look

_EVERY: Final = 1.0
_RETRY_AFTER: Final = 2


class Backlog:
    """Knows whether too many runs are open, as of about a second ago; asks only while there is traffic.

    Args:
        limits: open runs past which the installation, or a workspace, is full.
        clock: seconds, never going back.
    """

    def __init__(self, pool: asyncpg.Pool, limits: RunLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._open = OpenRuns(limits, 0, {})
        self._asked_at = float("-inf")
        self._asking: asyncio.Task[None] | None = None

    async def admit(self, workspace_id: UUID) -> None:
        """Let a trigger of a workspace pass.

        A look that is under way holds nobody up, unless the last one said full: that may be long ago.

        Raises:
            RateLimitedError: if too many runs are open, here or in the workspace.
        """
        now = self._clock()
        if now - self._asked_at >= _EVERY:
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        if self._open.refusal(workspace_id) is None:
            return
        if self._asking is not None:
            await asyncio.wait([self._asking])
        refusal = self._open.refusal(workspace_id)
        if refusal is not None:
            raise RateLimitedError("backlog_full", refusal, retry_after=_RETRY_AFTER)

    async def _ask(self) -> None:
        try:
            async with self._pool.acquire(timeout=_EVERY) as connection:
                self._open = await look(connection, self._open.limits)
        except DATABASE_ERRORS:
            # Whoever stores the run finds out, and says so.
            return
