"""The picture of a soak: its curves over time."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
import msgspec
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.bench.plots import STYLE
from tests.bench.trends import Curves

#: Title of a panel, and the curves in it.
_PANELS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("runs accepted per second", lambda name: name == "runs/s"),
    ("open steps: accepted and not yet completed", lambda name: name == "open steps"),
    ("99th percentiles, ms", lambda name: name.endswith("p99, ms")),
    ("resident memory, MB", lambda name: name.startswith("memory of ")),
    ("CPU of a run, us", lambda name: name == "CPU of a run, us"),
    ("open_steps with its indexes, MB", lambda name: name in {"open_steps, MB", "indexes of open_steps, MB"}),
    ("dead rows of open_steps", lambda name: name == "dead rows of open_steps"),
    ("bytes per run in runs and steps, indexes included", lambda name: name == "bytes per run"),
    ("history, MB", lambda name: name in {"runs, MB", "steps, MB"}),
    ("pg_wal, MB", lambda name: name == "pg_wal, MB"),
    ("WAL per run, KB", lambda name: name == "WAL per run, KB"),
    ("broker, MB", lambda name: name == "broker, MB"),
)
_COLUMNS = 3


def read(path: Path) -> Curves:
    """The curves that `make soak` wrote."""
    curves: Curves = msgspec.json.decode(path.read_bytes())["curves"]
    return curves


def picture(curves: Curves) -> Figure:
    """All curves, a panel for each unit."""
    minutes = [second / 60 for second in curves["seconds"]]
    rows = -(-len(_PANELS) // _COLUMNS)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * _COLUMNS, 2.2 * rows), layout="constrained")
        for place, (title, belongs) in enumerate(_PANELS, start=1):
            axes = figure.add_subplot(rows, _COLUMNS, place)
            _panel(axes, title, minutes, {name: values for name, values in curves.items() if belongs(name)})
    return figure


def _panel(axes: Axes, title: str, minutes: Sequence[float], curves: Curves) -> None:
    for name, values in curves.items():
        axes.plot(minutes, values, linewidth=1, label=_short(name))
    axes.set_title(title)
    axes.set_xlabel("minutes")
    axes.set_xlim(0, minutes[-1])
    axes.set_ylim(0, 1.15 * max((max(values) for values in curves.values()), default=1.0) or 1.0)
    if len(curves) > 1:
        axes.legend(fontsize=7, loc="lower right")


def _short(name: str) -> str:
    return name.removeprefix("memory of ").rpartition(", ")[0] or name
