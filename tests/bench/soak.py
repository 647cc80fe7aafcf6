"""`make soak`: workload 1 for as long as is asked, sampled all the while. Does anything grow that should not?

Writes build/soak.json and build/soak.svg, and ends with status 1 if a curve that should be flat is not, or if not every
run that was accepted has completed in the end.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
import uvloop

from tests.bench import graphs, load, trends
from tests.bench.driving import LOAD, prepare
from tests.bench.system import running
from tests.bench.trends import Curves, Verdict
from tests.bench.watch import Sample, Watch

_ROOT = Path(__file__).parents[2]
#: Of so many runs one is followed to its end.
_KEEP = 5


@click.command()
@click.option("--seconds", envvar="SECONDS", type=click.FloatRange(10), default=1800.0, show_default=True)
@click.option("--every", envvar="EVERY", type=click.FloatRange(1), default=5.0, show_default=True,
              help="Seconds between two samples.")  # fmt: skip
def main(seconds: float, every: float) -> None:
    """Send workload 1 as fast as it goes, and tell whether latencies, memory and sizes stay what they are."""
    with tempfile.TemporaryDirectory(prefix="edgewise-soak-") as folder:
        Path(folder).chmod(0o755)  # the embedded PostgreSQL may run as another user
        samples: list[Sample] = []
        try:
            uvloop.run(_soak(Path(folder) / "data", seconds, every, samples))
        finally:  # what was seen before something broke is still worth having
            verdicts = _conclude(samples) if samples else []
    if any(one.verdict == trends.WORSE for one in verdicts):
        raise SystemExit(1)


def _conclude(samples: Sequence[Sample]) -> list[Verdict]:
    """Judge, write and draw."""
    curves = trends.curves(samples)
    verdicts = trends.verdicts(curves)
    build = _ROOT / "build"
    build.mkdir(exist_ok=True)
    content = {"verdicts": verdicts, "curves": trends.rounded(curves)}
    (build / "soak.json").write_bytes(msgspec.json.encode(content))
    trends.show(verdicts)
    _draw(curves, build / "soak.svg")
    return verdicts


async def _soak(folder: Path, seconds: float, every: float, samples: list[Sample]) -> None:
    """Send a load for so many seconds, and add a sample for each window.

    Raises:
        RuntimeError: if a request was refused, runs stopped ending, or not all that were accepted have completed.
    """
    wanted = msgspec.structs.replace(LOAD, seconds=seconds, requests=sys.maxsize, window=every, keep=_KEEP)
    async with running(folder) as system:
        workflow = await prepare(system, graphs.condition_and_transform())
        known = await system.ended(workflow)
        watch = await Watch.begin(system, every)
        async for window in load.windows(system.addressed(workflow, wanted)):
            sample = await watch.look(window)
            if sample:
                samples.append(sample)
                click.echo(_line(sample), err=True)
        ended = await system.ended(workflow)
    completed = ended.completed - known.completed
    if completed != watch.accepted:
        raise RuntimeError(f"{watch.accepted} runs were accepted, {completed} have completed")
    click.echo(f"{watch.accepted:,} runs were accepted, and all of them have completed", err=True)


def _line(sample: Sample) -> str:
    shown = {"runs/s": "accepted/s", "open steps": "open steps", "accepted p99, ms": "accepted p99, ms",
             "completed p99, ms": "completed p99, ms", "open_steps, MB": "open_steps, MB"}  # fmt: skip
    return f"{sample['seconds']:6.0f} s  " + "  ".join(f"{text} {sample[name]:,.4g}" for name, text in shown.items())


def _draw(curves: Curves, path: Path) -> None:
    from tests.bench.soak_plot import picture  # while it is measured, matplotlib is not in memory

    picture(curves).savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
