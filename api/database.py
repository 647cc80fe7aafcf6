"""Borrowing a connection for a request; a database that is away becomes an answer that says when to come back."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg

from shared.db import CONNECTION_ERRORS, PASSING_ERRORS, Connection
from shared.errors import UnavailableError

#: Seconds to wait for a free connection.
_PATIENCE: Final = 5.0
_RETRY_AFTER: Final = 2


@asynccontextmanager
async def reading(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection without a transaction.

    Raises:
        UnavailableError: if the database is away or too busy.
    """
    try:
        async with pool.acquire(timeout=_PATIENCE) as connection:
            yield connection
    except PASSING_ERRORS as error:  # a full disk and a standby among them
        raise UnavailableError(
            "database_busy", "The database was too busy for this request; repeat it.", retry_after=_RETRY_AFTER
        ) from error
    except CONNECTION_ERRORS as error:
        raise UnavailableError(
            "database_unavailable", "The database did not answer; repeat the request.", retry_after=_RETRY_AFTER
        ) from error


@asynccontextmanager
async def writing(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection in a transaction, committed when the block ends without an error.

    Raises:
        UnavailableError: if the database is away or too busy. A commit that was under way may have happened.
    """
    async with reading(pool) as connection, connection.transaction():
        yield connection


@asynccontextmanager
async def snapshot(pool: asyncpg.Pool) -> AsyncIterator[Connection]:
    """A connection whose statements all see the same moment: what belongs together fits together.

    Raises:
        UnavailableError: if the database is away or too busy.
    """
    async with reading(pool) as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        yield connection
