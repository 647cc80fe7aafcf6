"""Turns of what takes long and holds a database connection meanwhile, so that one workspace can't have them all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

#: What a workspace may do at once in one process, of the eight connections that a process has by default.
AT_ONCE: Final = 2


class Turns:
    """Of each workspace, the first few go on and the others wait in the order they came."""

    def __init__(self) -> None:
        # Those that hold or await a turn hold the semaphore; without them it is gone.
        self._of: WeakValueDictionary[UUID, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, workspace_id: UUID) -> AsyncIterator[None]:
        """Wait for a turn before a connection is taken, and have it until the block ends."""
        semaphore = self._of.get(workspace_id)
        if semaphore is None:
            semaphore = self._of[workspace_id] = asyncio.Semaphore(AT_ONCE)
        async with semaphore:
            yield
