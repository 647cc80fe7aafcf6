"""What the repeats came to: as tables for people, and as JSON for comparisons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from tests.bench.figures import Figure, Measured, Workload


class Line(msgspec.Struct):
    """A figure over all repeats; ``ratio`` is its value by its floor, repeat by repeat, then the median."""

    number: int
    name: str
    unit: str
    median: float
    least: float
    most: float
    floor: float | None
    floor_is: str
    ratio: float | None
    reach: float
    aim: float
    verdict: str


class Cost(msgspec.Struct):
    """What a run of a workload cost: the median over all repeats."""

    number: int
    workload: str
    cpu_us: dict[str, float]
    statements: float
    commits: float
    transactions: float
    wal_bytes: float
    redis_calls: float
    messages: float


def line(figure: Figure, repeats: Sequence[Measured]) -> Line:
    """One figure over all repeats."""
    values = [one.values[figure.name] for one in repeats]
    floors = [one.floors[figure.name] for one in repeats if figure.name in one.floors]
    ratios = [value / floor for value, floor in zip(values, floors, strict=False)]
    middle = median(values)
    return Line(
        number=figure.number,
        name=figure.name,
        unit=figure.unit,
        median=middle,
        least=min(values),
        most=max(values),
        floor=median(floors) if floors else None,
        floor_is=figure.floor,
        ratio=median(ratios) if ratios else None,
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
        cpu_us={name: median(1e6 * spent.cpu.get(name, 0.0) / runs for spent, runs in counted) for name in names},
        statements=per_run("statements"),
        commits=per_run("commits"),
        transactions=per_run("transactions"),
        wal_bytes=per_run("wal"),
        redis_calls=per_run("redis_calls"),
        messages=per_run("messages"),
    )


def parts(repeats: Sequence[Measured]) -> dict[str, float]:
    """What the parts of the system do by themselves: the median over all repeats."""
    return {name: median(one.parts[name] for one in repeats) for name in repeats[0].parts}


def show(lines: Sequence[Line], costs: Sequence[Cost], bare: Mapping[str, float]) -> None:
    """Print everything."""
    console = Console(width=None if Console().is_terminal else 130)
    console.print(_figures(lines))
    console.print(_costs(costs))
    console.print(_parts(bare))


def write(
    path: Path, lines: Sequence[Line], costs: Sequence[Cost], bare: Mapping[str, float], about: Mapping[str, Any]
) -> None:
    """Write everything as JSON."""
    path.parent.mkdir(exist_ok=True)
    content = {"about": about, "figures": lines, "costs": costs, "parts": bare}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(content)))


def _verdict(figure: Figure, value: float) -> str:
    def meets(target: float) -> bool:
        return value >= target if figure.higher else value <= target

    return "aim" if meets(figure.aim) else "reach" if meets(figure.reach) else "below"


def _figures(lines: Sequence[Line]) -> Table:
    table = Table(title="figures: median of the repeats", title_justify="left")
    for column in ("#", "figure", "unit", "median", "least", "most", "floor", "ratio", "reach", "aim", "met"):
        table.add_column(column, justify="left" if column in {"figure", "unit", "met"} else "right")
    for one in sorted(lines, key=lambda one: one.number):
        floors = ("", "") if one.floor is None or one.ratio is None else (_number(one.floor), f"{one.ratio:.2f}")
        numbers = map(_number, (one.median, one.least, one.most))
        table.add_row(str(one.number), one.name, one.unit, *numbers, *floors, _number(one.reach), _number(one.aim),
                      one.verdict)  # fmt: skip
    return table


def _costs(costs: Sequence[Cost]) -> Table:
    table = Table(title="cost of one run, by workload: CPU by process, and what was counted", title_justify="left")
    table.add_column("")
    for one in costs:
        table.add_column(f"#{one.number}", justify="right")
    for name in dict.fromkeys(name for one in costs for name in one.cpu_us):
        table.add_row(f"{name}, us", *(_number(one.cpu_us.get(name, 0.0)) for one in costs))
    table.add_section()
    for name in ("statements", "commits", "transactions", "wal_bytes", "redis_calls", "messages"):
        table.add_row(name, *(_number(getattr(one, name)) for one in costs))
    return table


def _parts(bare: Mapping[str, float]) -> Table:
    table = Table("", "", title="the parts by themselves, in the same run", title_justify="left", show_header=False)
    for name, value in bare.items():
        table.add_row(name, _number(value))
    return table


def _number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"
