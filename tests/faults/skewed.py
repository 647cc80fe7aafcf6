"""A scheduler process whose wall clock can be set: `python -m tests.faults.skewed FILE`.

``FILE`` holds the seconds by which its clock is off; it is read whenever the time is asked for. Everything in a
scheduler that reads the wall clock goes through the names that are replaced here: the watchdog and `shared.db.Clock`
through `time.time`, APScheduler and the clockwork through `datetime.now`. The monotonic clock stays, as it does when
an administrator sets the time.
"""

import os
import sys
import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

_true_time = time.time


class Skew:
    """The seconds that a file names; the last that could be read while it is being written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = 0.0

    def __call__(self) -> float:
        text = self._path.read_text()
        if text:
            self._last = float(text)
        return self._last


class _Kind(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


def skewed_datetime(skew: Skew) -> type[datetime]:
    """`datetime` with another `now`; every datetime is an instance of it."""

    class Skewed(datetime, metaclass=_Kind):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return datetime.now(tz) + timedelta(seconds=skew())  # type: ignore[return-value]

    return Skewed


def main() -> None:
    """Set the clock, then be a scheduler."""
    skew = Skew(Path(sys.argv[1]))
    time.time = lambda: _true_time() + skew()
    import apscheduler.executors.base
    import apscheduler.schedulers.asyncio
    import apscheduler.schedulers.base

    from scheduler import clockwork
    from scheduler.main import main as run
    from shared import log
    from shared.config import load

    stepped = skewed_datetime(skew)
    for module in (apscheduler.executors.base, apscheduler.schedulers.base, clockwork):
        vars(module)["datetime"] = stepped
    config = load(os.environ)
    log.configure(config, "scheduler")
    run(config)


if __name__ == "__main__":
    main()
