"""Messages over a real Redis-protocol server: the blocking consumer, and the announcer."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import dramatiq
import pytest
import redis

from shared.announcer import Announcer
from shared.broker import BLOCK_SECONDS, BULK_MESSAGES, NAMESPACE, BlockingConsumer, StepBroker, decode_references
from shared.lanes import CAME_AS_BULK, LANES, LIGHT_SHARE, Doorbell, Reference
from tests.duties import queued_references
from worker.capacity import Capacity

#: Bulk of new runs.
BULK = LANES[1, True, True].queue
#: Continuations: while they are few, each is a message of its own.
QUEUE = LANES[1, False, False].queue


def reference(number: int) -> Reference:
    return Reference(UUID(int=number), f"n{number}", "-", claim=False)


def bells(*numbers: int) -> list[Doorbell]:
    return [Doorbell(reference(number), 1, new=False) for number in numbers]


class Listener:
    """A consumer of one queue on a thread of its own, and what it was given; so many slots are held by bulk before."""

    def __init__(self, url: str, slots: int = 1000, queue: str = QUEUE, bulk_held: int = 0) -> None:
        self.capacity = Capacity(slots)
        if bulk_held:
            self.capacity.take(bulk_held, bulk=True)
        self.broker = StepBroker(url, room=self.capacity)
        dramatiq.actor(actor_name=queue, queue_name=queue, broker=self.broker)(lambda wire: None)
        self.consumer: BlockingConsumer = self.broker.consume(queue, prefetch=16, timeout=1000)  # type: ignore[assignment]
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
        self.broker.listener.close()
        self._thread.join()
        self.broker.client.close()


@pytest.fixture
def listen(broker_url: str) -> Iterator[Callable[..., Listener]]:
    listeners: list[Listener] = []

    def start(**options: Any) -> Listener:
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
    """Priority, newness and bulk choose the queue."""
    for index, (priority, new, bulk) in enumerate(LANES):
        announcer.announce([Doorbell(reference(index), priority, new, bulk)])
    with redis.Redis.from_url(broker_url) as client:
        until(lambda: all(client.llen(f"{NAMESPACE}:{lane.queue}") == 1 for lane in LANES.values()))


def test_bulk_is_worked_on_a_few_messages_at_a_time(broker_url, listen, announcer, monkeypatch):
    """However much room there is; fewer beside light work; an acknowledgement lets the next in."""
    listener = listen(queue=BULK)
    announcer.announce([Doorbell(reference(number), 1, new=True, bulk=True) for number in range(160)])
    until(lambda: len(listener.got) == BULK_MESSAGES)
    with redis.Redis.from_url(broker_url) as client:
        assert client.llen(f"{NAMESPACE}:{BULK}") == 10 - BULK_MESSAGES
        listener.consumer.ack(listener.got[0])
        until(lambda: len(listener.got) == BULK_MESSAGES + 1)
        monkeypatch.setattr(listener.capacity, "is_shared", lambda: True)
        for message in listener.got[1:]:
            listener.consumer.ack(message)
        until(lambda: len(listener.got) == BULK_MESSAGES + 2)
        assert client.llen(f"{NAMESPACE}:{BULK}") == 10 - BULK_MESSAGES - 2
    assert listener.capacity.used == 16 * (BULK_MESSAGES + 2)


def test_bulk_leaves_slots_for_light_work(listen, announcer):
    """A bulk message is not fetched into the last slots; a light one is."""
    bulk, light = listen(queue=BULK, slots=32, bulk_held=28), listen(slots=32, bulk_held=28)
    announcer.announce([Doorbell(reference(1), 1, new=True, bulk=True)])
    announcer.announce(bells(2))
    until(lambda: len(light.got) == 1)
    assert bulk.got == []
    bulk.capacity.take(-1, bulk=True)
    until(lambda: len(bulk.got) == 1)


@pytest.mark.parametrize(("came_as_bulk", "light"), [(False, LIGHT_SHARE), (True, 0)])
def test_branches_beyond_the_share_of_a_run_are_bulk(broker_url, announcer, came_as_bulk, light):
    """So are all of a run that came as bulk itself."""
    run_id = UUID(int=1)
    CAME_AS_BULK.set(came_as_bulk)
    announcer.announce([Doorbell(Reference(run_id, f"n{n}", "-", claim=True), 1, new=False) for n in range(100)])
    CAME_AS_BULK.set(False)
    until(lambda: len(queued_references(broker_url)) == 100)
    lanes = Counter(lane for lane, _ in queued_references(broker_url))
    assert lanes == Counter({"normal-next": light, "normal-bulk-next": 100 - light})


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


def test_what_comes_behind_a_message_shares_the_next_one(broker_url):
    """The first reference after a silence leaves at once; those that come within the spacing leave together."""
    is_over = threading.Event()
    announcer = Announcer(broker_url, spacing=0.005, sleep=lambda _: is_over.wait())
    announcer.announce([Doorbell(reference(1), 1, new=True)])
    until(lambda: len(queued_references(broker_url)) == 1)
    for number in range(2, 12):
        announcer.announce([Doorbell(reference(number), 1, new=True)])
    is_over.set()
    until(lambda: len(queued_references(broker_url)) == 11)
    announcer.close()
    with redis.Redis.from_url(broker_url) as client:
        assert client.llen(f"{NAMESPACE}:{LANES[1, True, False].queue}") == 2


def test_spacing_does_not_hold_a_stop(broker_url):
    """Once it is closed, an announcer sends what is left and waits behind nothing."""
    pauses: list[float] = []
    announcer = Announcer(broker_url, spacing=60.0, sleep=pauses.append)
    announcer.announce(bells(1, 2))
    announcer.close()
    assert len(queued_references(broker_url)) == 2
    assert len(pauses) <= 1
