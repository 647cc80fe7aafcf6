"""Time for tests that compare lengths of time."""

import asyncio
import selectors
from typing import Any


class _Skipping(selectors.SelectSelector):
    """Waits for nothing, and counts how long it would have waited."""

    seconds = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.seconds += timeout or 0.0
        return super().select(0)


class Unhurried(asyncio.SelectorEventLoop):
    """A loop whose clock moves while there is nothing to do and at no other time, however busy the machine is."""

    def __init__(self) -> None:
        self._skipping = _Skipping()
        super().__init__(self._skipping)

    def time(self) -> float:
        return self._skipping.seconds
