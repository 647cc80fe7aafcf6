"""What integration tests share: an api served over a real Postgres and a real broker."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession

from api.main import Api
from shared.db import open_pool
from tests.api_client import ApiClient, config, token


@pytest.fixture
async def make_api(database_url: str, broker_url: str) -> AsyncIterator[Callable[..., Awaitable[ApiClient]]]:
    """Serves an api with changes of its configuration; all on the test's own database."""
    async with AsyncExitStack() as stack:

        async def make(**changes: Any) -> ApiClient:
            settings = config(**{"database_url": database_url, "broker_url": broker_url, **changes})
            pool = await open_pool(settings.database_url, size=settings.api_pool, name="api")
            stack.push_async_callback(pool.close)
            served = await Api.start(settings, pool)
            stack.push_async_callback(served.stop)
            port = await served.listen("127.0.0.1", 0)
            http = await stack.enter_async_context(ClientSession(f"http://127.0.0.1:{port}"))
            return ApiClient(served, http, token())

        yield make


@pytest.fixture
async def api(make_api: Callable[..., Awaitable[ApiClient]]) -> ApiClient:
    """An api as it is configured by default."""
    return await make_api()
