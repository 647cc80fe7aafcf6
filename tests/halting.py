"""Requests that are stopped in the middle, so that another comes between: a race that takes place each time."""

import asyncio
from collections.abc import Awaitable
from types import ModuleType
from typing import Any

import asyncpg
import pytest

from tests.api_client import Answer
from tests.engine import eventually
from tests.rows import waits_for_locks


class Halt:
    """A function of a module, which waits at its beginning until a test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str) -> None:
        self._function = getattr(module, name)
        self._going = asyncio.Event()
        self.reached = asyncio.Event()
        monkeypatch.setattr(module, name, self)

    async def __call__(self, *arguments: Any, **options: Any) -> Any:
        self.reached.set()
        await self._going.wait()
        return await self._function(*arguments, **options)

    def go_on(self) -> None:
        """Let it begin."""
        self._going.set()


async def meet(
    first: Awaitable[Answer], halt: Halt, second: Awaitable[Answer], database: asyncpg.Connection
) -> tuple[Answer, Answer]:
    """The answers to a request that is stopped there, and to one that comes meanwhile and must wait for it."""
    one = asyncio.ensure_future(first)
    try:
        await asyncio.wait_for(halt.reached.wait(), 10)
        two = asyncio.ensure_future(second)
        await eventually(lambda: waits_for_locks(database))
    finally:
        halt.go_on()
        await one
    return one.result(), await two
