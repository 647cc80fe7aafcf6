"""Walks take turns with everything else of the event loop.

Each step in process has a bounded processor time, but hundreds of steps may be ready at the same moment, and the loop
runs all that is ready before it looks at anything else: the heartbeat, other runs, the watchdog.
"""

import asyncio
import time
from typing import Final

#: Seconds of one pass of the loop after which no further walk begins in it.
BUSY: Final = 0.1


class Pace:
    """Where walks wait before they keep the loop busy; of one event loop."""

    def __init__(self) -> None:
        self._began = 0.0
        self._next: asyncio.Event | None = None

    async def turn(self) -> None:
        """Return at once, unless this pass of the loop has lasted long already; then in one that has not."""
        while self._next is not None and time.monotonic() - self._began >= BUSY:
            await self._next.wait()
        if self._next is None:
            self._began, self._next = time.monotonic(), asyncio.Event()
            asyncio.get_running_loop().call_soon(self._pass)

    def _pass(self) -> None:
        if self._next is not None:
            self._next.set()
            self._next = None
