"""Connections to Postgres: the pool, and Postgres's clock.

Nothing here depends on session state (no SET, LISTEN, temporary tables or session locks), so a PgBouncer in transaction
mode may stand between.
"""

import asyncio
import time
from datetime import UTC, datetime
from typing import Any, Protocol, TypeAlias

import asyncpg

#: A connection, as a pool lends it or on its own.
Connection: TypeAlias = "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy"

#: What tells that the connection, not the statement, failed: the outcome of a commit may be unknown.
CONNECTION_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a backend's farewell that is being read when the next statement is to go out
    asyncpg.exceptions.CannotConnectNowError,
    asyncpg.exceptions.AdminShutdownError,
    asyncpg.exceptions.CrashShutdownError,
    asyncpg.exceptions.TooManyConnectionsError,
)

#: What may pass: the statement was refused whole, and the same statement may succeed a moment later.
PASSING_ERRORS: tuple[type[Exception], ...] = (
    asyncpg.DeadlockDetectedError,
    asyncpg.LockNotAvailableError,
    asyncpg.SerializationError,
    asyncpg.QueryCanceledError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
)

#: Everything that a statement can end in besides its rows.
DATABASE_ERRORS: tuple[type[Exception], ...] = (*CONNECTION_ERRORS, asyncpg.PostgresError)

#: Seconds a statement of a request or a batch may take before it counts as a failed connection.
STATEMENT_TIMEOUT = 30.0


class Executes(Protocol):
    """A connection, or a pool that lends one for a statement."""

    async def fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """Run a statement and give its rows."""
        ...

    async def execute(self, query: str, *args: Any) -> str:
        """Run a statement."""
        ...


async def open_pool(url: str, *, size: int, name: str, statement_timeout: float = STATEMENT_TIMEOUT) -> asyncpg.Pool:
    """Open a pool of up to ``size`` connections.

    Args:
        url: of the database, or of a PgBouncer in front of it.
        size: the most connections.
        name: shown as ``application_name``.
        statement_timeout: seconds.
    """
    return await asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        command_timeout=statement_timeout,
        max_inactive_connection_lifetime=300,
        reset=_leave_as_it_is,
        server_settings={"application_name": f"edgewise-{name}"},
    )


async def _leave_as_it_is(_: asyncpg.Connection) -> None:
    """There is no session state to reset; asyncpg's own way costs a transaction for every statement of ours."""


class Clock:
    """Postgres's clock, read without asking it each time.

    The offset to this machine's monotonic clock is measured by `sync`; until the first one the machine's own time is
    used. Half the round trip bounds the error.
    """

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    async def sync(self, connection: "asyncpg.Connection | asyncpg.pool.PoolConnectionProxy") -> None:
        """Measure the offset; the least round trip of three counts."""
        best = float("inf")
        for _ in range(3):
            before = time.monotonic()
            there: datetime = await connection.fetchval("SELECT clock_timestamp()")
            after = time.monotonic()
            if after - before < best:
                best = after - before
                self._offset = there.timestamp() - (before + after) / 2

    def time(self) -> float:
        """Unix time in seconds."""
        return time.monotonic() + self._offset

    def milliseconds(self) -> int:
        """Unix time in milliseconds, for `shared.ids.Mint`."""
        return int(self.time() * 1000)

    def microseconds(self, monotonic: float | None = None) -> int:
        """Unix time in microseconds, now or at a moment of ``time.monotonic()``."""
        return int(((time.monotonic() if monotonic is None else monotonic) + self._offset) * 1_000_000)

    def now(self) -> datetime:
        """The time as an aware UTC datetime."""
        return datetime.fromtimestamp(self.time(), UTC)

    def at(self, monotonic: float) -> datetime:
        """The UTC time of a moment of ``time.monotonic()``."""
        return datetime.fromtimestamp(monotonic + self._offset, UTC)


async def keep_in_step(clock: Clock, pool: asyncpg.Pool, *, every: float = 30.0) -> None:
    """Measure the clock's offset again and again; runs until cancelled."""
    while True:
        await asyncio.sleep(every)
        try:
            async with pool.acquire() as connection:
                await clock.sync(connection)
        except DATABASE_ERRORS:
            continue
