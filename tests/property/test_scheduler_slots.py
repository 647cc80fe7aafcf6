"""Which slot is fired after an outage, held against walking the grid slot by slot."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.schedule import MOST_MISSED, Schedule, due_slots, next_slot
from shared.schedule.due import COUNTED, LATE

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


POLICIES = ("one", "all", "none")


def grid_of(schedule, slot, now):
    """The slots that have come, one by one, and the first that has not."""
    grid = [slot]
    while grid[-1] <= now:
        following = next_slot(schedule, grid[-1])
        assert following is not None
        grid.append(following)
    return grid[:-1], grid[-1]


@given(st.sampled_from(SCHEDULES), st.integers(0, 3600 * 24 * 40), st.floats(0, 4000), st.booleans())
def test_one_slot_is_fired_and_the_grid_goes_on(schedule, start, late, exact):
    """The newest due slot is fired, the next is the first that is not due, and the rest counts as missed."""
    slot = next_slot(schedule, START + timedelta(seconds=start))
    assert slot is not None
    now = slot + timedelta(seconds=int(late) if exact else late)
    came, behind = grid_of(schedule, slot, now)
    assert due_slots(schedule, slot, now) == ([came[-1]], behind, min(len(came) - 1, COUNTED))


@given(st.sampled_from(SCHEDULES), st.integers(0, 3600 * 24 * 40), st.floats(0, 4000), st.integers(1, 1200))
def test_all_slots_are_fired_in_pieces(schedule, start, late, room):
    """With `all` every slot is run, oldest first, past the newest thousand none; what has no room is left for later."""
    slot = next_slot(schedule, START + timedelta(seconds=start))
    assert slot is not None
    now = slot + timedelta(seconds=late)
    came, behind = grid_of(schedule, slot, now)
    wanted = came[-MOST_MISSED:]
    fired, following, missed = due_slots(schedule, slot, now, "all", room=room)
    assert fired == wanted[:room]
    assert following == [*wanted, behind][len(fired)]
    assert missed == min(len(came) - len(wanted), COUNTED)


@given(st.sampled_from(SCHEDULES), st.integers(0, 3600 * 24 * 40), st.floats(0, 400))
def test_none_gives_up_what_an_outage_left(schedule, start, late):
    """With `none` a slot is run while the oldest that has come is not late; after that the next to come is."""
    slot = next_slot(schedule, START + timedelta(seconds=start))
    assert slot is not None
    now = slot + timedelta(seconds=late)
    came, behind = grid_of(schedule, slot, now)
    fired, following, missed = due_slots(schedule, slot, now, "none")
    assert fired == ([] if now - slot > LATE else came[-1:])
    assert following == behind
    assert missed == min(len(came) - len(fired), COUNTED)


@given(st.sampled_from(SCHEDULES), st.integers(1, 400), st.sampled_from(POLICIES))
def test_an_outage_of_a_year_ends_on_the_newest_slot(schedule, days, missed_runs):
    """However long the outage, nothing lies between the last slot that is fired and now, and there are not too many."""
    slot = next_slot(schedule, START)
    assert slot is not None
    now = slot + timedelta(days=days, seconds=0.5)
    fired, following, missed = due_slots(schedule, slot, now, missed_runs)
    assert following is not None
    assert following > now
    assert len(fired) <= {"one": 1, "all": MOST_MISSED, "none": 0}[missed_runs]
    assert missed <= COUNTED
    assert fired == sorted(set(fired))
    for each, behind in pairwise([*fired, following] if fired else []):
        assert next_slot(schedule, each) == behind


def test_a_thousand_slots_of_a_line_that_comes_in_bursts():
    """The newest thousand are found, whether the outage ends in a burst, behind it, or long after it."""
    line = Schedule("cron", "* * * 1,7 *")
    slot = datetime(2026, 1, 10, tzinfo=UTC)
    for now in (
        datetime(2026, 7, 1, 3, tzinfo=UTC),
        datetime(2026, 12, 30, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    ):
        fired, following, missed = due_slots(line, slot, now, "all")
        assert (len(fired), missed) == (MOST_MISSED, COUNTED)
        assert following == next_slot(line, now)
        assert next_slot(line, fired[-1]) == following
        assert all(next_slot(line, one) == other for one, other in pairwise(fired))
