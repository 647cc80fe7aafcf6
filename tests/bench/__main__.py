"""`make bench`: the figures of docs/performance.md, measured on a system of its own that is gone afterwards."""

import os
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import uvloop

from tests.bench import scaling, tables, workloads
from tests.bench.figures import Measured, Options, SkippedError, Workload
from tests.bench.report import Report
from tests.bench.system import System, running

_Command = TypeVar("_Command", bound=Callable[..., Any])
_ROOT = Path(__file__).parents[2]
_FOUND = _ROOT / "build" / "bench.json"
#: The last one brings servers of its own and stops the system that the others share.
WORKLOADS = (*workloads.WORKLOADS, scaling.WORKLOAD)


def _size(name: str, told: str) -> Callable[[_Command], _Command]:
    default = getattr(Options(), name)
    kind = click.IntRange(100)
    return click.option(f"--{name}", envvar=name.upper(), type=kind, default=default, show_default=True, help=told)


@click.command()
@click.option("--only", envvar="ONLY", default="", help="Numbers of workloads, comma-separated.  [default: all]")
@click.option("--seconds", envvar="SECONDS", type=float, default=Options().seconds, show_default=True)
@click.option("--repeats", envvar="REPEATS", type=click.IntRange(1), default=Options().repeats, show_default=True)
@_size("rows", "Finished runs in the database, of workload 10.")
@_size("steps", "Steps after which memory is compared, of workload 13.")
@_size("schedules", "Active schedules, of workload 9.")
def main(only: str, **sizes: Any) -> None:
    """Measure, print tables, and write build/bench.json.

    \b
    Examples:
      make bench
      make bench ONLY=1,4 SECONDS=60 REPEATS=5
      make bench ONLY=10 ROWS=10000000
    """
    began = time.monotonic()
    about = {"python": platform.python_version(), "cores": os.cpu_count(), **sizes}
    report = Report(about)
    try:
        with tempfile.TemporaryDirectory(prefix="edgewise-bench-") as folder:
            Path(folder).chmod(0o755)  # the embedded PostgreSQL may run as another user
            uvloop.run(_measure(Path(folder) / "data", _chosen(only), Options(**sizes), report))
    finally:  # what was found before something broke is still worth having
        tables.show(report)
        report.write(_FOUND)
    click.echo(f"{time.monotonic() - began:.0f} s; written to {_FOUND.relative_to(_ROOT)}")


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


async def _measure(folder: Path, chosen: Sequence[Workload], options: Options, report: Report) -> None:
    """Measure one workload after the other, and take each into the report."""
    async with running(folder) as system:
        for workload in chosen:
            try:
                report.add(workload, await _repeat(workload, system, options))
            except SkippedError as reason:
                report.skipped[workload.title] = str(reason)
                click.echo(f"{workload.title}: skipped, {reason}", err=True)


async def _repeat(workload: Workload, system: System, options: Options) -> list[Measured]:
    """Measure a workload again and again, telling each value as it comes."""
    repeats = []
    for number in range(1, options.repeats + 1):
        began = time.monotonic()
        repeats.append(await workload.measure(system, options))
        shown = ", ".join(f"{name} {value:,.4g}" for name, value in repeats[-1].values.items())
        taken = time.monotonic() - began
        click.echo(f"{workload.title} {number}/{options.repeats}: {shown} ({taken:.0f} s)", err=True)
    return repeats


if __name__ == "__main__":
    main()
