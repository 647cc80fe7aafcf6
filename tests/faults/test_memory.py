"""Memory does not grow with what was done: resident sizes over 200,000 runs, and a short form of it."""

import asyncio
import os
from pathlib import Path

import pytest

from tests.bench import graphs, meters
from tests.bench.load import Load
from tests.bench.system import System, Workflow, running

#: How much a process may grow from the first sample, taken warm, to the last.
_GROWTH = 1.10


async def _workflows(system: System) -> list[Workflow]:
    """Pure runs, runs with calls, and runs that fan out; what they leave behind in a worker differs."""
    drawn = (
        graphs.condition_and_transform(),
        graphs.calls(2, system.receiver_url),
        graphs.fan(4, system.receiver_url),
    )
    return [await system.create(graph) for graph in drawn]


async def _measure(folder: Path, warm: int, runs: int) -> list[dict[str, float]]:
    """Resident megabytes by service after ``warm`` runs of each workflow and after each quarter of ``runs``."""
    samples = []
    async with running(folder) as system:
        pure, *effects = await _workflows(system)
        for share in (warm, *[runs // 4] * 4):
            for workflow, part in ((pure, share), *((other, share // 20) for other in effects)):
                await system.send(workflow, Load(port=0, path="", body=graphs.payload(1000), requests=part))
                await system.ended(workflow)
            samples.append(meters.memory(system))
            print(" ".join(f"{name} {size:.1f}" for name, size in samples[-1].items()))
    return samples


def _flat(samples: list[dict[str, float]]) -> None:
    grown = {name: samples[-1][name] / size for name, size in samples[0].items()}
    assert all(factor <= _GROWTH for factor in grown.values()), grown


@pytest.mark.drill
@pytest.mark.timeout(1800)
def test_memory_is_flat_over_many_runs(tmp_path: Path) -> None:
    """No service is a tenth larger after 200,000 runs (MEMORY_RUNS) than it was after the first of them."""
    runs = int(os.environ.get("MEMORY_RUNS", "200000"))
    _flat(asyncio.run(_measure(tmp_path / "data", runs // 10, runs)))


def test_memory_is_flat_over_some_runs(tmp_path: Path) -> None:
    """The short form: a leak of a kilobyte per run would be 6 MB of some 60."""
    _flat(asyncio.run(_measure(tmp_path / "data", 2000, 6000)))
