"""Keeps the requests that made no run: repeats, handshakes and those that were refused.

What made a run is the run's own row and costs nothing here. Nobody waits for what is kept here; a database that stays
away loses it, as it does what is over the bounds. The bounds are for strangers who know a URL: a webhook's requests are
kept whole up to so many bytes, then without body and headers, then only counted. Secrets that the webhook's signatures
are made with are blanked in them.
"""

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg
from aiohttp import web

from api.buckets import Buckets
from api.moments import stamp
from api.webhook_payload import as_base64, compose, in_full
from api.webhook_targets import Hook
from shared import jsontext
from shared.batcher import Batcher
from shared.db import Clock
from shared.errors import EdgewiseError
from shared.ids import Mint
from shared.metrics import DELIVERIES_DROPPED
from shared.redaction import Redactor
from shared.store import deliveries
from shared.store.deliveries import Refused

#: Rows, and bytes of requests, that one webhook may leave at once, and in a day after that, by each process.
_ROWS: Final = 1_000
_ROWS_A_DAY: Final = 20_000
_BYTES: Final = 16 * 1024 * 1024
_BYTES_A_DAY: Final = 32 * 1024 * 1024
_DAY: Final = 86_400.0
#: Webhooks whose bounds are remembered.
_HOOKS: Final = 4_096
#: Rows that may wait for the database, bytes of their requests, and seconds for which they do.
_WAITING: Final = 1_000
_BYTES_WAITING: Final = 64 * 1024 * 1024
_PATIENCE: Final = 5.0
#: Rows of one statement; each may hold a body.
_BATCH: Final = 16


class DeliveryLog:
    """Makes rows of requests. Make it on the loop that uses it, end it with `close`."""

    def __init__(self, pool: asyncpg.Pool, mint: Mint, clock: Clock) -> None:
        self._pool = pool
        self._mint = mint
        self._clock = clock
        self._rows: Buckets[UUID] = Buckets(_HOOKS, _DAY)
        self._bytes: Buckets[UUID] = Buckets(_HOOKS, _DAY)
        self._waiting = 0
        self._batcher: Batcher[Refused, None] = Batcher(
            self._flush, name="deliveries", limit=_BATCH, patience=_PATIENCE
        )

    async def refused(
        self, hook: Hook, request: web.Request, body: bytes | None, error: EdgewiseError, why: str
    ) -> None:
        """Keep a request that is answered with an error; ``body`` is None if it was not read."""
        await self._keep(hook, request, body, (None, error.status, why, error.code))

    async def answered(
        self, hook: Hook, request: web.Request, body: bytes, why: str, *, status: int, run_id: UUID | None = None
    ) -> None:
        """Keep a request that was answered well and made no run: a repeat or a handshake."""
        await self._keep(hook, request, body, (run_id, status, why, None))

    async def close(self) -> None:
        """Write what waits."""
        await self._batcher.drain()

    async def _keep(
        self, hook: Hook, request: web.Request, body: bytes | None, told: tuple[UUID | None, int, str, str | None]
    ) -> None:
        size = self._size(hook, request, body)
        is_busy = self._batcher.backlog >= _WAITING or self._waiting + (size or 0) > _BYTES_WAITING
        if is_busy or self._rows.take(hook.id, _DAY / _ROWS_A_DAY, _ROWS * _DAY / _ROWS_A_DAY):
            DELIVERIES_DROPPED.inc()
            return
        self._waiting += size or 0
        try:
            text, whole = (None, False) if size is None else await self._text(hook, request, body)
            row = Refused(self._mint.uuid(), hook.workspace_id, hook.id, *told, text, whole)
            kept = self._batcher.enqueue(row)
        except BaseException:
            self._waiting -= size or 0
            raise
        kept.add_done_callback(lambda done: self._written(size or 0, done))

    def _written(self, size: int, kept: "asyncio.Future[None]") -> None:
        self._waiting -= size
        if kept.cancelled() or kept.exception() is not None:
            DELIVERIES_DROPPED.inc()

    def _size(self, hook: Hook, request: web.Request, body: bytes | None) -> int | None:
        """Bytes that are kept of a request, at most; None if the webhook has had all of its own."""
        # Twice the body: bytes may be spelt in base64, and headers may be as large as a small body.
        size = 2 * len(body or b"") + 2 * sum(len(name) + len(value) for name, value in request.raw_headers)
        is_over = self._bytes.take(hook.id, size * _DAY / _BYTES_A_DAY, _BYTES * _DAY / _BYTES_A_DAY)
        return None if is_over else size

    async def _text(self, hook: Hook, request: web.Request, body: bytes | None) -> tuple[str, bool]:
        """The request as a run's payload would have it, and whether the body is all there."""
        text, whole = await _composed(hook, request, body, stamp(self._clock.now()))
        # In a thread: a body may be long, and so may a secret.
        return (await asyncio.to_thread(_blanked, text, hook.secrets) if hook.secrets else text), whole

    async def _flush(self, rows: Sequence[Refused], uncertain: bool) -> Sequence[None]:  # noqa: ARG002 — see Batcher
        await deliveries.add(self._pool, rows)
        return [None] * len(rows)


async def _composed(hook: Hook, request: web.Request, body: bytes | None, received_at: str) -> tuple[str, bool]:
    header = "" if hook.rules.signature is None else hook.rules.signature.header
    if body is None:
        return in_full(request, "null", received_at, secret_header=header), False
    try:
        return await compose(request, body, received_at, secret_header=header), True
    except EdgewiseError:
        return in_full(request, as_base64(body), received_at, secret_header=header), False


def _blanked(text: str, secrets: Sequence[str]) -> str:
    """The JSON text without secrets; where none stands in it, it stays as the caller wrote it."""
    redactor = Redactor(secrets)
    if "\\" not in text and redactor.text(text) == text:
        return text
    value = jsontext.decode(text)
    cleaned = redactor.value(value)
    return text if cleaned == value else jsontext.encode(cleaned)
