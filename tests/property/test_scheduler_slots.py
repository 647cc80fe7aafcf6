"""Which slot is fired after an outage, held against walking the grid slot by slot."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from scheduler.schedules import advance
from shared.schedule import Schedule, next_slot

SCHEDULES = (
    Schedule("interval", "1 second"),
    Schedule("interval", "7 minutes"),
    Schedule("cron", "*/5 9-17 * * mon-fri", "Europe/Berlin"),
    Schedule("cron", "30 2 * * *", "America/New_York"),
    Schedule("daily", "09:00", "Asia/Tokyo"),
    Schedule("weekly", "mon,thu 09:00"),
    Schedule("monthly", "last 18:00"),
)
START = datetime(2026, 3, 1, tzinfo=UTC)


@given(st.sampled_from(SCHEDULES), st.integers(0, 3600 * 24 * 40), st.floats(0, 4000), st.booleans())
def test_one_slot_is_fired_and_the_grid_goes_on(schedule, start, late, exact):
    """The newest due slot is fired, the next is the first that is not due, and "missed" says if any lies between."""
    slot = next_slot(schedule, START + timedelta(seconds=start))
    assert slot is not None
    now = slot + timedelta(seconds=int(late) if exact else late)
    grid = [slot]
    while grid[-1] <= now:
        following = next_slot(schedule, grid[-1])
        assert following is not None
        grid.append(following)
    assert advance(schedule, slot, now) == (grid[-2], grid[-1], len(grid) > 2)


@given(st.sampled_from(SCHEDULES), st.integers(1, 400))
def test_an_outage_of_a_year_ends_on_the_newest_slot(schedule, days):
    """However long the outage, nothing lies between the slot that is fired and now."""
    slot = next_slot(schedule, START)
    assert slot is not None
    now = slot + timedelta(days=days, seconds=0.5)
    fired, following, _ = advance(schedule, slot, now)
    assert fired <= now
    assert following is not None
    assert following > now
    assert next_slot(schedule, fired) == following
