"""What a workload is, what it measures, and what became of it."""

from collections.abc import Awaitable, Callable, Sequence
from statistics import quantiles

import msgspec

from tests.bench.meters import Reading
from tests.bench.system import System


class SkippedError(Exception):
    """A workload that this machine cannot show anything about; the message says why."""


class Options(msgspec.Struct, frozen=True):
    """How long to measure, and at what size.

    Attributes:
        seconds: of each repeat of a workload that goes on.
        repeats: of each workload.
        rows: finished runs in the database, of workload 10.
        steps: after which memory is compared, of workload 13.
        schedules: of workload 9.
    """

    seconds: float = 5.0
    repeats: int = 3
    rows: int = 1_000_000
    steps: int = 100_000
    schedules: int = 100_000


class Figure(msgspec.Struct, frozen=True):
    """One line of the table of targets.

    Attributes:
        number: of the workload in the table.
        name: unique among all figures.
        reach, aim: the targets, in ``unit``.
        higher: whether more is better.
        floor: in words, what the floor is.
    """

    number: int
    name: str
    unit: str
    reach: float
    aim: float
    higher: bool = False
    floor: str = ""


class Measured(msgspec.Struct):
    """What one repeat came to.

    Attributes:
        values: by the figure's name.
        floors: likewise, of those that have one.
        spent: by the whole system on ``runs`` runs.
        parts: what parts of the system do by themselves, by name and unit; floors are made of them.
        sizes: by the figure's name, at what size it was measured where that is up to the caller.
        spreads: `percentiles` of what was taken many times, by name; a floor's are named ``floor: `` and the name.
    """

    values: dict[str, float]
    floors: dict[str, float] = {}
    spent: Reading | None = None
    runs: int = 0
    parts: dict[str, float] = {}
    spreads: dict[str, list[float]] = {}
    sizes: dict[str, str] = {}


class Workload(msgspec.Struct, frozen=True):
    """What is done, and which figures come of it.

    ``measure`` raises `SkippedError` where the machine does not allow it.
    """

    title: str
    figures: tuple[Figure, ...]
    measure: Callable[[System, Options], Awaitable[Measured]]


def percentiles(seconds: Sequence[float]) -> list[float]:
    """The 1st to the 99th percentile, in milliseconds."""
    return [1000 * cut for cut in quantiles(seconds, n=100)]
