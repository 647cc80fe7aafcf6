"""Blocking work of nodes, in threads of its own that can hold neither the event loop nor the end of the process.

The loop's default executor is not used: a function that never returns would take a thread away from the look-up of
names, and Python waits at its end for every thread of an executor.
"""

import asyncio
import ctypes
import time
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from threading import Thread, get_ident
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from shared.errors import StepFailedError

T = TypeVar("T")

#: Threads at the same time, for each event loop. What was given up waiting for keeps its own until it returns.
LIMIT: Final = 16

_gates: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]" = WeakKeyDictionary()


#: Seconds between two looks at the clock of a thread.
_PAUSE: Final = 0.05
_raise_in: Final = ctypes.pythonapi.PyThreadState_SetAsyncExc


class _Overtime(BaseException):
    """Ends work whose time is over; no `Exception`, since that work is not to handle it."""


async def in_thread(work: Callable[[], T], *, seconds: float | None = None) -> T:
    """What ``work`` returns or raises; when `LIMIT` others run, it waits for one of them to return.

    A caller that is cancelled leaves the work to run to its end, unheard.

    Args:
        work: blocking.
        seconds: processor time that it may take; None: as long as it likes. This is for code in Python, such as
            parsers, that strangers keep busy: nothing ends a thread within a call of C.

    Raises:
        StepFailedError: ``too_slow`` if it takes longer.
    """
    loop = asyncio.get_running_loop()
    if seconds is not None:
        work = partial(_Watch(loop, seconds).over, work)
    gate = _gates.setdefault(loop, asyncio.Semaphore(LIMIT))
    await gate.acquire()
    ended: asyncio.Future[Callable[[], T]] = loop.create_future()
    try:
        _start(work, lambda outcome: _hand_over(loop, gate, ended, outcome))
    except BaseException:
        gate.release()
        raise
    return (await ended)()


class _Watch:
    """Ends the work of one thread when its processor time is over, as often as it takes: finalizers swallow exceptions.

    It relies on CPython: threads switch only where a thread looks for exceptions from others as well. So none is sent
    to a thread whose work has ended, since nothing comes between that end and ``_ident = None``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._ident: int | None = None
        self._clock = 0

    def over(self, work: Callable[[], T]) -> T:
        """What the work returns or raises; runs in the thread.

        Raises:
            StepFailedError: ``too_slow``.
        """
        ident = get_ident()
        self._clock = time.pthread_getcpuclockid(ident)
        try:
            try:
                self._ident = ident
                self._loop.call_soon_threadsafe(self._wait, self._seconds)
                return work()
            finally:
                self._ident = None
        except _Overtime:
            message = f"The work on what the step was given takes more than {self._seconds:g} s of processor time."
            raise StepFailedError("too_slow", message) from None

    def _wait(self, seconds: float) -> None:
        self._loop.call_later(max(seconds, _PAUSE), self._look)

    def _look(self) -> None:
        if self._ident is None:
            return
        left = self._seconds - time.clock_gettime(self._clock)  # of a thread that began with the work
        if left <= 0:
            _raise_in(ctypes.c_ulong(self._ident or 0), ctypes.py_object(_Overtime))
        self._wait(left)


def _start(work: Callable[[], T], tell: Callable[[Callable[[], T]], None]) -> None:
    context = copy_context()
    Thread(target=lambda: tell(_outcome(lambda: context.run(work))), name="node", daemon=True).start()


def _outcome(work: Callable[[], T]) -> Callable[[], T]:
    """Run it, and give a function that returns or raises what it did."""
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 — whatever ends the thread is the caller's to judge
        failure = error

        def fail() -> T:
            raise failure

        return fail
    return lambda: result


def _hand_over(
    loop: asyncio.AbstractEventLoop,
    gate: asyncio.Semaphore,
    ended: "asyncio.Future[Callable[[], T]]",
    outcome: Callable[[], T],
) -> None:
    def finish() -> None:
        gate.release()
        if not ended.done():
            ended.set_result(outcome)

    if not loop.is_closed():
        loop.call_soon_threadsafe(finish)
