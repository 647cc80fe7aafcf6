"""The simulation's database is held against PostgreSQL: the same calls, in the same order, leave the same rows."""

import asyncio
import os
from random import Random

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.engine import graph, workflow
from tests.property.simulation_graphs import Shape, shapes
from tests.property.simulation_twin import Twin
from tests.property.simulation_world import World

_SEQUENCES = int(os.environ.get("SIMULATION_SEQUENCES", "30"))
_EMPTY = "TRUNCATE runs, open_steps, steps, joins, iterations, items, incarnations"

pytestmark = pytest.mark.timeout(120 + _SEQUENCES)


def test_postgresql_does_what_the_simulation_says(database_url):
    """Random sequences of advances, claims, rescues, waits and cancellations: every row is the same after each."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(database_url))
    flow = loop.run_until_complete(workflow(connection, *graph("t>a")))
    loop.run_until_complete(connection.execute("UPDATE workflows SET trigger_node = 'n0'"))

    @settings(max_examples=_SEQUENCES, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(shapes(), st.integers(0, 2**32))
    def agree(shape: Shape, seed: int) -> None:
        random = Random(seed)
        loop.run_until_complete(connection.execute(_EMPTY))
        world = World(shape, runs=random.randint(1, 2), workers=2, database=Twin(loop, connection, flow))
        for _ in range(60):
            world.happen(random)
        world.finish()
        world.judge_end()

    try:
        agree()
    finally:
        loop.run_until_complete(connection.close())
        loop.close()
