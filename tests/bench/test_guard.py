"""What a run may cost, in counts that no machine changes: the short form of `make bench` that every test run has.

How many runs share a commit or a message depends on how they come; 64 connections that send as answers come make
batches of much the same size on a fast machine and on a slow one. Now and then they do not: each load is sent three
times, and each count is the fewest of three. A slow machine has more heartbeats and housekeeping beside as many runs:
what the system spends on itself by the second, counted while it rests, is left out.
Bounds are half as much again as the most that one load came to, on a busy machine and beside a busy loop on each core:
twice as much fails. Outbound calls are answered 150 at a time: where each is answered at once, the faster the disk the
more commits. Calls and memory of single steps are held more closely in ``test_guard_calls.py``.
"""

import asyncio
from typing import NamedTuple

import msgspec
import pytest

from tests.bench import floors, graphs, meters
from tests.bench.driving import LOAD, Outcome, drive, prepare
from tests.bench.meters import Reading
from tests.bench.system import running

_RUNS, _LOADS = 600, 3
#: Seconds for which the system rests, and what that tells. Redis is not among it: a worker that has just been busy asks
#: for messages far more often than one that has not.
_REST, _AT_REST = 2.0, {"commits", "statements", "wal"}
#: Calls in a row of a run that has the system to itself, and how many such runs there are.
_CALLS, _ALONE = 40, 5


class Outcomes(NamedTuple):
    """Runs of webhook, condition, transform; of ten transforms; of five HTTP calls; one at a time of forty calls.

    Attributes:
        stored: characters of what a run of the first has as its payload.
        resting: what was spent on no run at all.
    """

    pure: list[Outcome]
    chain: list[Outcome]
    calls: list[Outcome]
    alone: list[Outcome]
    stored: int
    resting: Reading


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Three times 600 runs of each on real processes, sent over 64 connections."""

    async def measure() -> Outcomes:
        async with running(tmp_path_factory.mktemp("guard") / "data", calling="waves") as system:

            async def of(graph: graphs.Graph) -> list[Outcome]:
                workflow = await prepare(system, graph)
                wanted = msgspec.structs.replace(LOAD, requests=_RUNS)
                return [await drive(system, workflow, wanted, settled=False) for _ in range(_LOADS)]

            async def alone() -> list[Outcome]:
                workflow = await prepare(system, graphs.calls(_CALLS, f"{system.receiver_url}alone"), runs=2)
                one = msgspec.structs.replace(LOAD, connections=1, requests=1)
                return [await drive(system, workflow, one, settled=False) for _ in range(_ALONE)]

            pure = await of(graphs.condition_and_transform())
            stored = await system.database.fetchval("SELECT length(trigger_payload) FROM runs LIMIT 1 /* bench */")
            chain, calls = await of(graphs.transforms(10)), await of(graphs.calls(5, system.receiver_url))
            lonely = await alone()
            before = await meters.begin(system)
            await asyncio.sleep(_REST)
            resting = before.until(await meters.read(system, settled=False))
            return Outcomes(pure, chain, calls, lonely, stored, resting)

    return asyncio.run(measure())


def _fewest(outcomes: Outcomes, loads: list[Outcome], name: str) -> float:
    """The fewest of a count, without what the system would have spent meanwhile anyway."""
    each_second = getattr(outcomes.resting, name) / outcomes.resting.clock if name in _AT_REST else 0.0
    counts = [(getattr(outcome.spent, name), outcome.spent.clock) for outcome in loads]
    print(
        f"{name}: {', '.join(f'{count} in {seconds:.1f} s' for count, seconds in counts)}; {each_second:.1f}/s at rest"
    )
    return min(count - each_second * seconds for count, seconds in counts)


def _per_run(outcomes: Outcomes, loads: list[Outcome], name: str) -> float:
    """The fewest of a count by the number of runs."""
    assert all(outcome.runs == _RUNS for outcome in loads)
    counted = _fewest(outcomes, loads, name) / _RUNS
    print(f"{name} of a run: {counted:.3f}")
    return counted


def test_many_runs_share_a_commit(outcomes: Outcomes) -> None:
    """Ten runs or more share each commit, ingest, results and heartbeats together."""
    assert _per_run(outcomes, outcomes.pure, "commits") <= 0.1


def test_a_run_costs_no_statement_of_its_own(outcomes: Outcomes) -> None:
    """There is a statement for six runs or more, whatever reads or writes, and pools add none."""
    assert _per_run(outcomes, outcomes.pure, "statements") <= 0.16


def test_messages_carry_several_runs(outcomes: Outcomes) -> None:
    """A message carries nine runs or more, and a pure run needs no second one."""
    assert _per_run(outcomes, outcomes.pure, "messages") <= 0.11


def test_a_run_costs_few_redis_commands(outcomes: Outcomes) -> None:
    """Sending, fetching and acknowledging cost a command or little more for each run, those inside scripts included."""
    assert _per_run(outcomes, outcomes.pure, "redis_calls") <= 1.4


def test_a_run_writes_little_to_the_log(outcomes: Outcomes) -> None:
    """Its rows, their index entries and its share of a commit."""
    assert _per_run(outcomes, outcomes.pure, "wal") <= 2400


@pytest.mark.parametrize(("name", "bound"), [("commits", 0.1), ("statements", 0.14), ("messages", 0.11)])
def test_pure_steps_cost_nothing_but_their_rows(outcomes: Outcomes, name: str, bound: float) -> None:
    """Ten steps take the statements, commits and messages of two."""
    assert _per_run(outcomes, outcomes.chain, name) <= bound


def test_a_step_writes_little_to_the_log(outcomes: Outcomes) -> None:
    """Eight more steps: their rows and index entries."""
    more = _per_run(outcomes, outcomes.chain, "wal") - _per_run(outcomes, outcomes.pure, "wal")
    assert more / 8 <= 340


@pytest.mark.parametrize(
    ("name", "bound"), [("commits", 0.21), ("statements", 0.34), ("messages", 0.11), ("wal", 8200)]
)
def test_effects_share_their_commits(outcomes: Outcomes, name: str, bound: float) -> None:
    """Five calls, each durable before the next begins, of many runs together; one message brings them all."""
    assert _per_run(outcomes, outcomes.calls, name) <= bound


@pytest.mark.parametrize(
    ("name", "bound"), [("commits", 1.25), ("statements", 1.9), ("redis_calls", 1.3), ("wal", 1400)]
)
def test_a_run_by_itself_commits_once_for_each_call(outcomes: Outcomes, name: str, bound: float) -> None:
    """Forty calls in a row, each durable before the next: a commit for each, and little besides.

    These are counts without chance but for heartbeats and looks for work: of five runs, that with the fewest is taken.
    """
    counted = _fewest(outcomes, outcomes.alone, name) / _CALLS
    print(f"{name} of a call: {counted:.3f}")
    assert counted <= bound


def test_the_floor_of_rows_writes_what_runs_store(outcomes: Outcomes) -> None:
    """As many characters, but for the digits of a port."""
    assert outcomes.stored == pytest.approx(len(floors.stored(LOAD.body)), abs=2)
