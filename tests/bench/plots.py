"""`make bench-plots`: what build/ holds of benchmarks, drawn and judged for the documentation without measuring again.

Every picture is a light card that reads the same on a light and on a dark page.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import click
import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from tests.bench import tables, trends
from tests.bench.report import Cost, Line, Part, read
from tests.bench.tables import number

ROOT = Path(__file__).parents[2]
_INK, _FAINT, _GRID = "#2b333b", "#6b7681", "#e3e7eb"
OURS, _FLOOR = "#2f6fb3", "#c3cad1"
_TARGETS: Final = {"reach": "#b26a00", "aim": "#1a7f4b"}
_MET: Final = {"below": "#b3403a", **_TARGETS}
#: In the order in which a run meets them; colours that differ for those who see fewer, too.
_PROCESSES: Final = {
    "load": "#b9c1c9",
    "api": "#56a3d9",
    "postgres": "#1f4e79",
    "redis": "#c8553d",
    "workers": "#e39c37",
    "scheduler": "#7a5ea8",
    "receiver": "#8d979f",
}
STYLE: Final[Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.labelcolor": _FAINT,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 9.5,
    "figure.facecolor": "white",
    "font.size": 8.5,
    "grid.color": _GRID,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "edgewise",  # the same figures give the same file
    "text.color": _INK,
    "xtick.color": _FAINT,
    "ytick.color": _FAINT,
}

Panel = Callable[[Axes], None]


@click.command()
def main() -> None:
    """Draw build/bench.json into docs/images/performance, and print its tables, and those of a soak, as Markdown."""
    report = read(ROOT / "build" / "bench.json")
    click.echo(tables.markdown(tables.rows_of(report)))
    for part in report.workloads:
        save(workload(part), f"workload-{part.figures[0].number:02}")
    save(overview(report.lines), "overview")
    if (ROOT / "build" / "peers.json").exists():
        save(peers(msgspec.json.decode((ROOT / "build" / "peers.json").read_bytes())), "peers")
    if (ROOT / "build" / "soak.json").exists():
        from tests.bench import soak_plot  # which draws in the style of this module

        curves = soak_plot.read(ROOT / "build" / "soak.json")
        click.echo(tables.markdown([trends.rows_of(trends.verdicts(curves))]))
        save(soak_plot.picture(curves), "soak")


def save(figure: Figure, name: str) -> None:
    """Write a picture for the documentation."""
    folder = ROOT / "docs" / "images" / "performance"
    folder.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context(STYLE):
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})
    click.echo(f"drawn: docs/images/performance/{name}.svg", err=True)


def card(panels: Sequence[Panel], title: str, strip: Panel | None = None) -> Figure:
    """Panels side by side under a title, and a low one below them all."""
    with mpl.rc_context(STYLE):
        height = 3.3 + (0.9 if strip else 0)
        figure = Figure(figsize=(max(7.2, 3.1 * len(panels)), height), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")
        grid = figure.add_gridspec(2 if strip else 1, len(panels), height_ratios=[3.3, 0.5] if strip else [1])
        for place, panel in enumerate(panels):
            panel(figure.add_subplot(grid[0, place]))
        if strip:
            strip(figure.add_subplot(grid[1, :]))
    return figure


def workload(part: Part) -> Figure:
    """One workload: each figure by repeat beside its floor and targets, and what a run costs each process."""
    spreads = list(dict.fromkeys(name for one in part.repeats for name in one.spreads if not name.startswith("floor")))
    single = [one for one in part.figures if not any(one.name.startswith(name) for name in spreads)]
    panels: list[Panel] = [_spread(part, name) for name in spreads]
    panels += [_bars(one) for one in single]
    numbers = ", ".join(str(one) for one in dict.fromkeys(one.number for one in part.figures))
    strip = _costs(part.cost) if part.cost and sum(part.cost.cpu_us.values()) else None
    return card(panels, f"{numbers}  {part.title}", strip)


def overview(lines: Sequence[Line]) -> Figure:
    """How far every figure is from its targets; to the right is better."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 0.9 + 0.27 * len(lines)), layout="constrained")
        axes = figure.add_subplot()
        for place, one in enumerate(lines):
            _distance(axes, place, one)
        axes.axvline(1, color=_TARGETS["reach"], linewidth=1.2)
        axes.set_yticks(range(len(lines)), [f"{one.name}   {one.number}" for one in lines])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel(
            "times as good as the figure to reach, which is the line; the tick is the one to aim at\n"
            "green: as good as aimed at; amber: reached; red: not reached"
        )
        axes.set_title("Every figure beside its targets: the median, and from the least to the most")
    return figure


def peers(content: Mapping[str, Any]) -> Figure:
    """Peers and ourselves: executions per second, and steps per second of a chain; each repeat is a dot."""
    shapes = (
        ("runs", "executions/s", "three small steps, executions/s"),
        ("chain", "steps/s", "chain of ten, steps/s"),
    )
    names = [f"{name} {content['versions'].get(name, '')}".strip() for name in content["found"]]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8.4, 1.1 + 0.32 * len(names)), layout="constrained")
        for place, (shape, unit, title) in enumerate(shapes):
            axes = figure.add_subplot(1, 2, place + 1)
            for line, (name, found) in enumerate(content["found"].items()):
                _dots(axes, line, [one[shape][unit] for one in found], is_ours=name not in content["versions"])
            axes.set_yticks(range(len(names)), names if place == 0 else [""] * len(names))
            axes.invert_yaxis()
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.set_xmargin(0.12)
            axes.grid(visible=False, axis="y")
            axes.set_title(title)
    return figure


def _dots(axes: Axes, line: int, values: Sequence[float], *, is_ours: bool) -> None:
    middle, colour = median(values), OURS if is_ours else _FAINT
    axes.plot(values, [line] * len(values), "o", color=colour, alpha=0.35, markersize=5)
    axes.plot(middle, line, "o", color=colour, markersize=7)
    axes.annotate(
        number(middle), (1, line), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
        annotation_clip=False,
    )  # fmt: skip


def _distance(axes: Axes, place: int, one: Line) -> None:
    def scaled(value: float) -> float:
        return value / one.reach if one.higher else one.reach / value

    low, high = sorted((scaled(one.least), scaled(one.most)))
    axes.plot([low, high], [place, place], color=_MET[one.verdict], linewidth=2.5, alpha=0.45)
    axes.plot(scaled(one.median), place, "o", color=_MET[one.verdict], markersize=6)
    axes.plot(scaled(one.aim), place, "|", color=_TARGETS["aim"], markersize=10, markeredgewidth=2)
    axes.annotate(
        f"{number(one.median)} {one.unit}", (1, place), (4, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", annotation_clip=False,
    )  # fmt: skip


def _bars(one: Line) -> Panel:
    """A figure, repeat by repeat, beside its floor."""

    def draw(axes: Axes) -> None:
        places = range(1, len(one.values) + 1)
        half = 0.2 if one.floors else 0.0
        bars = axes.bar([place - half for place in places], one.values, 0.38, color=OURS, label="measured")
        paper = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.85}
        axes.bar_label(bars, [number(value) for value in one.values], padding=2, fontsize=7.5, bbox=paper)
        if one.floors:
            floors = axes.bar([place + half for place in places], one.floors, 0.38, color=_FLOOR, label="floor")
            axes.bar_label(floors, [number(value) for value in one.floors], padding=2, fontsize=7.5, color=_FAINT)
        axes.set_xlabel("repeat" + (f"\ngrey: {one.floor_is or 'its floor'}" if one.floors else ""))
        axes.set_xlim(0.4, len(one.values) + 0.6)
        axes.set_ylim(0, 1.12 * max(*one.values, *one.floors, one.reach, one.aim))
        for name, colour in _TARGETS.items():
            _target(axes, name, getattr(one, name), colour)
        axes.set_xticks(places)
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        axes.set_title(f"{one.name}, {one.unit}")

    return draw


def _target(axes: Axes, name: str, value: float, colour: str) -> None:
    axes.axhline(value, color=colour, linewidth=1.1, linestyle=(0, (4, 2)))
    axes.annotate(
        f"{name}\n{value:,g}", (1, value), (3, 0), xycoords=("axes fraction", "data"), textcoords="offset points",
        color=colour, fontsize=7.5, va="center", annotation_clip=False,
    )  # fmt: skip


def _spread(part: Part, name: str) -> Panel:
    """How a latency is distributed, a line for each repeat; the axis gives each factor of ten as much room."""

    def draw(axes: Axes) -> None:
        for one in part.repeats:
            for key, colour, width in ((f"floor: {name}", _FLOOR, 1.6), (name, OURS, 1.3)):
                cuts = one.spreads.get(key, [])
                axes.plot([_rank(percent) for percent in range(1, len(cuts) + 1)], cuts, color=colour, linewidth=width)
        for figure in part.figures:
            if figure.name.startswith(name):
                _marks(axes, figure)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.yaxis.set_minor_formatter(FuncFormatter(lambda value, _: _minor(value)))
        axes.tick_params(axis="y", which="minor", labelsize=7)
        axes.set_xticks([_rank(percent) for percent in (1, 50, 90, 99)], ["1%", "50%", "90%", "99%"])
        axes.set_xlim(0, _rank(99) + 0.5)
        floor = "; grey: the floor" if f"floor: {name}" in part.repeats[0].spreads else ""
        axes.set_xlabel(f"of all take so long or less\na line per repeat{floor}")
        axes.set_title(f"{name}, ms")

    return draw


def _marks(axes: Axes, figure: Line) -> None:
    """The targets of a percentile, as marks to stay under."""
    percent = int(figure.name.rpartition(" p")[2])
    for name, colour in _TARGETS.items():
        value = getattr(figure, name)
        axes.plot(_rank(percent), value, marker="v", color=colour, markersize=6)
        axes.annotate(
            f"{name} {value:g}", (_rank(percent), value), (6, 0), textcoords="offset points", color=colour,
            fontsize=7.5, va="center",
        )  # fmt: skip


def _rank(percent: float) -> float:
    """Where a percentile lies: at as many tens as it leaves out."""
    return -math.log10(1 - percent / 100)


def _minor(value: float) -> str:
    return f"{value:g}" if f"{value:e}"[0] in "25" else ""


def _costs(cost: Cost) -> Panel:
    """What a run costs each process, as one stacked bar."""
    spent = dict.fromkeys(_PROCESSES, 0.0)
    for process, microseconds in cost.cpu_us.items():
        name = "workers" if process.startswith("worker") else process
        if name in spent:
            spent[name] += microseconds
    total = sum(spent.values())
    shown = {name: value for name, value in spent.items() if value > total / 1000}

    def draw(axes: Axes) -> None:
        left = 0.0
        for name, value in shown.items():
            axes.barh(0, value, left=left, color=_PROCESSES[name], label=f"{name} {number(value)}", height=0.8)
            left += value
        axes.set_xlim(0, total)
        axes.set_axis_off()
        axes.set_title(f"CPU of one run: {number(total)} us")
        axes.legend(
            loc="upper left", bbox_to_anchor=(-0.012, 0), ncols=len(shown), fontsize=8, handlelength=0.9,
            handletextpad=0.4, columnspacing=1.2,
        )  # fmt: skip

    return draw


if __name__ == "__main__":
    main()
