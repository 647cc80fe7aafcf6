"""The probe routes of every process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from shared import probes
from shared.probes import Check, serve_probes


@asynccontextmanager
async def _served(**checks: Check) -> AsyncIterator[aiohttp.ClientSession]:
    served = await serve_probes("127.0.0.1", 0, checks)
    async with aiohttp.ClientSession(f"http://127.0.0.1:{served.port}") as session:
        yield session
    await served.close()


async def _fine() -> str | None:
    return None


async def _away() -> str | None:
    return "not connected"


async def _broken() -> str | None:
    raise ValueError("postgresql://edgewise:hunter22@db")


async def _hangs() -> str | None:
    await asyncio.Event().wait()
    return None


async def test_ready_means_that_nothing_is_missing() -> None:
    """With every check passed /readyz is 200."""
    async with _served(postgres=_fine) as session, session.get("/readyz") as answer:
        assert answer.status == 200
        assert await answer.json() == {"status": "ready"}


async def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that fails, breaks or hangs makes /readyz 503 and says which, without the text of an exception."""
    monkeypatch.setattr(probes, "_CHECK_SECONDS", 0.05)
    async with _served(a=_fine, b=_away, c=_broken, d=_hangs) as session, session.get("/readyz") as answer:
        assert answer.status == 503
        assert await answer.json() == {
            "status": "unready",
            "missing": {"b": "not connected", "c": "ValueError", "d": "no answer within 0.05 s"},
        }


async def test_alive_asks_nobody() -> None:
    """/healthz is 200 while everything the process needs is away: a restart would not help."""
    async with _served(postgres=_hangs) as session, session.get("/healthz") as answer:
        assert answer.status == 200


async def test_metrics_are_in_the_text_format() -> None:
    """/metrics is what Prometheus scrapes."""
    async with _served() as session, session.get("/metrics") as answer:
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert "# TYPE process_" in await answer.text()


async def test_a_port_in_use_is_an_error() -> None:
    """Two servers can't have the same port."""
    served = await serve_probes("127.0.0.1", 0, {})
    try:
        with pytest.raises(OSError, match="address already in use"):
            await serve_probes("127.0.0.1", served.port, {})
    finally:
        await served.close()
