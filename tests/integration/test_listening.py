"""The thread that waits for many lists at once, on a real server."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import redis

from shared import listening
from shared.broker import connect
from shared.listening import Listener

_LONG = 30.0


class Waiting:
    """A thread that waits for one list."""

    def __init__(self, listener: Listener, key: str) -> None:
        self.result: bool | Exception | None = None
        self._listener = listener
        self._key = key
        self._thread = threading.Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        try:
            self.result = self._listener.wait(self._key, _LONG)
        except redis.RedisError as error:
            self.result = error

    def over(self) -> bool | Exception | None:
        """What came of it, well before its time is over."""
        self._thread.join(_LONG / 3)
        return self.result


@pytest.fixture
def client(broker_url: str) -> Iterator[redis.Redis]:
    client = connect(broker_url)
    yield client
    client.close()


@pytest.fixture
def listener(client: redis.Redis) -> Iterator[Listener]:
    listener = Listener(client)
    yield listener
    listener.close()


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def blocked(client: redis.Redis) -> int:
    """Connections that wait for a list."""
    return sum(each["cmd"] == "blmove" and "b" in each["flags"] for each in client.client_list())


def test_an_item_wakes_who_waits_for_its_list_alone(client, listener):
    """One thread waits for three lists; the item stays in its own."""
    waiting = {key: Waiting(listener, key) for key in ("a", "b", "c")}
    until(lambda: blocked(client) == 3)
    client.rpush("b", "1", "2")
    assert waiting["b"].over() is True
    assert (waiting["a"].result, waiting["c"].result) == (None, None)
    assert client.lrange("b", 0, -1) == [b"1", b"2"]
    assert blocked(client) == 2


def test_an_item_that_is_there_wakes_at_once(client, listener):
    """As one does that came between two waits."""
    client.rpush("a", "1")
    assert [Waiting(listener, "a").over(), Waiting(listener, "a").over()] == [True, True]


def test_a_list_is_asked_for_again_without_waking_anybody(client, listener, monkeypatch):
    """The server's answer that there is nothing ends no wait, and shows that it lives."""
    monkeypatch.setattr(listening, "_BLOCK", 0.05)
    waiting = Waiting(listener, "a")
    until(lambda: listener.heard_at)
    first = listener.heard_at
    until(lambda: listener.heard_at > first)
    assert waiting.result is None
    client.rpush("a", "1")
    assert waiting.over() is True


def test_a_wait_ends_when_its_time_is_over(listener):
    """Whether or not there was an item."""
    assert listener.wait("a", 0.01)
    assert listener.wait("a", 0.01)


def test_the_end_lets_everybody_go(client, listener):
    """Who waits goes on, and nobody waits any more."""
    waiting = [Waiting(listener, key) for key in ("a", "b")]
    until(lambda: blocked(client) == 2)
    listener.close()
    assert [each.over() for each in waiting] == [True, True]
    assert not listener.wait("a", _LONG)


def test_a_connection_that_breaks_is_told_and_replaced(client, listener):
    """Who waits for its list hears of it; the next wait has another connection."""
    waiting = Waiting(listener, "a")
    until(lambda: blocked(client) == 1)
    client.client_kill_filter(_id=next(each["id"] for each in client.client_list() if each["cmd"] == "blmove"))
    assert isinstance(waiting.over(), redis.ConnectionError)
    again = Waiting(listener, "a")
    client.rpush("a", "1")
    assert again.over() is True


def test_a_server_that_does_not_answer_is_noticed(client, listener, monkeypatch):
    """A half-open connection tells nothing, so silence ends the wait with an error."""
    monkeypatch.setattr(listening, "_BLOCK", 0.1)
    monkeypatch.setattr(listening, "_ANSWER", 1.0)
    waiting = Waiting(listener, "a")
    until(lambda: listener.heard_at)
    client.client_pause(3_000, all=True)
    assert isinstance(waiting.over(), redis.ConnectionError)
