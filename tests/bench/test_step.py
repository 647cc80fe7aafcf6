"""What a pure step with templates may cost, counted: the same on every machine, however busy it is."""

import pytest

from tests.bench.counting import calls
from tests.bench.step import KINDS, chain, walked

#: Calls of functions, Python's own and C's, for each step of a chain. At 0.05 to 0.1 us a call the budget of 150 us is
#: 1,500 calls and more; these bounds are a fifth above what was counted.
BOUNDS = {
    "text_transform, 2 expressions and a filter": 108,
    "string_condition, 2 templates": 63,
    "data_mapper, 6 leaves with their types": 76,
    "text_transform, a loop over 10 items": 630,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_with_templates_takes_few_calls(kind: str) -> None:
    """The difference between chains of 60 and 10 nodes, by the 50 nodes between them: rendering, running, recording."""
    counted = []
    for length in (10, 60):
        make = chain(kind, length, templated=True)
        walked(make())
        walk = make()
        counted.append(calls(lambda: walked(walk)))  # noqa: B023 — it is called at once
    each = (counted[1] - counted[0]) / 50
    print(f"calls for a step, {kind}: {each:.1f}")
    assert each <= BOUNDS[kind]
