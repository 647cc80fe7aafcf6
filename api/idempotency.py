"""``Idempotency-Key``: the same key and body give the first answer again, whatever became of the connection.

The key is locked and its answer is kept in the request's own transaction, so there is an answer exactly if the work was
done. An error keeps nothing: the repeat tries again.
"""

import re
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Final

import msgspec
from aiohttp import web

from api.answers import Answer
from api.call import Call
from shared.db import Connection
from shared.errors import BadRequestError, ConflictError
from shared.store import idempotency
from shared.store.idempotency import Kept, Scope, body_context

HEADER: Final = "Idempotency-Key"
_KEY: Final = re.compile(r"[\x20-\x7e]{1,255}")


async def once(
    call: Call, body: bytes, work: Callable[[Connection], Awaitable[Answer]], *, confidential: bool = False
) -> web.Response:
    """Do the work in a transaction, or give the answer it gave before.

    Args:
        call: of the request.
        body: of the request; a digest of it is kept.
        work: makes the answer.
        confidential: whether the body holds a secret, so that the digest must not serve to guess it.

    Raises:
        BadRequestError: if the key is not legal.
        ConflictError: if the key was used with another body, or a request with it is under way.
    """
    answer, replayed = await first(call, body, work, confidential=confidential)
    return answer.response(Idempotency_Replayed="true") if replayed else answer.response()


async def first(
    call: Call, body: bytes, work: Callable[[Connection], Awaitable[Answer]], *, confidential: bool = False
) -> tuple[Answer, bool]:
    """Do the work in a transaction and keep its answer, or find the one that was kept; and whether it was.

    Raises:
        BadRequestError, ConflictError: as `once`.
    """
    scope = scope_of(call)
    async with call.writing() as connection:
        if scope is None:
            return await work(connection), False
        digest = _Digest(call, body, confidential=confidential)
        kept = await _replay(connection, call, scope, digest)
        if kept is not None:
            return kept, True
        answer = await work(connection)
        await idempotency.keep(connection, scope, _to_keep(call, scope, digest, answer))
        return answer, False


def scope_of(call: Call) -> Scope | None:
    """The key of a request and what it is unique within; None if it has none.

    Raises:
        BadRequestError: if the key is not legal.
    """
    key = call.request.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise BadRequestError("invalid_idempotency_key", f"{HEADER} must be 1 to 255 printable ASCII characters.")
    return Scope(call.workspace_id, call.request.method, call.request.path, key)


class _Digest:
    """Tells whether two bodies are the same: by SHA-256, or by an HMAC under the key ring where they hold secrets."""

    def __init__(self, call: Call, body: bytes, *, confidential: bool) -> None:
        self._keys = call.services.keys
        self._message = b"idempotency " + body if confidential else None
        self.value = sha256(body).digest() if self._message is None else self._keys.sign(self._message)

    def is_of(self, kept: bytes) -> bool:
        """Whether what was kept is of this body."""
        return kept == self.value or (self._message is not None and self._keys.has_signed(self._message, kept))


async def _replay(connection: Connection, call: Call, scope: Scope, digest: _Digest) -> Answer | None:
    if not await idempotency.try_lock(connection, scope):
        raise ConflictError(
            "idempotency_in_progress",
            f"A request with this {HEADER} is under way; repeat it in a moment.",
            retry_after=1,
        )
    kept = await idempotency.find(connection, scope)
    if kept is None:
        return None
    if not digest.is_of(kept.body_hash):
        raise ConflictError(
            "idempotency_key_reused",
            f"This {HEADER} was used with another body in the last 24 hours; take a fresh one.",
        )
    plain = call.services.keys.decrypt(kept.body, context=_context(scope)) if kept.secret else kept.body
    return Answer(kept.status, plain, msgspec.json.decode(kept.headers))


def _to_keep(call: Call, scope: Scope, digest: _Digest, answer: Answer) -> Kept:
    stored = call.services.keys.encrypt(answer.body, context=_context(scope)) if answer.secret else answer.body
    headers = msgspec.json.encode(answer.headers).decode()
    return Kept(digest.value, answer.status, headers, stored, answer.secret)


def _context(scope: Scope) -> str:
    return body_context(*scope)
