"""What the three processes do alike: run on uvloop until told to stop, and wait for a database that is not there."""

import asyncio
import ctypes
import gc
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

import asyncpg
import structlog
import uvloop

from shared.db import DATABASE_ERRORS, open_pool
from shared.metrics import announce_build

_log = structlog.get_logger(__name__)

#: Seconds between two attempts to reach the database, and for its connections to close.
_PAUSE: Final = 1.0
#: Objects made and not freed before the youngest are looked through for cycles, and how often that is done before the
#: older ones are. Python's own (700, 10, 10) costs 4% of the api's time; a cycle that holds a payload lives longer now.
_COLLECT: Final = (5_000, 20, 20)

#: Parameters of glibc's allocator (`mallopt`): freed bytes at the end of the heap beyond which they go back to the
#: kernel, and from which size on a block is mapped by itself. Left alone, each copy of a body of 160 KB is memory that
#: the kernel clears page by page and takes back: a third of what such a request costs the api.
_ALLOCATOR: Final = {-1: 16 * 1024 * 1024, -3: 8 * 1024 * 1024}

Serve = Callable[[asyncpg.Pool, asyncio.Event], Awaitable[None]]


def run(service: Coroutine[Any, Any, None]) -> None:
    """Run a service on a loop of its own, to its end."""
    settle()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(service)


async def live(name: str, serve: Serve, database_url: str, **options: Any) -> None:
    """The life of a service on this loop: until SIGTERM or SIGINT.

    Args:
        name: api, scheduler or worker.
        serve: given a pool and the event that tells it to stop; returns when it has stopped.
        database_url: of the pool.
        options: further arguments of `shared.db.open_pool`.
    """
    announce_build(name)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    pool = await _patiently(lambda: open_pool(database_url, name=name, **options), stopping)
    if pool is None:
        return
    try:
        await serve(pool, stopping)
    finally:
        await _close(pool)


def settle() -> None:
    """Leave what is imported out of every later search for cycles, and keep memory that is used again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT)
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # there is none but in glibc
    if mallopt is not None:
        for parameter, value in _ALLOCATOR.items():
            mallopt(parameter, value)


async def _close(pool: asyncpg.Pool) -> None:
    """Close the pool; statements that a database still owes an answer do not hold the process."""
    try:
        async with asyncio.timeout(_PAUSE):
            await pool.close()
    except TimeoutError:
        pool.terminate()


async def _patiently(open_: Callable[[], Awaitable[asyncpg.Pool]], stopping: asyncio.Event) -> asyncpg.Pool | None:
    """Open the pool, waiting for a database that is not there yet; None if told to stop first."""
    while not stopping.is_set():
        try:
            return await open_()
        except DATABASE_ERRORS as error:
            _log.warning("waiting for the database", error=repr(error))
        try:
            await asyncio.wait_for(stopping.wait(), timeout=_PAUSE)
        except TimeoutError:
            continue
    return None
