"""The api process: it starts, serves, and stops without dropping what is in flight."""

import asyncio
import os
import signal
from typing import Any

import aiohttp
import asyncpg
import pytest

from api.main import serve
from deploy.ports import Ports
from tests.api_client import config, token, workflow


async def _answering(url: str) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(f"{url}/readyz") as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0)


async def test_sigterm_finishes_what_is_in_flight(database_url: str, broker_url: str, ports: Ports) -> None:
    """After SIGTERM a request that had begun is answered, new connections are refused, and the process ends."""
    settings = config(database_url, broker_url, port=ports.any(), grace_seconds=10)
    url = f"http://127.0.0.1:{settings.port}"
    process = asyncio.create_task(serve(settings))
    blocker = await asyncpg.connect(database_url)
    try:
        await asyncio.wait_for(_answering(url), 15)
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE workflows")
            request = asyncio.create_task(_create(url))
            await _waits_for_lock(blocker)
            os.kill(os.getpid(), signal.SIGTERM)
            await _refused(url)
        assert await request == 201
        await asyncio.wait_for(process, 15)
    finally:
        await blocker.close()
        process.cancel()


async def _create(url: str) -> int:
    headers = {"Authorization": f"Bearer {token()}"}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{url}/workflows", json=workflow(), headers=headers) as response,
    ):
        return response.status


async def _waits_for_lock(connection: asyncpg.Connection) -> None:
    while not await connection.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
        pass


async def _refused(url: str) -> None:
    """Wait until nobody listens any more."""
    while True:
        async with aiohttp.ClientSession() as http:
            try:
                async with http.get(f"{url}/healthz"):
                    await asyncio.sleep(0)
            except aiohttp.ClientConnectionError:
                return


async def test_a_taken_port_is_an_error(make_api: Any, database_url: str, broker_url: str) -> None:
    """Two processes on one port: the second says so instead of hanging."""
    first = await make_api()
    taken = first.http._base_url.port
    with pytest.raises(OSError, match="in use"):
        await asyncio.wait_for(serve(config(database_url, broker_url, port=taken)), 15)


async def test_the_first_database_may_come_late(broker_url: str, ports: Ports) -> None:
    """Without a database the process waits for it, and SIGTERM ends the waiting."""
    away = f"postgresql://nobody@127.0.0.1:{ports.any()}/none"
    process = asyncio.create_task(serve(config(away, broker_url, port=ports.any())))
    handlers = asyncio.get_running_loop()._signal_handlers  # type: ignore[attr-defined]
    while not handlers:  # noqa: ASYNC110 — nothing tells that a handler was set
        await asyncio.sleep(0)
    assert not process.done()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(process, 15)


async def test_workflows_survive_a_restart(make_api: Any) -> None:
    """What one process stored another one serves: nothing is kept in memory only."""
    first = await make_api()
    made = (await first.call("POST", "/workflows", workflow("webhook_trigger"))).json
    second = await make_api()
    assert (await second.call("GET", f"/workflows/{made['id']}")).json == made
