"""From a webhook token to its workflow and what that asks of requests, remembered for a second, the look-up included.

What is remembered may be stale: the ingest checks token and activity again when it stores the run. Look-ups that come
while one is under way wait for the next, which is one statement for all of them: a flood of tokens that nobody has
costs one connection.
"""

import asyncio
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID

import asyncpg

from api.bounded import BoundedCache
from api.database import reading
from api.webhook_rules import USUAL, Ready, parsed
from shared.db import Connection
from shared.errors import EdgewiseError, NotFoundError, UnavailableError
from shared.log import get
from shared.store import vault, workflows
from shared.store.workflows import Webhook
from shared.vault import KeyRing, VaultError

_log = get(__name__)
#: Seconds from the begin of a look-up: what the database says may be as old as the question.
_REMEMBERED: Final = 1.0
_SIZE: Final = 16_384
#: Tokens of one look-up.
_BATCH: Final = 256
#: How every token begins, and how long it may be: what is none needs no look-up.
_PREFIX: Final = "whsec_"
_LONGEST: Final = 200
TRIGGER_COMPONENT: Final = "webhook_trigger"


class Hook(NamedTuple):
    """A workflow's webhook.

    Attributes:
        secrets: that its signatures are made with, decrypted; none if there is no such vault item, or it has expired.
    """

    id: UUID
    workspace_id: UUID
    is_active: bool
    rules: Ready
    secrets: tuple[str, ...]


class WebhookTargets:
    """Looks tokens up.

    Args:
        pool: where they are looked up.
        keys: that decrypt the secrets of signatures.
        clock: seconds, never going back.
    """

    def __init__(self, pool: asyncpg.Pool, keys: KeyRing, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._keys = keys
        self._clock = clock
        self._known: BoundedCache[bytes, Hook] = BoundedCache(_SIZE, _REMEMBERED, clock)
        # Only tokens that no workflow has or had: such a one is never given out later, it would have to be guessed.
        self._unknown: BoundedCache[bytes, bool] = BoundedCache(_SIZE, _REMEMBERED, clock)
        # Changed in this process since the look-up that is under way began: what that finds may be of before.
        self._changed: set[bytes] = set()
        self._wanted: dict[bytes, asyncio.Future[Hook]] = {}
        self._looking: asyncio.Task[None] | None = None

    def remembered(self, token_hash: bytes) -> Hook | None:
        """The active webhook, if it was looked up within the last second."""
        return self._known.get(token_hash)

    def forget(self, token_hash: bytes | None) -> None:
        """Look a token up again when it comes next; it was changed in this process."""
        if token_hash is not None:
            self._known.drop(token_hash)
            if self._looking is not None:
                self._changed.add(token_hash)

    async def find(self, token: str, token_hash: bytes) -> Hook:
        """The webhook that a token belongs to, active or not.

        Raises:
            NotFoundError: if no workflow with a webhook trigger has the token.
            UnavailableError: if the database is away.
        """
        if not token.startswith(_PREFIX) or len(token) > _LONGEST or self._unknown.get(token_hash):
            raise _not_found()
        self._known.drop(token_hash)
        wanted = self._wanted.get(token_hash)
        if wanted is None:
            wanted = self._wanted[token_hash] = asyncio.get_running_loop().create_future()
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        return await asyncio.shield(wanted)

    async def _look(self) -> None:
        """Look up what is wanted until there is nothing more."""
        try:
            while self._wanted:
                hashes = list(self._wanted)[:_BATCH]
                # What is asked for from now on may have been changed since, and waits for the next look.
                batch = {token_hash: self._wanted.pop(token_hash) for token_hash in hashes}
                await self._settle(batch)
        finally:
            self._looking = None

    async def _settle(self, batch: dict[bytes, "asyncio.Future[Hook]"]) -> None:
        try:
            found = await self._look_up(list(batch))
        except Exception as error:  # noqa: BLE001 — it is told to everyone who waits
            for wanted in batch.values():
                wanted.set_exception(error)
                wanted.exception()  # nobody may be left to hear it
            return
        for token_hash, wanted in batch.items():
            hook = found.get(token_hash) or _not_found()
            if isinstance(hook, Hook):
                wanted.set_result(hook)
            else:
                wanted.set_exception(hook)
                wanted.exception()

    async def _look_up(self, hashes: list[bytes]) -> dict[bytes, Hook | EdgewiseError]:
        found: dict[bytes, Hook | EdgewiseError] = {}
        began = self._clock()
        self._changed.clear()
        async with reading(self._pool) as connection:
            rows = await workflows.by_tokens(connection, hashes)
            for row in rows:
                if row.trigger_component == TRIGGER_COMPONENT:
                    found[row.token_hash] = await self._hook(connection, row)
        left = _REMEMBERED - (self._clock() - began)
        for token_hash in set(hashes).difference(row.token_hash for row in rows):
            self._unknown.put(token_hash, value=True, seconds=left)
        for token_hash, hook in found.items():
            if isinstance(hook, Hook) and hook.is_active and token_hash not in self._changed:
                self._known.put(token_hash, hook, seconds=left)
        return found

    async def _hook(self, connection: Connection, row: Webhook) -> Hook | EdgewiseError:
        try:
            rules = USUAL if row.rules is None else parsed(row.rules)
        except ValueError as error:
            _log.error("what a webhook asks can't be read; newer or older code saved it", error=str(error)[:200])
            return UnavailableError("webhook_unreadable", "This process can't serve the webhook now.", retry_after=10)
        secrets: tuple[str, ...] = ()
        if rules.signature is not None:
            secrets = await self._secrets(connection, row.workspace_id, rules.signature.secret_name)
        return Hook(row.id, row.workspace_id, row.is_active, rules, secrets)

    async def _secrets(self, connection: Connection, workspace_id: UUID, name: str) -> tuple[str, ...]:
        items = await vault.named(connection, workspace_id, [name])
        try:
            return tuple(
                self._keys.decrypt(item.secret, context=vault.secret_context(item.id)).decode()
                for item in items
                if not item.expired
            )
        except VaultError as error:
            _log.error("the secret of a webhook can't be read", code=error.code)
            return ()


def _not_found() -> NotFoundError:
    return NotFoundError("webhook_not_found", "There is no webhook with this token.")


def hash_token(token: str) -> bytes:
    """What a webhook token is looked up by."""
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
