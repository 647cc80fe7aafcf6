"""What every peer is asked for, and how it is timed. Needs the standard library alone: it runs in the peers' own
environment."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

#: Executions that are under way at once, each followed by the next when it has completed.
WIDTH = 64
#: Steps of the chain.
LENGTH = 10
PAYLOAD = {"name": "ada"}


class Times:
    """When executions began and ended.

    Args:
        seconds: how long new ones are begun.
    """

    def __init__(self, seconds: float) -> None:
        self._began = time.perf_counter()
        self._deadline = self._began + seconds
        self._last = self._began
        self._taken: list[float] = []

    def goes_on(self) -> bool:
        """Whether another one may begin."""
        return time.perf_counter() < self._deadline

    def ended(self, began: float) -> None:
        """One that began then has completed."""
        self._last = time.perf_counter()
        self._taken.append(self._last - began)

    def summary(self, steps: int) -> dict[str, float]:
        """Executions and steps per second, until the last one ended; milliseconds that half, and 99%, took at most."""
        seconds, ordered = self._last - self._began, sorted(self._taken)
        return {
            "executions": len(ordered),
            "executions/s": len(ordered) / seconds,
            "steps/s": len(ordered) * steps / seconds,
            "p50_ms": 1000 * ordered[len(ordered) // 2],
            "p99_ms": 1000 * ordered[len(ordered) * 99 // 100],
        }


def called(execute: Callable[[], Any], seconds: float, steps: int) -> dict[str, float]:
    """For peers whose executions are functions to be called, by a thread each."""
    times = Times(seconds)

    def caller() -> None:
        while times.goes_on():
            began = time.perf_counter()
            execute()
            times.ended(began)

    with ThreadPoolExecutor(WIDTH) as threads:
        for caller_ended in [threads.submit(caller) for _ in range(WIDTH)]:
            caller_ended.result()
    return times.summary(steps)


async def awaited(execute: Callable[[], Awaitable[Any]], seconds: float, steps: int) -> dict[str, float]:
    """For peers whose executions are functions to be awaited."""
    times = Times(seconds)

    async def caller() -> None:
        while times.goes_on():
            began = time.perf_counter()
            await execute()
            times.ended(began)

    await asyncio.gather(*(caller() for _ in range(WIDTH)))
    return times.summary(steps)


def sent(submit: Callable[[str], Any], redis: Any, done: str, seconds: float, steps: int) -> dict[str, float]:
    """For peers whose executions are messages: the last step pushes the execution's name to the list ``done``."""
    times, began = Times(seconds), {}
    number = 0

    def begin() -> None:
        nonlocal number
        number += 1
        began[str(number)] = time.perf_counter()
        submit(str(number))

    for _ in range(WIDTH):
        begin()
    while began:
        answer = redis.blpop(done, timeout=30)
        if answer is None:
            raise RuntimeError(f"{len(began)} executions do not end")
        times.ended(began.pop(answer[1].decode()))
        if times.goes_on():
            begin()
    return times.summary(steps)


def tell(runs: dict[str, float], chain: dict[str, float]) -> None:
    """Hand over what was found, as the last line of output."""
    print(json.dumps({"runs": runs, "chain": chain}), flush=True)
