"""What integration tests share: an api over a real Postgres and a real broker, a worker, and strangers."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest
from aiohttp import ClientSession

from api.main import Api
from shared.authorizations.authorizer import Authorizer
from shared.db import open_pool
from shared.egress.client import EgressClient
from shared.nodes import soap_request
from shared.nodes.soap_documents import Descriptions
from tests import outward
from tests.api_client import PUBLIC_URL, ApiClient, config, token
from tests.authorizing import CALLBACK
from tests.engine import Engine
from tests.presenting import authorizer
from tests.provider import Provider, serving
from tests.rows import assert_sound
from tests.soap import Stock


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
async def pool(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    """Connections of a service."""
    made = await open_pool(database_url, size=4, name="test")
    yield made
    await made.close()


@pytest.fixture
async def api(make_api: Callable[..., Awaitable[ApiClient]]) -> ApiClient:
    """An api as it is configured by default."""
    return await make_api()


@pytest.fixture
async def engine(database_url: str) -> AsyncIterator[Engine]:
    """A worker without its queue."""
    async with Engine.running(database_url) as engine:
        yield engine
        await assert_sound(engine.outside)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """An OAuth2 provider that sends browsers back to the api."""
    async with serving(f"{PUBLIC_URL}{CALLBACK}") as one:
        yield one


@pytest.fixture
async def egress() -> AsyncIterator[EgressClient]:
    """The client of a worker whose operator allows this machine."""
    async with outward.outward(allow="127.0.0.1") as client:
        yield client


@pytest.fixture
async def stock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stock]:
    """A SOAP service, and a worker that has read no description yet."""
    monkeypatch.setattr(soap_request, "_descriptions", Descriptions())
    service = Stock()
    async with outward.serving(service) as base:
        service.base = base
        yield service


@pytest.fixture
async def workers(database_url: str) -> AsyncIterator[list[Authorizer]]:
    """What two workers present authorizations with."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(authorizer(database_url)) for _ in range(2)]
