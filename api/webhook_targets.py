"""From a webhook token to its workflow, remembered for a second.

What is remembered may be stale: the ingest checks token and activity again when it stores the run.
"""

import asyncio
from functools import partial
from hashlib import sha256
from typing import Final

import asyncpg

from api.bounded import BoundedCache
from api.database import reading
from shared.errors import ConflictError, NotFoundError
from shared.store import workflows
from shared.store.workflows import Target

_REMEMBERED: Final = 1.0
_SIZE: Final = 16_384
TRIGGER_COMPONENT: Final = "webhook_trigger"


class WebhookTargets:
    """Looks tokens up; requests that come while a look-up is under way share it."""

    def __init__(self, pool: asyncpg.Pool) -> None:
        self._pool = pool
        self._known: BoundedCache[bytes, Target] = BoundedCache(_SIZE, _REMEMBERED)
        self._looking: dict[bytes, asyncio.Task[Target]] = {}

    def remembered(self, token_hash: bytes) -> Target | None:
        """The target, if it was looked up within the last second."""
        return self._known.get(token_hash)

    async def find(self, token_hash: bytes) -> Target:
        """The active workflow that a token starts.

        Raises:
            NotFoundError: if no workflow with a webhook trigger has the token.
            ConflictError: if the workflow is inactive.
        """
        task = self._looking.get(token_hash)
        if task is None:
            task = self._looking[token_hash] = asyncio.create_task(self._look_up(token_hash))
            task.add_done_callback(partial(self._looked, token_hash))
        return await asyncio.shield(task)

    def _looked(self, token_hash: bytes, task: asyncio.Task[Target]) -> None:
        del self._looking[token_hash]
        if not task.cancelled():
            task.exception()  # it is told to whoever still waits; nobody may be left

    async def _look_up(self, token_hash: bytes) -> Target:
        self._known.drop(token_hash)
        async with reading(self._pool) as connection:
            target = await workflows.by_token(connection, token_hash)
        if target is None or target.trigger_component != TRIGGER_COMPONENT:
            raise NotFoundError("webhook_not_found", "There is no webhook with this token.")
        if not target.is_active:
            raise ConflictError("workflow_inactive", "The workflow of this webhook is inactive; activate it first.")
        self._known.put(token_hash, target)
        return target


def hash_token(token: str) -> bytes:
    """What a webhook token is looked up by."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
