"""Runs of limited workflows: whether one may begin now, has to wait, or is not run at all."""

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg

from shared.lanes import Doorbell
from shared.store.cancel import cancel_runs
from shared.store.limits import admit_after, enter

#: Keys that are longer are known by their SHA-256.
_LONGEST_KEY: Final = 200


class Admission:
    """Gives runs the slots of their workflow.

    Args:
        pool: of connections.
        announce: sends messages.
    """

    def __init__(self, pool: asyncpg.Pool, announce: Callable[[Sequence[Doorbell]], None]) -> None:
        self._pool = pool
        self._announce = announce

    async def enter(self, run_id: UUID, claim_id: UUID, key: str | None) -> str:
        """Ask for slots; ``entered``, ``queued`` (the step is not held any more) or ``skipped``."""
        verdict = await enter(self._pool, run_id, claim_id, _short(key))
        if verdict.oldest is not None:
            async with self._pool.acquire() as connection:
                await cancel_runs(connection, [verdict.oldest])
            await self.freed([verdict.oldest])
        return verdict.kind

    async def freed(self, run_ids: Sequence[UUID]) -> None:
        """Let others begin after the ends of these runs; the scheduler sees to it too, should this worker die here."""
        for run_id in run_ids:
            self._announce(await admit_after(self._pool, run_id))


def _short(key: str | None) -> str | None:
    if key is None:
        return None
    key = key.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
    return key if len(key) <= _LONGEST_KEY else "sha256:" + sha256(key.encode()).hexdigest()
