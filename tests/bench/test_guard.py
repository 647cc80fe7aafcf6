"""What a run may cost, in counts that no machine changes: the short form of `make bench` that every test run has."""

import asyncio

import pytest

from tests.bench import graphs
from tests.bench.driving import Outcome, drive, prepare
from tests.bench.load import Load
from tests.bench.system import running

_RUNS = 600


@pytest.fixture(scope="module")
def pure_runs(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """600 runs of webhook, condition, transform on real processes, sent over 64 connections."""

    async def measure() -> Outcome:
        async with running(tmp_path_factory.mktemp("guard") / "data") as system:
            workflow = await prepare(system, graphs.condition_and_transform())
            wanted = Load(port=0, path="", body=graphs.payload(), requests=_RUNS)
            return await drive(system, workflow, wanted, settled=False)

    return asyncio.run(measure())


def test_many_runs_share_a_commit(pure_runs: Outcome) -> None:
    """Two runs or more share each commit, ingest, results and heartbeats together."""
    assert pure_runs.runs == _RUNS
    assert pure_runs.spent.commits / _RUNS <= 0.5


def test_a_run_costs_no_statement_of_its_own(pure_runs: Outcome) -> None:
    """There are fewer statements than runs, whatever reads, writes or keeps house, and pools add none."""
    assert pure_runs.spent.statements / _RUNS < 1


def test_messages_carry_several_runs(pure_runs: Outcome) -> None:
    """A message carries four runs or more, and a pure run needs no second one."""
    assert pure_runs.spent.messages / _RUNS <= 0.25


def test_a_run_costs_few_redis_commands(pure_runs: Outcome) -> None:
    """Sending, fetching and acknowledging cost at most four commands for each run, those inside scripts included."""
    assert pure_runs.spent.redis_calls / _RUNS <= 4
