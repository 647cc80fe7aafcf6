"""A report as tables: on the terminal, and as Markdown for docs/performance.md."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from tests.bench.report import Line, Report

#: Columns that hold words.
_WORDS = {"figure", "unit", "met", "of one run", "part", "workload", "why", "peer", "durable", "curve", "verdict"}
_COUNTS = {
    "statements": "statements",
    "commits": "commits",
    "wal_bytes": "WAL, bytes",
    "redis_calls": "Redis commands",
    "messages": "messages",
}


class Rows(NamedTuple):
    """A table before it has a form."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def show(report: Report) -> None:
    """Print every table."""
    console = Console(width=None if Console().is_terminal else 160)
    for one in rows_of(report):
        console.print(rich(one))


def markdown(tables: Sequence[Rows]) -> str:
    """Every table as Markdown, under its title."""
    return "\n\n".join(f"{one.title}\n\n{_marked(one)}" for one in tables) + "\n"


def rows_of(report: Report) -> list[Rows]:
    """The figures, what a run cost, the parts by themselves, and what was left out."""
    tables = [_figures(report.lines), _costs(report), _parts(report)]
    if report.skipped:
        tables.append(Rows("Not measured here", ("workload", "why"), list(report.skipped.items())))
    return [one for one in tables if one.rows]


def number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def _figures(lines: Sequence[Line]) -> Rows:
    columns = ("#", "figure", "unit", "median", "least to most", "spread", "floor", "ratio", "reach", "aim", "met")
    return Rows("Figures: the median of the repeats", columns, [_figure(one) for one in lines])


def _figure(one: Line) -> tuple[str, ...]:
    floors = ("-", "-") if one.floor is None or one.ratio is None else (number(one.floor), f"{one.ratio:.2f}")
    between = f"{number(one.least)} to {number(one.most)}"
    return (
        str(one.number), one.name, one.unit, number(one.median), between, f"{one.spread:.0%}", *floors,
        f"{one.reach:,g}", f"{one.aim:,g}", one.verdict,
    )  # fmt: skip


def _costs(report: Report) -> Rows:
    costs = report.costs
    processes = sorted({name for one in costs for name in one.cpu_us})
    rows = [
        (f"{name}, us of CPU", *(number(one.cpu_us[name]) if name in one.cpu_us else "-" for one in costs))
        for name in processes
    ]
    rows += [(title, *(number(getattr(one, name)) for one in costs)) for name, title in _COUNTS.items()]
    return Rows("What one run cost", ("of one run", *(f"#{one.number}" for one in costs)), rows if costs else [])


def _parts(report: Report) -> Rows:
    rows = [(*name.rpartition(", ")[::2], number(value)) for name, value in report.bare.items()]
    return Rows("The parts by themselves, in the same run", ("part", "unit", "median"), rows)


def rich(one: Rows) -> Table:
    """A table for the terminal."""
    table = Table(title=one.title, title_justify="left")
    for column in one.columns:
        table.add_column(column, justify="left" if column in _WORDS else "right")
    for row in one.rows:
        table.add_row(*row)
    return table


def _marked(one: Rows) -> str:
    ruler = ("---" if column in _WORDS else "---:" for column in one.columns)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (one.columns, tuple(ruler), *one.rows))
