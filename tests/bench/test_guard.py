"""What a run may cost, in counts that no machine changes: the short form of `make bench` that every test run has.

How many runs share a commit or a message depends on how they come; 64 connections that send as answers come make
batches of much the same size on a fast machine and on a slow one. Bounds leave room for that, and for a second's
heartbeats and housekeeping, which a slow machine has more of beside as many runs. Outbound calls are answered 150 at a
time: where each is answered at once, the faster the disk the more commits. Calls and memory of single steps are held
more closely in ``test_guard_calls.py``.
"""

import asyncio
from typing import NamedTuple

import msgspec
import pytest

from tests.bench import graphs
from tests.bench.driving import LOAD, Outcome, drive, prepare
from tests.bench.system import running

_RUNS = 600


class Outcomes(NamedTuple):
    """Runs of webhook, condition, transform; of ten transforms; of five HTTP calls."""

    pure: Outcome
    chain: Outcome
    calls: Outcome


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """600 runs of each on real processes, sent over 64 connections."""

    async def measure() -> Outcomes:
        async with running(tmp_path_factory.mktemp("guard") / "data", calling="waves") as system:

            async def of(graph: graphs.Graph) -> Outcome:
                workflow = await prepare(system, graph)
                return await drive(system, workflow, msgspec.structs.replace(LOAD, requests=_RUNS), settled=False)

            five = graphs.calls(5, system.receiver_url)
            return Outcomes(await of(graphs.condition_and_transform()), await of(graphs.transforms(10)), await of(five))

    return asyncio.run(measure())


def _per_run(outcome: Outcome, name: str) -> float:
    """A count by the number of runs."""
    assert outcome.runs == _RUNS
    counted: float = getattr(outcome.spent, name) / _RUNS
    print(f"{name} of a run: {counted:.3f}")
    return counted


def test_many_runs_share_a_commit(outcomes: Outcomes) -> None:
    """Four runs or more share each commit, ingest, results and heartbeats together."""
    assert _per_run(outcomes.pure, "commits") <= 0.25


def test_a_run_costs_no_statement_of_its_own(outcomes: Outcomes) -> None:
    """There are half as many statements as runs, whatever reads, writes or keeps house, and pools add none."""
    assert _per_run(outcomes.pure, "statements") <= 0.5


def test_messages_carry_several_runs(outcomes: Outcomes) -> None:
    """A message carries seven runs or more, and a pure run needs no second one."""
    assert _per_run(outcomes.pure, "messages") <= 0.15


def test_a_run_costs_few_redis_commands(outcomes: Outcomes) -> None:
    """Sending, fetching and acknowledging cost two or three commands for each run, those inside scripts included."""
    assert _per_run(outcomes.pure, "redis_calls") <= 2.5


def test_a_run_writes_little_to_the_log(outcomes: Outcomes) -> None:
    """Its rows, their index entries and its share of a commit."""
    assert _per_run(outcomes.pure, "wal") <= 2400


@pytest.mark.parametrize(("name", "bound"), [("commits", 0.25), ("statements", 0.5), ("messages", 0.15)])
def test_pure_steps_cost_nothing_but_their_rows(outcomes: Outcomes, name: str, bound: float) -> None:
    """Ten steps take the statements, commits and messages of two."""
    assert _per_run(outcomes.chain, name) <= bound


def test_a_step_writes_little_to_the_log(outcomes: Outcomes) -> None:
    """Eight more steps: their rows and index entries."""
    more = _per_run(outcomes.chain, "wal") - _per_run(outcomes.pure, "wal")
    assert more / 8 <= 340


@pytest.mark.parametrize(("name", "bound"), [("commits", 0.25), ("statements", 0.5), ("messages", 0.15), ("wal", 8200)])
def test_effects_share_their_commits(outcomes: Outcomes, name: str, bound: float) -> None:
    """Five calls, each durable before the next begins, of many runs together; one message brings them all."""
    assert _per_run(outcomes.calls, name) <= bound
