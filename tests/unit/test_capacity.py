"""The slots of a worker, and the window of the ingest."""

import contextvars
import threading
import time
from collections.abc import Sequence
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from shared.ingest import Window
from shared.lanes import CAME_AS_BULK, LANES, LIGHT_SHARE, Lane
from shared.metrics import SLOTS_IN_USE
from worker.capacity import Capacity

LIGHT, LOW, BULK = LANES[1, True, False], LANES[2, True, False], LANES[1, True, True]
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
        capacity.wait(20, LIGHT)
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
    capacity.wait(0.02, LIGHT)
    assert 0.01 < time.monotonic() - began < 5


def test_bulk_fills_only_a_part_of_the_slots():
    """One slot in eight is kept for light work; a worker of one slot takes bulk all the same."""
    capacity = Capacity(256)
    capacity.take(224, bulk=True)
    assert (capacity.free(bulk=True), capacity.free(bulk=False)) == (0, 32)
    capacity.take(20, bulk=False)
    assert (capacity.free(bulk=True), capacity.free(bulk=False)) == (0, 12)
    assert Capacity(1).free(bulk=True) == 1
    assert Capacity(2).free(bulk=True) == 1


def test_light_work_takes_room_from_bulk():
    """What is free in all bounds both."""
    capacity = Capacity(8)
    capacity.take(6, bulk=False)
    assert capacity.free(bulk=True) == 2


def test_a_slot_is_given_back_as_what_it_was_taken_for():
    """A task that came as bulk gives bulk's slots back, and takes more of them for what it leads to."""
    capacity = Capacity(8)
    capacity.take(3, bulk=True)

    def at_work():
        CAME_AS_BULK.set(True)
        capacity.take(1)
        capacity.release(2)

    contextvars.copy_context().run(at_work)
    assert (capacity.used, capacity.free(bulk=True)) == (2, 5)
    capacity.take(1)
    capacity.release(1)
    assert (capacity.used, capacity.free(bulk=True)) == (2, 5)


def test_light_work_makes_a_worker_a_shared_one():
    """Bulk by itself does not."""
    capacity = Capacity(8)
    capacity.take(3, bulk=True)
    assert not capacity.is_shared()
    capacity.take(1, bulk=False)
    assert capacity.is_shared()


class Waiting:
    """Threads that wait for room in a full capacity, and the order in which they were let in."""

    def __init__(self, capacity: Capacity, lanes: Sequence[Lane]) -> None:
        self.admitted: list[Lane] = []
        self._capacity = capacity
        self._threads = []
        for number, lane in enumerate(lanes, 1):
            self._threads.append(threading.Thread(target=self._wait, args=(lane,)))
            self._threads[-1].start()
            while len(capacity._waiters) < number:
                time.sleep(0.001)

    def _wait(self, lane: Lane) -> None:
        self._capacity.wait(20, lane)
        self.admitted.append(lane)
        self._capacity.take(1, bulk=lane.bulk)

    def admit(self) -> None:
        """Give one slot back, and wait until somebody has it."""
        count = len(self.admitted)
        self._capacity.release()
        while len(self.admitted) == count or self._capacity.free() > 0:
            time.sleep(0.001)

    def join(self) -> None:
        for thread in self._threads:
            thread.join(5)


def test_room_goes_to_the_first_lane_that_waits():
    """One thread is let in for one slot: high before low, light before bulk, in whatever order they came."""
    capacity = Capacity(8)
    capacity.take(8, bulk=False)
    waiting = Waiting(capacity, [LOW, BULK, LIGHT])
    for _ in range(3):
        waiting.admit()
    waiting.join()
    assert waiting.admitted == [LIGHT, BULK, LOW]


def test_a_lane_that_waits_longest_has_its_turn():
    """Of eight slots one goes to it, so that high does not starve low for ever."""
    capacity = Capacity(8)
    capacity.take(8, bulk=False)
    waiting = Waiting(capacity, [LOW, *[LIGHT] * 12])
    for _ in range(8):
        waiting.admit()
    assert LOW in waiting.admitted
    for _ in range(5):
        waiting.admit()
    waiting.join()


def test_who_finds_nothing_leaves_the_room_to_the_next():
    """A slot is not kept by a lane whose queue is empty."""
    capacity = Capacity(8)
    capacity.take(8, bulk=False)
    waiting = Waiting(capacity, [LOW])
    idle = threading.Thread(target=capacity.wait, args=(20, LIGHT))
    idle.start()
    while len(capacity._waiters) < 2:
        time.sleep(0.001)
    capacity.release()
    idle.join(5)
    assert waiting.admitted == []
    capacity.decline()
    waiting.join()
    assert waiting.admitted == [LOW]


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


class Clock:
    """A monotonic clock that stands until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_a_workflow_sends_beyond_its_share_is_bulk():
    """Others are light; a second count is not needed for that."""
    window = Window(2000, now=Clock())
    crowds = [window.crowds(ONE) for _ in range(100)]
    assert crowds == [False] * LIGHT_SHARE + [True] * (100 - LIGHT_SHARE)
    assert not window.crowds(TWO)


def test_a_workflow_with_a_backlog_is_bulk_until_it_is_worked_off():
    """As the database counts it, and for two seconds more."""
    clock = Clock()
    window = Window(2000, now=clock)
    window.end_count({ONE: LIGHT_SHARE})
    assert window.crowds(ONE)
    window.end_count({})
    clock.now += 1.9
    assert window.crowds(ONE)
    clock.now += 0.2
    assert not window.crowds(ONE)


def test_a_steady_workflow_stays_light_however_late_a_count_is():
    """What it sent is assumed to be taken soon; only a count tells otherwise."""
    clock = Clock()
    window = Window(2000, now=clock)
    for _ in range(100):
        clock.now += 0.025
        assert not window.crowds(ONE)
    window.end_count({ONE: LIGHT_SHARE})
    assert window.crowds(ONE)


def test_a_flood_that_is_over_is_forgotten():
    """However large it was: two seconds behind its last reference the workflow is light."""
    clock = Clock()
    window = Window(2000, now=clock)
    assert [window.crowds(ONE) for _ in range(10_000)][-1]
    clock.now += 2.1
    assert not window.crowds(ONE)


def test_an_untouched_window_needs_no_count():
    """The database is only asked while there is traffic."""
    window = Window(1)
    assert not window.touched
    window.admit(ONE)
    assert window.touched
    window.begin_count()
    window.end_count({})
    assert not window.touched
