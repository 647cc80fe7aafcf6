"""Whether curves are flat: by the median of the slopes between all their points, which single peaks do not move."""

from collections.abc import Sequence
from fnmatch import fnmatch
from itertools import combinations
from statistics import median

import msgspec
from rich.console import Console

from tests.bench import tables
from tests.bench.tables import Rows

#: Values by name; `seconds` says when.
Curves = dict[str, list[float]]

FLAT, WORSE, SHORT = "flat", "not flat", "too short to tell"
#: By how many per cent in ten minutes a curve may grow and is called flat; the first that fits holds. Throughput may
#: fall by so much.
_LIMITS = {
    "runs/s": 5.0,
    "open steps": 5.0,
    "* p99, ms": 10.0,
    "memory of *": 2.0,
    "open_steps, MB": 10.0,
    "bytes per run": 2.0,
    "WAL per run, KB": 5.0,
    "pg_wal, MB": 10.0,
    "broker, MB": 5.0,
    "CPU of a run, us": 5.0,
}
#: What is judged begins after this part: caches fill first, and files that are used again are written first.
_WARM = 1 / 3
_TEN_MINUTES = 600.0
#: Seconds below which nothing is said.
_LEAST = 300.0
#: MB below which a table is left out.
_SMALL = 0.2
#: Curves whose growth is told in per cent of another one. What is open is little and goes up and down, so per cent of
#: it say nothing; by what is accepted in a second its growth is work that waits: 5% are 50 ms more of it.
_BY = {"open steps": "runs/s"}
#: What verdicts call curves whose names say less.
_SHOWN = {"runs/s": "accepted, runs/s", "open steps": "open steps, by runs/s"}
#: What the name of a curve begins with that every table has.
_OF_TABLE = "dead rows of "


class Verdict(msgspec.Struct):
    """What became of a curve.

    Attributes:
        slope: per cent of the median in ten minutes, of another curve's median where the name says so.
        limit: up to which it is flat, in the same unit.
    """

    name: str
    median: float
    slope: float
    limit: float
    verdict: str


def curves(samples: Sequence[dict[str, float]]) -> Curves:
    """Samples as curves, those of tables that stay small left out."""
    names = dict.fromkeys(name for sample in samples for name in sample)
    found = {name: [sample.get(name, 0.0) for sample in samples] for name in names}
    tables = [name.removeprefix(_OF_TABLE) for name in found if name.startswith(_OF_TABLE)]
    small = [name for name in tables if max(found[f"{name}, MB"]) < _SMALL]
    gone = {text for name in small for text in (f"{name}, MB", f"indexes of {name}, MB", _OF_TABLE + name)}
    return {name: values for name, values in found.items() if name not in gone}


def rounded(found: Curves) -> Curves:
    """The same with four digits that count."""
    return {name: [float(f"{value:.4g}") for value in values] for name, values in found.items()}


def verdicts(found: Curves) -> list[Verdict]:
    """One for every curve that should be flat."""
    return [
        _verdict(name, found, limit)
        for name in found
        for limit in [next((limit for pattern, limit in _LIMITS.items() if fnmatch(name, pattern)), None)]
        if limit is not None
    ]


def show(judged: Sequence[Verdict]) -> None:
    """Print them."""
    Console(width=None if Console().is_terminal else 120).print(tables.rich(rows_of(judged)))


def rows_of(judged: Sequence[Verdict]) -> Rows:
    """They as a table."""
    rows = [(one.name, f"{one.median:,.4g}", f"{one.slope:+.2f}", f"{one.limit:g}", one.verdict) for one in judged]
    columns = ("curve", "median", "% in 10 min", "limit", "verdict")
    return Rows("Flat? Slopes of the last two thirds", columns, rows)


def slope(moments: Sequence[float], values: Sequence[float]) -> float:
    """The median of the slopes between any two points (Theil and Sen), per second."""
    points = combinations(zip(moments, values, strict=True), 2)
    return median((later[1] - first[1]) / (later[0] - first[0]) for first, later in points)


def _verdict(name: str, found: Curves, limit: float) -> Verdict:
    start = round(len(found[name]) * _WARM)
    moments, values = found["seconds"][start:], found[name][start:]
    middle = median(values)
    by = _BY.get(name)
    whole = median(found[by][start:]) if by else middle
    grown = 100 * slope(moments, values) * _TEN_MINUTES / whole if whole else 0.0
    worse = -grown if name == "runs/s" else grown
    short = moments[-1] - moments[0] < _LEAST
    verdict = SHORT if short else FLAT if worse <= limit else WORSE
    return Verdict(_SHOWN.get(name, name), middle, grown, limit, verdict)
