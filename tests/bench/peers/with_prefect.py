"""Prefect: flows called in the process that serves requests, against a server on PostgreSQL.

with_prefect.py DATABASE_URL BROKER_URL SECONDS
"""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from typing import Any

from measure import LENGTH, PAYLOAD, awaited, tell

_READY_SECONDS = 120.0


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _await_server(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError("the Prefect server did not start")


async def measure(seconds: float) -> None:
    from prefect import flow, task  # it reads the environment when it is imported

    @task
    async def receive(payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    @task
    async def is_ada(payload: dict[str, Any]) -> bool:
        return bool(payload["name"] == "ada")

    @task
    async def greet(payload: dict[str, Any]) -> str:
        return f"Hello {payload['name']}!"

    @task
    async def nothing(number: int) -> int:
        return number

    @flow
    async def run(payload: dict[str, Any]) -> str | None:
        received = await receive(payload)
        return await greet(received) if await is_ada(received) else None

    @flow
    async def chain() -> None:
        for number in range(LENGTH):
            await nothing(number)

    await run(PAYLOAD)
    runs = await awaited(lambda: run(PAYLOAD), seconds, 3)
    tell(runs, await awaited(chain, seconds, LENGTH))


def main(database_url: str, seconds: float) -> None:
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="edgewise-peer-") as home:
        os.environ |= {
            "DO_NOT_TRACK": "1",
            "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
            "PREFECT_HOME": home,
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url.replace("postgresql:", "postgresql+asyncpg:"),
            "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
        }
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen([*command, "--no-ui"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            _await_server(os.environ["PREFECT_API_URL"], server)
            asyncio.run(measure(seconds))
        finally:
            server.terminate()
            server.wait(30)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[3]))
