"""Messages over a real Redis-protocol server: the blocking consumer, and the announcer."""

import threading
import time
from collections.abc import Callable, Iterator
from uuid import UUID

import dramatiq
import pytest
import redis

from shared.broker import BLOCK_SECONDS, NAMESPACE, Announcer, BlockingConsumer, StepBroker, decode_references
from shared.lanes import LANES, Doorbell, Reference
from worker.capacity import Capacity

#: Continuations: while they are few, each is a message of its own.
QUEUE = LANES[1, False].queue


def reference(number: int) -> Reference:
    return Reference(UUID(int=number), f"n{number}", "-", claim=False)


def bells(*numbers: int) -> list[Doorbell]:
    return [Doorbell(reference(number), 1, new=False) for number in numbers]


class Listener:
    """A consumer of one queue on a thread of its own, and what it was given."""

    def __init__(self, url: str, slots: int = 1000) -> None:
        self.capacity = Capacity(slots)
        self.broker = StepBroker(url, room=self.capacity)
        dramatiq.actor(actor_name=QUEUE, queue_name=QUEUE, broker=self.broker)(lambda wire: None)
        self.consumer: BlockingConsumer = self.broker.consume(QUEUE, prefetch=16, timeout=1000)  # type: ignore[assignment]
        self.got: list[dramatiq.MessageProxy] = []
        self.arrived: list[float] = []
        self._going = True
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while self._going:
            message = next(self.consumer)
            if message is not None:
                self.arrived.append(time.monotonic())
                self.got.append(message)

    def references(self) -> list[Reference]:
        return [found for message in list(self.got) for found in decode_references(*message.args)]

    def close(self) -> None:
        self._going = False
        self._thread.join()
        self.broker.client.close()


@pytest.fixture
def listen(broker_url: str) -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(**options: int) -> Listener:
        listeners.append(Listener(broker_url, **options))
        return listeners[-1]

    yield start
    for listener in listeners:
        listener.close()


@pytest.fixture
def announcer(broker_url: str) -> Iterator[Announcer]:
    announcer = Announcer(broker_url)
    yield announcer
    announcer.close()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def waits(broker_url: str) -> bool:
    with redis.Redis.from_url(broker_url) as client:
        return any(each["cmd"] == "blmove" for each in client.client_list())


def test_an_idle_consumer_wakes_at_once(broker_url, listen, announcer):
    """It blocks on the server when there is nothing, and has a message long before its time-out."""
    listener = listen()
    delays = []
    for number in range(5):
        until(lambda: waits(broker_url))
        sent = time.monotonic()
        announcer.announce(bells(number))
        until(lambda count=number + 1: len(listener.got) == count)
        delays.append(listener.arrived[-1] - sent)
    assert listener.references() == [reference(number) for number in range(5)]
    assert sorted(delays)[2] < BLOCK_SECONDS / 10


def test_no_more_is_fetched_than_there_is_room_for(broker_url, listen, announcer):
    """With no slot free messages stay in the queue; a slot that is given back lets the next in."""
    listener = listen(slots=2)
    announcer.announce(bells(1, 2, 3, 4))
    until(lambda: listener.capacity.used == 2)
    with redis.Redis.from_url(broker_url) as client:
        assert client.llen(f"{NAMESPACE}:{QUEUE}") == 2
        listener.capacity.release()
        until(lambda: len(listener.got) == 3)
        assert client.llen(f"{NAMESPACE}:{QUEUE}") == 1
    assert listener.capacity.used == 2


def test_messages_that_are_not_ours_stop_nothing(broker_url, listen, announcer):
    """Garbage of every shape is dropped: the message behind it arrives, and no slot is lost to it."""
    listener = listen()
    shapes = [
        (),
        ("x",),
        (5,),
        ([["not a uuid", "n", "-", False]],),
        ([["00" * 16, "n"]],),
        ([[1, 2, 3, 4]],),
        ([None],),
        ([], []),
    ]
    with redis.Redis.from_url(broker_url) as client:
        for number, data in enumerate((b"", b"\xff\xfe", b"{}", b"[]", b"null", b'{"queue_name": 1}')):
            client.hset(f"{NAMESPACE}:{QUEUE}.msgs", f"g{number}", data)
            client.rpush(f"{NAMESPACE}:{QUEUE}", f"g{number}")
    for args in shapes:
        listener.broker.enqueue(dramatiq.Message(QUEUE, QUEUE, args, {}, {}))
    listener.broker.enqueue(dramatiq.Message(QUEUE, "no such actor", ([],), {}, {}))
    announcer.announce(bells(7))
    until(lambda: reference(7) in listener.references())
    assert listener.references() == [reference(7)]
    assert listener.capacity.used == 1


def test_a_flush_between_push_and_fetch_loses_messages_and_nothing_else(broker_url, listen, announcer):
    """An id in the queue whose body is gone is passed over; what comes after the flush arrives."""
    listener = listen()
    with redis.Redis.from_url(broker_url) as client:
        client.rpush(f"{NAMESPACE}:{QUEUE}", "bodyless")
        announcer.announce(bells(1))
        until(lambda: len(listener.got) == 1)
        client.flushall()
    announcer.announce(bells(2))
    until(lambda: len(listener.got) == 2)
    for message in listener.got:
        listener.consumer.ack(message)
    assert listener.references() == [reference(1), reference(2)]


def test_an_acknowledged_message_is_gone(broker_url, listen, announcer):
    """Nothing of it stays on the server."""
    listener = listen()
    announcer.announce(bells(1, 2))
    until(lambda: len(listener.got) == 2)
    for message in listener.got:
        listener.consumer.ack(message)
    with redis.Redis.from_url(broker_url) as client:
        assert client.hlen(f"{NAMESPACE}:{QUEUE}.msgs") == 0
        assert client.llen(f"{NAMESPACE}:{QUEUE}") == 0


def test_messages_under_load_carry_many_references_in_order(listen, announcer):
    """A thousand references arrive once each, in their order, in far fewer messages."""
    listener = listen(slots=2000)
    announcer.announce(bells(*range(1000)))
    acknowledged = 0
    while acknowledged < len(listener.got) or len(listener.references()) < 1000:
        until(lambda count=acknowledged: len(listener.got) > count)
        listener.consumer.ack(listener.got[acknowledged])
        acknowledged += 1
    assert listener.references() == [reference(number) for number in range(1000)]
    assert acknowledged < 500


def test_every_lane_has_a_queue_of_its_own(broker_url, announcer):
    """Priority and newness choose the queue."""
    for index, (priority, new) in enumerate(LANES):
        announcer.announce([Doorbell(reference(index), priority, new)])
    with redis.Redis.from_url(broker_url) as client:
        until(lambda: all(client.llen(f"{NAMESPACE}:{lane.queue}") == 1 for lane in LANES.values()))


def test_an_announcer_without_a_broker_neither_blocks_nor_raises(ports):
    """Its messages are dropped, and it closes in good time."""
    announcer = Announcer(f"redis://127.0.0.1:{ports.any()}/0")
    began = time.monotonic()
    for number in range(1000):
        announcer.announce(bells(number))
    assert time.monotonic() - began < 1.0
    announcer.close()
    assert time.monotonic() - began < 5.0


def test_an_announcer_sends_what_waits_before_it_closes(broker_url):
    """`close` returns when everything announced before it is on the server."""
    announcer = Announcer(broker_url)
    announcer.announce(bells(*range(100)))
    announcer.close()
    with redis.Redis.from_url(broker_url) as client:
        messages = [dramatiq.Message.decode(data) for data in client.hvals(f"{NAMESPACE}:{QUEUE}.msgs")]
        assert client.llen(f"{NAMESPACE}:{QUEUE}") == len(messages)
    sent = [found for message in messages for found in decode_references(*message.args)]
    assert sorted(sent) == [reference(number) for number in range(100)]
