"""``/healthz``, ``/readyz`` and ``/metrics``: the same three routes on every process.

The api adds them to its own application; scheduler and worker, which listen to nobody else, serve them alone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import msgspec
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

#: Says in a few words what is missing, or None if all is well.
Check = Callable[[], Awaitable[str | None]]

_CHECK_SECONDS = 2.0


class Probes(msgspec.Struct, frozen=True):
    """A running probe server.

    Attributes:
        port: the one it listens on, also when any free one was asked for.
    """

    port: int
    runner: web.AppRunner

    async def close(self) -> None:
        """Stop listening."""
        await self.runner.cleanup()


async def serve_probes(host: str, port: int, checks: Mapping[str, Check]) -> Probes:
    """Serve the three routes.

    Args:
        host: the address to listen on.
        port: 0 for any free one.
        checks: by the name under which ``/readyz`` reports what is missing.

    Raises:
        OSError: if the port is taken.
    """
    app = web.Application()
    add_probe_routes(app, checks)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=1.0)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError:
        await runner.cleanup()
        raise
    return Probes(runner.addresses[0][1], runner)


def add_probe_routes(
    app: web.Application, checks: Mapping[str, Check], reported: Mapping[str, Check] | None = None
) -> None:
    """Add ``/healthz``, ``/readyz`` and ``/metrics`` to an application.

    Args:
        app: that the routes are added to.
        checks: what must be well for ``/readyz`` to answer 200.
        reported: what ``/readyz`` tells about under ``degraded``, and answers 200 without.
    """

    async def readyz(_request: web.Request) -> web.Response:
        missing = await failing(checks)
        degraded = await failing(reported or {})
        told = {"degraded": degraded} if degraded else {}
        if not missing:
            return _answer(200, {"status": "ready", **told})
        return _answer(503, {"status": "unready", "missing": missing, **told})

    app.router.add_get("/healthz", _healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", _metrics)


async def failing(checks: Mapping[str, Check]) -> dict[str, str]:
    """What is missing, by the name of the check; all are run at the same time, each for at most two seconds."""
    results = await asyncio.gather(*(_checked(check) for check in checks.values()))
    return {name: result for name, result in zip(checks, results, strict=True) if result is not None}


async def _checked(check: Check) -> str | None:
    try:
        async with asyncio.timeout(_CHECK_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer within {_CHECK_SECONDS:g} s"
    except Exception as error:  # noqa: BLE001 — whatever breaks a check is what is missing; its text may hold a secret
        return type(error).__name__


async def _healthz(_request: web.Request) -> web.Response:
    return _answer(200, {"status": "alive"})


async def _metrics(_request: web.Request) -> web.Response:
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _answer(status: int, body: Mapping[str, object]) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")
