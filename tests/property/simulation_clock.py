"""A clock that stands still unless it is told to go on."""

import time
from datetime import UTC, datetime, timedelta

from shared.db import Clock

#: Far off, so that a real database that sees these times finds nothing due by itself.
_EPOCH = datetime(2100, 1, 1, tzinfo=UTC)


class VirtualClock(Clock):
    """Stands in for Postgres's clock; ``seconds`` since its epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def time(self) -> float:
        return self.now().timestamp()

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.seconds)

    def at(self, monotonic: float) -> datetime:
        """A moment of ``time.monotonic()``, to a tenth of a second: what the code itself takes does not count."""
        return self.now() + timedelta(seconds=round(monotonic - time.monotonic(), 1))

    def seconds_of(self, moment: datetime) -> float:
        """The virtual second of a moment."""
        return (moment - _EPOCH).total_seconds()
