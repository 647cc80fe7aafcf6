"""Whether curves of a soak are called flat."""

import pytest

from tests.bench import trends
from tests.bench.trends import FLAT, SHORT, WORSE

#: Half an hour, a sample every ten seconds.
_SECONDS = [10.0 * number for number in range(1, 181)]


def _judged(name: str, values: list[float], seconds: list[float] = _SECONDS) -> str:
    (verdict,) = trends.verdicts({"seconds": seconds, name: values})
    return verdict.verdict


def test_single_peaks_are_no_trend() -> None:
    """A curve that jumps to ten times its value now and then is flat, more and more of them towards the end too."""
    values = [100.0] * 180
    for place in (70, 100, 120, 140, 150, 160, 165, 170, 175, 179):
        values[place] = 1000.0
    assert _judged("completed p99, ms", values) == FLAT


def test_what_grows_slowly_is_found() -> None:
    """Memory that grows by three per cent in ten minutes is not flat; by one per cent it is."""
    assert _judged("memory of worker-1, MB", [100 + 3 * moment / 600 for moment in _SECONDS]) == WORSE
    assert _judged("memory of worker-1, MB", [100 + 1 * moment / 600 for moment in _SECONDS]) == FLAT


def test_throughput_may_rise_and_not_fall() -> None:
    """Fewer runs per second is what counts, not more."""
    falling = [4000 - 300 * moment / 600 for moment in _SECONDS]
    assert _judged("runs/s", falling) == WORSE
    assert _judged("runs/s", falling[::-1]) == FLAT


def test_a_backlog_is_judged_by_what_is_accepted_in_a_second() -> None:
    """Few open steps may become half as many more, up and down; not so many that a run waits 0.06 s longer."""
    few = [100.0 + 80 * (number % 3) + 50 * moment / 1800 for number, moment in enumerate(_SECONDS)]
    many = [value + 240 * moment / 600 for value, moment in zip(few, _SECONDS, strict=True)]
    for open_steps, verdict in ((few, FLAT), (many, WORSE), (many[::-1], FLAT)):
        curves = {"seconds": _SECONDS, "runs/s": [4000.0] * len(_SECONDS), "open steps": open_steps}
        judged = {one.name: one for one in trends.verdicts(curves)}
        assert judged["open steps, by runs/s"].verdict == verdict


def test_what_fills_at_first_is_not_judged() -> None:
    """A curve that rises for ten minutes of thirty and then stays is flat."""
    assert _judged("pg_wal, MB", [min(2000.0, moment * 4) for moment in _SECONDS]) == FLAT


def test_a_short_soak_says_nothing() -> None:
    """Within minutes nothing is called flat, nor the other."""
    assert _judged("broker, MB", [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [10.0, 20.0, 30.0, 40.0, 50.0, 60.0]) == SHORT


def test_small_tables_are_left_out() -> None:
    """A table that never gets large has no curves; what is counted otherwise keeps its own."""
    small = {"seconds": 1.0, "joins, MB": 0.1, "indexes of joins, MB": 0.05, "dead rows of joins": 3.0}
    large = {"runs, MB": 5.0, "broker, MB": 0.1, "memory of api, MB": 80.0}
    found = trends.curves([small | large, small | large])
    assert found.keys() == {"seconds", "runs, MB", "memory of api, MB", "broker, MB"}


def test_the_slope_is_per_second() -> None:
    """Points on a line have its slope."""
    assert trends.slope([0.0, 10.0, 20.0], [5.0, 25.0, 45.0]) == pytest.approx(2.0)
