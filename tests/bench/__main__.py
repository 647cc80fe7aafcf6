"""`make bench`: the figures of docs/performance.md, measured on a system of its own that is gone afterwards."""

import os
import platform
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import uvloop

from tests.bench import report
from tests.bench.figures import Measured, Options, Workload
from tests.bench.report import Cost, Line
from tests.bench.system import System, running
from tests.bench.workloads import WORKLOADS

_ROOT = Path(__file__).parents[2]


@click.command()
@click.option("--only", envvar="ONLY", default="", help="Numbers of workloads, comma-separated.  [default: all]")
@click.option("--seconds", envvar="SECONDS", type=float, default=Options().seconds, show_default=True)
@click.option("--repeats", envvar="REPEATS", type=click.IntRange(1), default=Options().repeats, show_default=True)
def main(only: str, seconds: float, repeats: int) -> None:
    """Measure, print tables, and write build/bench.json.

    \b
    Examples:
      make bench
      make bench ONLY=1,4 SECONDS=60 REPEATS=5
    """
    began = time.monotonic()
    about = {"python": platform.python_version(), "cores": os.cpu_count(), "seconds": seconds, "repeats": repeats}
    chosen = _chosen(only)
    with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as folder:
        Path(folder).chmod(0o755)  # the embedded PostgreSQL may run as another user
        lines, costs, parts = uvloop.run(_measure(Path(folder) / "data", chosen, Options(seconds, repeats)))
    report.show(lines, costs, parts)
    report.write(_ROOT / "build" / "bench.json", lines, costs, parts, about)
    click.echo(f"{time.monotonic() - began:.0f} s; written to build/bench.json")


def _chosen(only: str) -> list[Workload]:
    """The workloads that any of the numbers asks for.

    Raises:
        click.BadParameter: if a number is nobody's.
    """
    known = {figure.number for workload in WORKLOADS for figure in workload.figures}
    wanted = {int(number) for number in only.split(",") if number.strip().isdigit()} if only else known
    if not wanted or wanted - known:
        raise click.BadParameter(f"ONLY={only} must be of {', '.join(map(str, sorted(known)))}")
    return [workload for workload in WORKLOADS if wanted & {figure.number for figure in workload.figures}]


async def _measure(
    folder: Path, workloads: Sequence[Workload], options: Options
) -> tuple[list[Line], list[Cost], dict[str, float]]:
    lines: list[Line] = []
    costs: list[Cost] = []
    parts: dict[str, float] = {}
    async with running(folder) as system:
        for workload in workloads:
            repeats = await _repeat(workload, system, options)
            lines += [report.line(figure, repeats) for figure in workload.figures]
            spent = report.cost(workload, repeats)
            costs += [spent] if spent else []
            parts |= report.parts(repeats)
    return lines, costs, parts


async def _repeat(workload: Workload, system: System, options: Options) -> list[Measured]:
    """Measure a workload again and again, telling each value as it comes."""
    repeats = []
    for number in range(1, options.repeats + 1):
        repeats.append(await workload.measure(system, options))
        shown = ", ".join(f"{name} {value:,.4g}" for name, value in repeats[-1].values.items())
        click.echo(f"{workload.title} {number}/{options.repeats}: {shown}", err=True)
    return repeats


if __name__ == "__main__":
    main()
