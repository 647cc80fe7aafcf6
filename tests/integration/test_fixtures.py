"""The fixtures every integration test stands on."""

import asyncpg
import pytest
from redis.asyncio import Redis


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_a_migrated_database_of_its_own(database_url: str, turn: int) -> None:
    """A row that one test writes is not there for the next, and the schema is."""
    connection = await asyncpg.connect(database_url)
    try:
        assert await connection.fetchval("SELECT count(*) FROM workspaces") == 0
        await connection.execute("CREATE TABLE left_behind (turn int)")
    finally:
        await connection.close()


@pytest.mark.parametrize("turn", [1, 2])
async def test_each_test_gets_an_empty_broker(broker_url: str, turn: int) -> None:
    """A key that one test sets is not there for the next."""
    async with Redis.from_url(broker_url) as redis:
        assert await redis.dbsize() == 0
        await redis.set("left-behind", turn)
