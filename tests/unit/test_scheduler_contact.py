"""When a scheduler may declare workers dead."""

from datetime import UTC, datetime, timedelta

import pytest

from scheduler.rescue import Contact
from shared.store.duties import Moment

LEASE = 6.0
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Seen:
    """A contact, and the two clocks it goes by: Postgres's and the monotonic one."""

    def __init__(self) -> None:
        self.at = 50.0
        self.now = NOW
        self.started = STARTED
        self.contact = Contact(LEASE, lambda: self.at)

    def look(self, seconds: float = 1.0, *, postgres_seconds: float | None = None) -> bool:
        """Look after so many seconds."""
        self.at += seconds
        self.now += timedelta(seconds=seconds if postgres_seconds is None else postgres_seconds)
        return self.contact.may_judge(Moment(self.now, self.started))

    def ready(self) -> "Seen":
        """After a lease of unbroken contact."""
        while not self.look():
            pass
        return self


def test_judging_takes_a_full_lease_of_contact():
    """The first look begins the contact; a lease later there may be judgement."""
    seen = Seen()
    assert [seen.look() for _ in range(8)] == [False] * 6 + [True] * 2


def test_a_lost_connection_begins_anew():
    """After an error a whole lease must pass again."""
    seen = Seen().ready()
    seen.contact.lose()
    assert [seen.look() for _ in range(7)] == [False] * 6 + [True]


def test_another_postmaster_begins_anew():
    """Postgres was restarted: workers could not heartbeat meanwhile."""
    seen = Seen().ready()
    seen.started += timedelta(days=1)
    assert not seen.look()


@pytest.mark.parametrize("step", [600.0, -600.0])
def test_a_step_of_the_clock_of_postgres_begins_anew(step):
    """Heartbeats look old when Postgres's clock is set, though nobody was silent."""
    seen = Seen().ready()
    assert not seen.look(1.0, postgres_seconds=1.0 + step)
    assert not seen.look()


def test_a_pause_of_this_process_begins_anew():
    """Who did not look for half a lease does not know what happened: perhaps the whole machine stood still."""
    seen = Seen().ready()
    assert not seen.look(LEASE / 2 + 0.5)
    assert [seen.look() for _ in range(6)] == [False] * 5 + [True]


def test_a_late_look_is_no_break():
    """Looks come when they come."""
    seen = Seen().ready()
    assert seen.look(2.5)
