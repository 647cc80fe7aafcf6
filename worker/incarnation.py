"""The lease of a worker: an identity that heartbeats, and what happens when it is lost.

The heartbeat runs on the event loop that does the work and on a connection of its own, so it beats only while the
process really works. A dead incarnation stays dead: all work is dropped and a new one begins.
"""

import asyncio
import os
import socket
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Protocol
from uuid import UUID

import asyncpg
import structlog

from shared.db import DATABASE_ERRORS
from shared.metrics import INCARNATIONS_LOST
from shared.queries import load
from shared.store.taken import release, surrender

_log = structlog.get_logger(__name__)
_SQL = load("incarnations")

#: Seconds between two heartbeats.
BEAT = 1.0
#: Seconds at the end for the database to hear of it.
_LAST_WORDS = 1.0


class Holdings(Protocol):
    """What this worker holds in memory, compared with the database at each heartbeat."""

    def compare(self, asked_at: float, held: dict[UUID, bool]) -> list[UUID]:
        """Take note of what the database says.

        Args:
            asked_at: monotonic time before the database was asked: what was entered later is not judged.
            held: claim ids, and whether the step is to be stopped.

        Returns:
            Claim ids that the database has and memory has not; they are released.
        """
        ...

    def begun(self, claims: Iterable[UUID]) -> list[UUID]:
        """Those of these claims whose effect began here, so that they count as crashed."""
        ...

    def drop(self) -> None:
        """Abort everything: this incarnation is dead."""
        ...


class Incarnation:
    """The identity under which this worker claims.

    Args:
        database_url: for the connection of its own.
        lease: seconds without a heartbeat after which others take its steps.
        new_id: a fresh id.
        holdings: what the worker holds.
    """

    def __init__(
        self,
        database_url: str,
        *,
        lease: float,
        new_id: Callable[[], UUID],
        holdings: Holdings,
    ) -> None:
        self._url = database_url
        self._lease = lease
        self._new_id = new_id
        self._holdings = holdings
        self._connection: asyncpg.Connection | None = None
        self._last_beat = 0.0
        self._beaten = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.id = new_id()

    async def start(self) -> None:
        """Register, and heartbeat from now on."""
        await self._connected()
        await self._register(self.id)
        self._task = asyncio.create_task(self._beat_forever(), name="heartbeat")

    async def stop(self) -> None:
        """End in good order."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        try:
            async with asyncio.timeout(_LAST_WORDS):  # a database that is away must not hold the process
                connection = await self._connected()
                await connection.execute(_SQL["retire"], self.id)
                await connection.close()
        except DATABASE_ERRORS:
            self._abandon_connection()

    def is_fresh(self) -> bool:
        """Whether an effect may start: the last heartbeat is younger than half a lease."""
        return time.monotonic() - self._last_beat < self._lease / 2

    async def fresh(self) -> UUID:
        """Wait until an effect may start; gives the incarnation that lives then."""
        while not self.is_fresh():
            self._beaten.clear()
            await self._beaten.wait()
        return self.id

    async def _connected(self) -> asyncpg.Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(
                self._url,
                timeout=self._lease / 2,
                command_timeout=self._lease / 2,
                server_settings={"application_name": "edgewise-heartbeat"},
            )
        return self._connection

    async def _register(self, incarnation_id: UUID) -> None:
        connection = await self._connected()
        sent_at = time.monotonic()
        await connection.execute(_SQL["register"], incarnation_id, socket.gethostname(), os.getpid())
        self.id = incarnation_id  # not before it has its row: nothing is claimed for nobody
        self._alive(sent_at)

    def _alive(self, sent_at: float) -> None:
        # The lease counts from when the beat was sent, not from when its answer came.
        self._last_beat = sent_at
        self._beaten.set()

    async def _beat_forever(self) -> None:
        while True:
            began = time.monotonic()
            try:
                await self._beat()
            except DATABASE_ERRORS as error:
                _log.warning("heartbeat failed", error=repr(error))
                self._abandon_connection()
            except Exception:  # noqa: BLE001 — a heart that stops beating would make this worker a zombie
                _log.exception("heartbeat broke")
                self._abandon_connection()
            await asyncio.sleep(max(0.05, BEAT - (time.monotonic() - began)))

    def _abandon_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _beat(self) -> None:
        connection = await self._connected()
        asked_at = time.monotonic()
        if not await connection.fetchval(_SQL["beat"], self.id):
            await self._begin_anew()
            return
        self._alive(asked_at)
        held = {row["claim_id"]: row["stop"] for row in await connection.fetch(_SQL["held"], self.id)}
        unknown = self._holdings.compare(asked_at, held)
        if unknown:
            await self._release(connection, unknown)

    async def _release(self, connection: asyncpg.Connection, unknown: list[UUID]) -> None:
        _log.warning("releasing steps that are held but not known here", steps=len(unknown))
        begun = self._holdings.begun(unknown)
        if begun:
            await surrender(connection, begun, self.id)
        await release(connection, [claim_id for claim_id in unknown if claim_id not in begun], self.id)

    async def _begin_anew(self) -> None:
        _log.error("declared dead; dropping all work and beginning anew", incarnation=str(self.id))
        INCARNATIONS_LOST.inc()
        self._holdings.drop()
        await self._register(self._new_id())
