"""What the benchmark makes of its repeats."""

from pathlib import Path

import pytest

from tests.bench import plots, tables
from tests.bench.figures import Figure, Measured, Options, Workload
from tests.bench.meters import Reading
from tests.bench.report import Report, read
from tests.bench.system import System


async def _never(_system: System, _options: Options) -> Measured:
    raise NotImplementedError


_WORKLOAD = Workload(
    "runs",
    (
        Figure(1, "runs", "runs/s", 100, 200, higher=True, floor="bare rows"),
        Figure(2, "accepted p50", "ms", 4, 2),
        Figure(2, "accepted p99", "ms", 12, 6),
    ),
    _never,
)


def _repeat(rate: float) -> Measured:
    spent = Reading({"api": 0.5, "worker-1": 1.0, "postgres": 2.0}, 20, 30, 10, 4000, 80, 5)
    cuts = [percent / 10 for percent in range(1, 100)]
    values = {"runs": rate, "accepted p50": 5.0, "accepted p99": 9.9}
    return Measured(values, {"runs": 1000.0}, spent, 100, {"bare rows, runs/s": 1000.0}, {"accepted": cuts})


@pytest.fixture
def report() -> Report:
    """Three repeats of one workload, and one that was left out."""
    report = Report({"cores": 2}, skipped={"far away": "no right to make a namespace"})
    report.add(_WORKLOAD, [_repeat(90), _repeat(120), _repeat(150)])
    return report


def test_a_figure_is_its_median_beside_its_floor(report: Report) -> None:
    """With the spread between the repeats, and the target that the median meets."""
    runs, p50, p99 = report.lines
    assert (runs.median, runs.least, runs.most, runs.spread, runs.ratio) == (120, 90, 150, 0.5, 0.12)
    assert (runs.verdict, p50.verdict, p99.verdict) == ("reach", "below", "reach")


def test_costs_are_per_run(report: Report) -> None:
    """CPU in microseconds by process, and every count, by the number of runs."""
    (cost,) = report.costs
    assert cost.cpu_us == {"api": 5000, "worker-1": 10_000, "postgres": 20_000}
    assert (cost.statements, cost.commits, cost.wal_bytes, cost.redis_calls, cost.messages) == (0.3, 0.1, 40, 0.8, 0.05)


def test_what_was_written_is_read_again(report: Report, tmp_path: Path) -> None:
    """Every repeat is kept, so that plots need no second measurement."""
    report.write(tmp_path / "build" / "bench.json")
    again = read(tmp_path / "build" / "bench.json")
    assert again == report
    assert [one.values["runs"] for one in again.workloads[0].repeats] == [90, 120, 150]


def test_tables_tell_figures_costs_and_what_was_left_out(report: Report) -> None:
    """As Markdown, for the documentation."""
    text = tables.markdown(tables.rows_of(report))
    assert "| 1 | runs | runs/s | 120 | 90.0 to 150 | 50% | 1,000 | 0.12 | 100 | 200 | reach |" in text
    assert "| WAL, bytes | 40.0 |" in text
    assert "| bare rows | runs/s | 1,000 |" in text
    assert "| far away | no right to make a namespace |" in text


def test_every_figure_of_a_workload_is_drawn(report: Report) -> None:
    """A latency as its distribution, any other figure by repeat, and the costs below them."""
    titles = [axes.get_title(loc="left") for axes in plots.workload(report.workloads[0]).axes]
    assert titles == ["accepted, ms", "runs, runs/s", "CPU of one run: 35,000 us"]
    names = [label.get_text() for label in plots.overview(report.lines).axes[0].get_yticklabels()]
    assert names == ["runs   1", "accepted p50   2", "accepted p99   2"]
