"""Duties: what the scheduler does again and again, and how each attempt is timed, counted and kept from the others."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import asyncpg
import structlog

from shared.db import CONNECTION_ERRORS
from shared.metrics import DUTY_ERRORS, DUTY_SECONDS

_log = structlog.get_logger(__name__)

#: The most full batches a duty does in one turn.
_ROUNDS: Final = 20
#: Seconds for which a duty that failed rests: doubling from the first to the last, and to the shorter last when it is
#: the database that is away, so that work goes on soon after it is back.
_FIRST_REST, _LAST_REST, _LAST_REST_AWAY = 0.25, 30.0, 2.0


class Duty(NamedTuple):
    """Something to do again and again, by any number of schedulers at once.

    Attributes:
        name: for logs and metrics.
        every: seconds between two turns.
        work: does one batch; returns whether there is more to do at once.
    """

    name: str
    every: float
    work: Callable[[], Awaitable[bool]]


class Duties:
    """Runs duties so that none is stopped by another's error, and all go easy on a database that is away.

    Args:
        on_lost: called when the database could not be reached.
    """

    def __init__(
        self, on_lost: Callable[[], None] | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._on_lost = on_lost
        self._monotonic = monotonic
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, int] = {}
        self._rests_until: dict[str, float] = {}
        self._succeeded_at: dict[str, float] = {}
        self._away = False
        self._launched_at: dict[str, float] = {}
        self._closed = False

    async def turn(self, duty: Duty) -> None:
        """Do a duty as long as there is more, unless it is being done or rests; never raises."""
        task = self.launch(duty)
        if task is not None:
            await asyncio.wait({task})

    def launch(self, duty: Duty) -> "asyncio.Task[None] | None":
        """Begin a turn without waiting for it; None if it is being done or rests, or all is over."""
        if self._closed or duty.name in self._running or self._monotonic() < self._rests_until.get(duty.name, 0.0):
            return None
        task = asyncio.get_running_loop().create_task(self._attempt(duty), name=duty.name)
        self._running[duty.name] = task
        self._launched_at[duty.name] = self._monotonic()
        task.add_done_callback(lambda _: self._running.pop(duty.name))
        return task

    def launch_again(self, duty: Duty, seconds: float) -> None:
        """Begin a turn of a duty that has something to do, unless one began less than so many seconds ago."""
        if self._monotonic() - self._launched_at.get(duty.name, float("-inf")) >= seconds:
            self.launch(duty)

    def stale(self, duty: Duty) -> bool:
        """Whether a duty has not succeeded lately, or never."""
        return self._monotonic() - self._succeeded_at.get(duty.name, float("-inf")) > 15.0 + 3 * duty.every

    async def stop(self, seconds: float) -> None:
        """Begin nothing new, let what is under way finish for so many seconds, and cancel what has not by then."""
        self._closed = True
        if not self._running:
            return
        _, late = await asyncio.wait(self._running.values(), timeout=seconds)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)

    async def _attempt(self, duty: Duty) -> None:
        began = self._monotonic()
        try:
            for _ in range(_ROUNDS):
                if not await duty.work():
                    break
        except CONNECTION_ERRORS as error:
            self._lost(duty, error)
        except Exception as error:  # noqa: BLE001 — whatever breaks one duty must not stop the others
            self._broke(duty, error)
        else:
            self._done(duty)
        DUTY_SECONDS.labels(duty.name).observe(self._monotonic() - began)

    def _done(self, duty: Duty) -> None:
        self._succeeded_at[duty.name] = self._monotonic()
        self._failures.pop(duty.name, None)
        if self._away:
            self._away = False
            _log.info("the database answers again")

    def _lost(self, duty: Duty, error: BaseException) -> None:
        if not self._away:
            _log.warning("the database does not answer; duties rest", duty=duty.name, error=repr(error))
        self._away = True
        self._rest(duty, _LAST_REST_AWAY)
        if self._on_lost is not None:
            self._on_lost()

    def _broke(self, duty: Duty, error: Exception) -> None:
        self._rest(duty, _LAST_REST)
        expected = isinstance(error, asyncpg.PostgresError)
        _log.error(
            "a duty failed and will be tried again",
            duty=duty.name,
            times=self._failures[duty.name],
            error=str(error),
            exc_info=None if expected else error,
        )

    def _rest(self, duty: Duty, longest: float) -> None:
        failures = self._failures[duty.name] = self._failures.get(duty.name, 0) + 1
        self._rests_until[duty.name] = self._monotonic() + min(longest, _FIRST_REST * 2 ** min(failures - 1, 10))
        DUTY_ERRORS.labels(duty.name).inc()
