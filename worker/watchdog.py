"""Ends a worker whose event loop hangs, so that its supervisor starts another.

A node that never returns holds the loop: no heartbeat, no claim, no stop. Others take the steps over once the lease has
run out; this process would be lost for good.
"""

import asyncio
import faulthandler
import os
import sys
import threading
from contextlib import suppress
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

#: The exit status of a worker whose loop hung.
STATUS: Final = 86
#: Leases without a turn of the loop after which it counts as hung, and looks per lease.
_LEASES: Final = 3
_LOOKS: Final = 4


class Watchdog:
    """Looks at a loop from a thread of its own.

    It counts its own looks and not the time: while the process is stopped (SIGSTOP, a suspended machine) it does not
    look either, so that is no hang. C code that never lets go of the interpreter stops it too.

    Args:
        loop: is to answer each look before the next.
        lease: seconds.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, lease: float) -> None:
        self._loop = loop
        self._pause = lease / _LOOKS
        self._stopping = threading.Event()
        self._answered = True
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Look from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopping.set()

    def _watch(self) -> None:
        missed = 0
        while not self._stopping.wait(self._pause):
            missed = 0 if self._answered else missed + 1
            if missed >= _LEASES * _LOOKS:
                self._end()
            if self._answered:
                self._answered = False
                with suppress(RuntimeError):  # the loop is closed, and the process about to end
                    self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered = True

    def _end(self) -> None:
        _log.critical("the event loop hangs; this worker ends", status=STATUS)
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        os._exit(STATUS)
