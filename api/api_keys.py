"""API keys: ``wfk_`` and 256 random bits, of which the database has a hash. They start workflows, and no more.

So the routes that let them in say so themselves (``api_key`` of their declaration): the scope that a key has is that of
routes which cancel and repeat runs, too.
"""

import time
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import asyncpg

from api.access import Principal, Scope
from api.bounded import BoundedCache
from api.database import reading
from shared.errors import AuthenticationError, PermissionDeniedError
from shared.ids import is_secret
from shared.store import vault

API_KEY_HEADER: Final = "X-Api-Key"
_WORD: Final = "wfk"
KEY_PREFIX: Final = f"{_WORD}_"
#: Seconds for which a look-up holds, its own time included. A key that was deleted is to stop within a second.
_REMEMBERED: Final = 0.5
#: Keys that are remembered, and texts that are none.
_SIZE: Final = 4096
_SCOPES: Final = frozenset({Scope.WORKFLOWS_EXECUTE})


class ApiKeys:
    """Tells whom an API key stands for; what is none is remembered for as short a while, if it looks like one.

    Args:
        pool: where keys are looked up.
        clock: seconds, never going back.
    """

    def __init__(self, pool: asyncpg.Pool, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._known: BoundedCache[bytes, Principal] = BoundedCache(_SIZE, _REMEMBERED, clock)
        # Apart, so that a flood of these drives no key out. None of them is made later: it would have to be guessed.
        self._unknown: BoundedCache[bytes, bool] = BoundedCache(_SIZE, _REMEMBERED, clock)

    async def principal(self, key: str) -> Principal:
        """Who may do what with a key.

        Raises:
            AuthenticationError: ``token_invalid`` if it never was one, was deleted or has expired.
        """
        key_hash = hash_key(key)
        principal = self._known.get(key_hash)
        if principal is not None:
            return principal
        if not is_secret(_WORD, key) or self._unknown.get(key_hash):
            raise refused()
        return await self._look_up(key_hash)

    async def _look_up(self, key_hash: bytes) -> Principal:
        began = self._clock()  # what the database says may be as old as the question
        async with reading(self._pool) as connection:
            found = await vault.key(connection, key_hash)
        left = _REMEMBERED - (self._clock() - began)
        if found is None:
            self._unknown.put(key_hash, value=True, seconds=left)
            raise refused()
        principal = Principal(found.name, found.workspace_id, _SCOPES)
        self._known.put(
            key_hash, principal, seconds=left if found.seconds_left is None else min(left, found.seconds_left)
        )
        return principal


def hash_key(key: str) -> bytes:
    """What is kept of an API key: it has 256 random bits, so a plain SHA-256 cannot be searched."""
    return sha256(key.encode()).digest()


def refused() -> AuthenticationError:
    """What a caller is told whose key is none, or none any more."""
    return AuthenticationError(
        "token_invalid", "The API key is not valid: it never was one, was deleted or has expired."
    )


def not_allowed() -> PermissionDeniedError:
    """What a caller is told whose key is good, where none is let in."""
    return PermissionDeniedError(
        "api_key_not_allowed",
        "An API key can't do this. Keys may POST to /workflows/{id}/execute, /workflows/sync/{id} and "
        "/workflows/events/{name}; the rest needs a JWT.",
    )
