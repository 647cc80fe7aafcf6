"""What the load generator takes for the start of a request."""

import pytest

from tests.bench import floors


async def test_at_a_rate_a_request_starts_when_it_is_due() -> None:
    """Not when it is sent: what keeps the generator from sending in time is in what it measures."""
    loaded = await floors.accepting(rate=1000.0, connections=1, seconds=0.1)
    since = sorted(sample.started - loaded.began for sample in loaded.samples)
    assert since == pytest.approx([number / 1000 for number in range(100)], abs=1e-5)
