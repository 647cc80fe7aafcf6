"""What the repeats came to. As JSON it holds every repeat, so that tables and plots need no second measurement."""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from tests.bench.figures import Figure, Measured, Workload


class Line(msgspec.Struct, kw_only=True):
    """A figure over all repeats.

    Attributes:
        values: one of each repeat.
        spread: from the least to the most, by the median.
        floors: likewise one of each repeat, or none at all; ``floor`` is their median.
        ratio: value by floor, repeat by repeat, then the median.
        verdict: ``aim``, ``reach`` or ``below``: what the median meets.
    """

    number: int
    name: str
    unit: str
    higher: bool
    values: list[float]
    median: float
    least: float
    most: float
    spread: float
    floors: list[float]
    floor: float | None
    floor_is: str
    ratio: float | None
    reach: float
    aim: float
    verdict: str


class Cost(msgspec.Struct, kw_only=True):
    """What a run of a workload cost: the median over all repeats; CPU in microseconds by process."""

    number: int
    workload: str
    runs: int
    cpu_us: dict[str, float]
    statements: float
    commits: float
    transactions: float
    wal_bytes: float
    redis_calls: float
    messages: float


class Part(msgspec.Struct):
    """A workload as it was measured: the numbers and names of its figures, and every repeat."""

    title: str
    figures: list[Line]
    cost: Cost | None
    repeats: list[Measured]


class Report(msgspec.Struct):
    """Everything that one benchmark found.

    Attributes:
        about: the machine, and what was asked for.
        skipped: why a workload was left out, by its title.
    """

    about: dict[str, Any]
    workloads: list[Part] = []
    skipped: dict[str, str] = {}

    def add(self, workload: Workload, repeats: Sequence[Measured]) -> None:
        """Take in a workload's repeats."""
        lines = [line(figure, repeats) for figure in workload.figures]
        self.workloads.append(Part(workload.title, lines, cost(workload, repeats), list(repeats)))

    @property
    def lines(self) -> list[Line]:
        """Every figure, in the order of the table of targets."""
        return sorted((one for part in self.workloads for one in part.figures), key=lambda one: one.number)

    @property
    def costs(self) -> list[Cost]:
        """Of each workload that counted them."""
        return sorted((part.cost for part in self.workloads if part.cost is not None), key=lambda one: one.number)

    @property
    def bare(self) -> dict[str, float]:
        """What the parts of the system do by themselves: the median over all repeats."""
        return {
            name: median(one.parts[name] for one in part.repeats)
            for part in self.workloads
            for name in part.repeats[0].parts
        }

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.format(msgspec.json.encode(self)))


def read(path: Path) -> Report:
    """What `Report.write` wrote."""
    return msgspec.json.decode(path.read_bytes(), type=Report)


def line(figure: Figure, repeats: Sequence[Measured]) -> Line:
    """One figure over all repeats."""
    values = [one.values[figure.name] for one in repeats]
    floors = [one.floors[figure.name] for one in repeats if figure.name in one.floors]
    middle = median(values)
    size = repeats[0].sizes.get(figure.name)
    return Line(
        number=figure.number,
        name=f"{figure.name} ({size})" if size else figure.name,
        unit=figure.unit,
        higher=figure.higher,
        values=values,
        median=middle,
        least=min(values),
        most=max(values),
        spread=(max(values) - min(values)) / middle if middle else 0.0,
        floors=floors,
        floor=median(floors) if floors else None,
        floor_is=figure.floor,
        ratio=median(value / floor for value, floor in zip(values, floors, strict=True)) if floors else None,
        reach=figure.reach,
        aim=figure.aim,
        verdict=_verdict(figure, middle),
    )


def cost(workload: Workload, repeats: Sequence[Measured]) -> Cost | None:
    """What a run of a workload cost; None if it did not count that."""
    counted = [(one.spent, one.runs) for one in repeats if one.spent is not None and one.runs]
    if not counted:
        return None

    def per_run(name: str) -> float:
        return median(float(getattr(spent, name)) / runs for spent, runs in counted)

    names = sorted(set().union(*(spent.cpu for spent, _ in counted)))
    return Cost(
        number=workload.figures[0].number,
        workload=workload.title,
        runs=sum(runs for _, runs in counted),
        cpu_us={name: median(1e6 * spent.cpu.get(name, 0.0) / runs for spent, runs in counted) for name in names},
        statements=per_run("statements"),
        commits=per_run("commits"),
        transactions=per_run("transactions"),
        wal_bytes=per_run("wal"),
        redis_calls=per_run("redis_calls"),
        messages=per_run("messages"),
    )


def _verdict(figure: Figure, value: float) -> str:
    def meets(target: float) -> bool:
        return value >= target if figure.higher else value <= target

    return "aim" if meets(figure.aim) else "reach" if meets(figure.reach) else "below"
