"""The slots of a worker, and the window of the ingest."""

import threading
import time
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.ingest import Window
from shared.metrics import SLOTS_IN_USE
from worker.capacity import Capacity

ONE, TWO = UUID(int=1), UUID(int=2)


def test_slots_are_counted():
    """A message may overshoot the limit; nothing is free until that is worked off. The gauge follows."""
    capacity = Capacity(10)
    capacity.take(8)
    assert capacity.free() == 2
    capacity.take(16)
    assert capacity.free() <= 0
    assert SLOTS_IN_USE._value.get() == 24
    capacity.release(15)
    assert (capacity.free(), capacity.used) == (1, 9)
    capacity.release(0)
    assert capacity.used == 9


def test_a_closed_capacity_takes_nothing():
    """However many slots are free."""
    capacity = Capacity(10)
    capacity.close()
    assert capacity.free() == 0


def test_a_waiting_thread_wakes_when_a_slot_comes_free():
    """Long before its time-out, and only when there is room again."""
    capacity = Capacity(1)
    capacity.take(2)
    woken: list[float] = []

    def wait():
        capacity.wait(20)
        woken.append(time.monotonic())

    thread = threading.Thread(target=wait)
    thread.start()
    capacity.release()
    thread.join(0.05)
    assert thread.is_alive()
    released = time.monotonic()
    capacity.release()
    thread.join(5)
    assert woken
    assert woken[0] - released < 5


def test_a_wait_ends_when_there_is_no_room():
    """After the seconds it was given."""
    capacity = Capacity(1)
    capacity.take(1)
    began = time.monotonic()
    capacity.wait(0.02)
    assert 0.01 < time.monotonic() - began < 5


def test_the_window_admits_so_many_of_each_workflow():
    """Counts of different workflows don't mix."""
    window = Window(3)
    assert [window.admit(ONE) for _ in range(5)] == [True] * 3 + [False] * 2
    assert window.admit(TWO)


def test_a_count_replaces_what_was_sent_before_it():
    """What was sent while it was asked for is counted on top, since it may not be in it."""
    window = Window(5)
    for _ in range(3):
        window.admit(ONE)
    window.begin_count()
    window.admit(ONE)
    assert [window.admit(ONE), window.admit(ONE)] == [True, False]
    window.end_count({ONE: 1})
    assert [window.admit(ONE) for _ in range(3)] == [True, True, False]
    window.begin_count()
    window.end_count({})
    assert window.admit(ONE)


@given(st.lists(st.sampled_from(["admit", "begin", "end"]), max_size=60), st.integers(1, 10))
def test_no_more_than_the_window_is_admitted_between_counts(steps, size):
    """As long as no count says that any were taken, at most the window is ever sent."""
    window, sent, counted = Window(size), 0, 0
    asked = False
    for step in steps:
        if step == "admit":
            sent += window.admit(ONE)
        elif step == "begin" and not asked:
            window.begin_count()
            asked, counted = True, sent
        elif step == "end" and asked:
            window.end_count({ONE: counted})
            asked = False
    assert sent <= size


def test_an_untouched_window_needs_no_count():
    """The database is only asked while there is traffic."""
    window = Window(1)
    assert not window.touched
    window.admit(ONE)
    assert window.touched
    window.begin_count()
    window.end_count({})
    assert not window.touched
