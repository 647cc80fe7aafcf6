"""Duties about limits: runs that wait for a slot, and runs that take too long."""

from typing import Final
from uuid import UUID

import asyncpg

from shared.announcer import Announcer
from shared.store import limits, scheduled_runs
from shared.store.cancel import fail_runs

_WORKFLOWS: Final = 200
_RUNS: Final = 500


class Limits:
    """Sees to slots that nobody handed on, and to time-outs.

    Args:
        pool: of connections.
        announcer: sends the messages.
    """

    def __init__(self, pool: asyncpg.Pool, announcer: Announcer) -> None:
        self._pool = pool
        self._announcer = announcer
        self._behind = UUID(int=0)

    async def admit(self) -> bool:
        """Let queued runs go on where there is room: a limit was raised, or whoever freed a slot is gone.

        Runs of schedules are cancelled first that those of later slots are to take the place of.
        """
        workflows = await limits.queued_workflows(self._pool, _WORKFLOWS, self._behind)
        if workflows:
            async with self._pool.acquire() as connection:
                await scheduled_runs.cancel_overtaken(connection, workflows)
        self._behind = workflows[-1] if len(workflows) == _WORKFLOWS else UUID(int=0)
        for workflow_id in workflows:
            self._announcer.announce(await limits.admit(self._pool, workflow_id))
        return len(workflows) == _WORKFLOWS

    async def timeouts(self) -> bool:
        """End runs as failed that have been active for longer than they may."""
        overdue = await limits.overdue(self._pool, _RUNS)
        by_limit: dict[int, list[UUID]] = {}
        for run_id, seconds in overdue.items():
            by_limit.setdefault(seconds, []).append(run_id)
        for seconds, run_ids in by_limit.items():
            message = f"The run was active for longer than its run_timeout of {seconds} seconds."
            async with self._pool.acquire() as connection:
                await fail_runs(connection, run_ids, message)
        return len(overdue) == _RUNS
