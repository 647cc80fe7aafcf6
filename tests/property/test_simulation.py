"""The engine's core on a virtual clock: workers that are killed, stopped, frozen and too late, over random workflows.

The walks, the decisions about joins and items and the grouping of commits are the product's; the database is a model of
it that `test_simulation_fidelity.py` holds against PostgreSQL. ``SIMULATION_SCHEDULES`` says how many schedules.
"""

import os
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.property.simulation_graphs import Shape, shapes
from tests.property.simulation_world import World

_SCHEDULES = int(os.environ.get("SIMULATION_SCHEDULES", "250"))
pytestmark = pytest.mark.timeout(120 + _SCHEDULES)
PICK = st.integers(0, 1000)


class Schedules(RuleBasedStateMachine):
    """One schedule: what happens next is drawn."""

    world: World

    @initialize(shape=shapes(), runs=st.integers(1, 2), workers=st.integers(1, 3))
    def begin(self, shape: Shape, runs: int, workers: int) -> None:
        self.world = World(shape, runs=runs, workers=workers)

    @rule(pick=PICK, keep=st.booleans())
    def deliver(self, pick: int, keep: bool) -> None:
        self.world.deliver(pick, keep=keep)

    @rule(pick=PICK)
    def drop(self, pick: int) -> None:
        self.world.drop(pick)

    @rule(picks=st.lists(PICK, min_size=1, max_size=6))
    def work(self, picks: list[int]) -> None:
        for pick in picks:
            self.world.work(pick)

    @rule(pick=PICK)
    def work_in_vain(self, pick: int) -> None:
        self.world.work(pick, lose=True)

    @rule(pick=PICK)
    def flush(self, pick: int) -> None:
        self.world.flush(pick)

    @rule(pick=PICK, lose=st.booleans())
    def land(self, pick: int, lose: bool) -> None:
        self.world.land(pick, lose=lose)

    @rule(pick=PICK)
    def stray(self, pick: int) -> None:
        self.world.stray(pick)

    @rule(pick=PICK)
    def die(self, pick: int) -> None:
        self.world.die(pick)

    @rule(pick=PICK)
    def stop(self, pick: int) -> None:
        self.world.stop(pick)

    @rule(pick=PICK)
    def beat(self, pick: int) -> None:
        self.world.beat(pick)

    @rule(seconds=st.sampled_from([0.5, 2.0, 3.5, 7.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        self.world.pass_time(seconds)

    @rule()
    def stall(self) -> None:
        self.world.stall()

    @rule()
    def look_after(self) -> None:
        self.world.do_duties()

    @rule(pick=PICK, really=st.integers(0, 9))
    def cancel(self, pick: int, really: int) -> None:
        if really == 0:
            self.world.cancel(pick)

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.world.judge()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.finish()
            self.world.judge()
            self.world.judge_end()


def test_any_schedule_ends_as_the_model_says():
    """Counters, results, joins, items, leases and ends hold after every step; a failing schedule is made short."""
    run_state_machine_as_test(
        Schedules,
        settings=settings(
            max_examples=max(60, _SCHEDULES // 10),
            stateful_step_count=50,
            suppress_health_check=list(HealthCheck),
        ),
    )


@settings(max_examples=_SCHEDULES, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(shapes(), st.integers(0, 2**32))
def test_any_seed_ends_as_the_model_says(shape: Shape, seed: int) -> None:
    """The same, many more and longer: what happens follows from a seed, and faults come as rarely as work needs."""
    random = Random(seed)
    world = World(shape, runs=random.randint(1, 2), workers=random.randint(1, 3))
    for _ in range(80):
        world.happen(random)
    world.finish()
    world.judge()
    world.judge_end()
