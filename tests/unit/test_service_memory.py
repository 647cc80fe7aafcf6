"""What a process does about garbage collections."""

import gc
from collections.abc import Iterator

import pytest

from shared.service import settle


@pytest.fixture
def restored() -> Iterator[None]:
    """The collector as it was."""
    threshold = gc.get_threshold()
    yield
    gc.set_threshold(*threshold)
    gc.unfreeze()


@pytest.mark.usefixtures("restored")
def test_what_a_process_starts_with_is_not_looked_at_again() -> None:
    """What is there at its start is out of every later collection; garbage made later is still collected."""
    there = [[]]
    settle()
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0
    assert not any(one is there for one in gc.get_objects())
    cycle: list[object] = []
    cycle.append(cycle)
    del cycle
    assert gc.collect() >= 1
