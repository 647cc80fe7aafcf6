"""``make bench-budget``: where the microseconds of a run go, process by process, in workloads 1, 3, 4 and 12.

The load of each runs twice: as it is, for what each process uses, and with py-spy at the Python processes, for where:
threads are looked at while they hold the interpreter, and each sample belongs to the part of the innermost of its
frames that is of one. Parts are scaled to what the process used without the sampler. Of PostgreSQL the time of its
statements is told beside its processor time, of Valkey that of its commands. Writes build/budget.json and prints
tables. Needs the right to trace processes (root, or ``kernel.yama.ptrace_scope = 0``).
"""

import asyncio
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import uvloop

from tests.bench import graphs
from tests.bench.driving import LOAD, drive, prepare
from tests.bench.load import Load
from tests.bench.system import System, running

_ROOT = Path(__file__).parents[2]
_RATE = 300
#: By part the beginnings of the paths of its frames, below this folder, site-packages or the standard library.
_PARTS = {
    "metrics, logs": "prometheus_client/ structlog/ logging/ shared/metrics shared/log shared/floods",
    "asyncpg: encode, send, receive, decode": "asyncpg/",
    "Dramatiq and Redis: messages, threads": "dramatiq/ redis/ shared/announcer shared/broker shared/lanes "
    "worker/consumer worker/capacity queue.py threading.py concurrent/",
    "templates and nodes": "liquid/ shared/templates/ shared/nodes/ re2/ babel/",
    "the walk: graph, results, texts": "shared/graph/ shared/jsontext shared/texts shared/advances worker/walk "
    "worker/scope worker/pending worker/payloads worker/plans",
    "group commit and reading: batches, rows to objects": "shared/batcher shared/ingest shared/store/ shared/ids "
    "shared/db worker/reader worker/commits",
    "slots, holdings, tasks": "worker/",
    "the handler: token, payload, answer": "api/",
    "aiohttp": "aiohttp/ yarl/ multidict/ propcache/ aiosignal/ frozenlist/ http/",
    "event loop": "asyncio/ uvloop/ selectors.py",
}
_OTHER = "other"
_PLACE = re.compile(r"\((?:.*/site-packages/|.*/python3\.\d+/|" + re.escape(str(_ROOT)) + r"/)?([^()]+?)(?::\d+)?\)$")
_STATEMENTS = """
    SELECT /* bench */ query, total_exec_time * 1000 AS us FROM pg_stat_statements
    WHERE query NOT LIKE '%/* bench */%' ORDER BY total_exec_time DESC
"""


class Shape(NamedTuple):
    """What is run, and how it comes in."""

    title: str
    graph: Callable[[System], graphs.Graph]
    load: Load


_SHAPES = {
    1: Shape("webhook, condition, transform", lambda _: graphs.condition_and_transform(), LOAD),
    3: Shape("ten transforms", lambda _: graphs.transforms(10), LOAD),
    4: Shape(
        "five HTTP calls",
        lambda system: graphs.calls(5, system.receiver_url),
        msgspec.structs.replace(LOAD, in_flight=200, connections=200),
    ),
    12: Shape(
        "as 1, with bodies of 160 KB",
        lambda _: graphs.condition_and_transform(),
        msgspec.structs.replace(LOAD, body=graphs.payload(160_000)),
    ),
}


class Budget(msgspec.Struct):
    """Microseconds of one run.

    Attributes:
        cpu: by process; workers and their forkers together.
        parts: of the Python processes, by kind and part.
        statements, commands: elapsed, by what they are.
    """

    runs: int
    cpu: dict[str, float]
    parts: dict[str, dict[str, float]]
    statements: dict[str, float]
    commands: dict[str, float]


@click.command()
@click.option("--seconds", envvar="SECONDS", type=click.FloatRange(3), default=8.0, show_default=True)
@click.option("--only", envvar="ONLY", default=",".join(map(str, _SHAPES)), show_default=True, help="Workloads.")
def main(seconds: float, only: str) -> None:
    """Measure the budgets of runs."""
    budgets: dict[int, Budget] = {}
    for number in map(int, only.split(",")):
        with tempfile.TemporaryDirectory(prefix="edgewise-budget-") as folder:
            Path(folder).chmod(0o755)  # the embedded PostgreSQL may run as another user
            budget = uvloop.run(_measured(Path(folder), _SHAPES[number], seconds))
            budget.parts = _parts(Path(folder), budget.cpu)
        budgets[number] = budget
        click.echo(f"\n{number}: {_SHAPES[number].title}\n\n{table(budget)}")
    (_ROOT / "build").mkdir(exist_ok=True)
    (_ROOT / "build" / "budget.json").write_bytes(msgspec.json.encode(budgets))


def table(budget: Budget) -> str:
    """As Markdown."""
    kinds = list(budget.parts)
    lines = ["| | " + " | ".join(kinds) + " |", "|---|" + "---:|" * len(kinds)]
    for part in [*_PARTS, _OTHER]:
        values = [budget.parts[kind].get(part, 0.0) for kind in kinds]
        if any(value >= 0.5 for value in values):
            lines.append(
                f"| {part} | " + " | ".join(f"{value:.0f}" if value >= 0.5 else "-" for value in values) + " |"
            )
    lines.append("| **sum** | " + " | ".join(f"**{budget.cpu[kind]:.0f}**" for kind in kinds) + " |")
    for name, told in (("PostgreSQL", budget.statements), ("Valkey", budget.commands)):
        used = budget.cpu["postgres" if name == "PostgreSQL" else "redis"]
        parts = ", ".join(f"{what} {us:.1f}" for what, us in list(told.items())[:6])
        lines.append(f"\n{name}: {used:.0f} us of CPU; elapsed: {parts}")
    lines.append(f"\nLoad generator: {budget.cpu['load']:.0f} us. {budget.runs:,} runs.")
    return "\n".join(lines)


async def _measured(folder: Path, shape: Shape, seconds: float) -> Budget:
    async with running(folder / "data") as system:
        workflow = await prepare(system, shape.graph(system))
        wanted = msgspec.structs.replace(shape.load, seconds=seconds)
        await drive(system, workflow, msgspec.structs.replace(wanted, seconds=1.0))  # warm
        await system.broker.config_resetstat()
        done = await drive(system, workflow, wanted)
        used = _by_kind({name: 1e6 * spent / done.runs for name, spent in done.spent.cpu.items()})
        statements = await _statements(system, done.runs)
        commands = await _commands(system, done.runs)
        sampling = [
            await _sampler(folder, name, pid, seconds - 1) for name, pid in system.pids.items() if _is_ours(name)
        ]
        await drive(system, workflow, wanted)
        for process in sampling:
            if await process.wait():
                raise click.ClickException("py-spy could not look at a process; it needs the right to trace it")
    return Budget(done.runs, used, {}, statements, commands)


def _parts(folder: Path, used: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """What the samplers wrote, scaled."""
    samples: dict[str, Counter[str]] = {}
    for file in folder.glob("*.raw"):
        samples.setdefault(_kind(file.stem), Counter()).update(counted(file.read_text().splitlines()))
    return {
        kind: {part: used[kind] * count / found.total() for part, count in found.most_common()}
        for kind, found in sorted(samples.items())
    }


async def _sampler(folder: Path, name: str, pid: int, seconds: float) -> asyncio.subprocess.Process:
    spy = str(Path(sys.executable).with_name("py-spy"))
    what = ["record", "--gil", "--nonblocking", "--full-filenames", "--format", "raw", "--rate", str(_RATE)]
    where = ["--duration", f"{seconds:.0f}", "--output", str(folder / f"{name}.raw"), "--pid", str(pid)]
    nothing = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(spy, *what, *where, stdout=nothing, stderr=nothing)


def counted(stacks: Sequence[str]) -> Counter[str]:
    """How many samples each part has; a stack is its frames, outermost first, and a count."""
    found: Counter[str] = Counter()
    for stack in stacks:
        frames, _, count = stack.rpartition(" ")
        found[_part(frames.split(";"))] += int(count)
    return found


def _part(frames: Sequence[str]) -> str:
    for frame in reversed(frames):
        place = _PLACE.search(frame)
        path = place[1] if place else ""
        for part, beginnings in _PARTS.items():
            if path.startswith(tuple(beginnings.split())):
                return part
    return _OTHER


def _is_ours(name: str) -> bool:
    return name in {"api", "scheduler"} or name.startswith("worker")


def _kind(name: str) -> str:
    return "both workers" if name.startswith("worker") else name


def _by_kind(used: Mapping[str, float]) -> dict[str, float]:
    summed: Counter[str] = Counter()
    for name, us in used.items():
        summed[_kind(name)] += us  # type: ignore[assignment] # a Counter adds whatever is a number
    return dict(summed)


async def _statements(system: System, runs: int) -> dict[str, float]:
    """By the first line of what each says of itself."""
    found: Counter[str] = Counter()
    for row in await system.database.fetch(_STATEMENTS):
        found[row["query"].strip().splitlines()[0].lstrip("- ")[:60]] += row["us"] / runs
    return {name: us for name, us in found.most_common() if us >= 0.1}


async def _commands(system: System, runs: int) -> dict[str, float]:
    stats: dict[str, Any] = await system.broker.info("commandstats")
    found = {name.removeprefix("cmdstat_"): stat["usec"] / runs for name, stat in stats.items()}
    return dict(sorted(((name, us) for name, us in found.items() if us >= 0.1), key=lambda item: -item[1]))


if __name__ == "__main__":
    main()
