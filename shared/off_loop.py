"""Work on large definitions, off the event loop: beside it, requests and heartbeats go on.

Templates take some 6 microseconds a character to parse, and some are parsed three times. One such work runs at a time
in a process, so that the loop shares the interpreter with one thread and not with many.
"""

import asyncio
from collections.abc import Callable
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

#: Characters of a definition as JSON that is worked on at once: up to a tenth of a second.
LARGE: Final = 16 * 1024

_gates: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


async def off_loop(work: Callable[[], T], size: int) -> T:
    """What ``work`` returns or raises; done at once if it is on no more than `LARGE` characters, else in a thread.

    Args:
        work: touches nothing of the loop.
        size: characters of the definition.
    """
    if size <= LARGE:
        return work()
    gate = _gates.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(1))
    async with gate:
        return await asyncio.to_thread(work)
