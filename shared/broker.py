"""Messages over Dramatiq on a Redis-protocol server: a doorbell, not a ledger.

Whatever the broker loses, repeats, delays or reorders, the rows in Postgres decide. A message is a list of references;
an ingest batch becomes few messages under load and one message per step when idle.
"""

import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol
from uuid import UUID

# Read when dramatiq is imported: milliseconds until a consumer that lost its connection tries again.
os.environ.setdefault("dramatiq_restart_delay", "500")

import dramatiq
import msgspec
import redis
import structlog
from dramatiq.brokers.redis import RedisBroker, _RedisConsumer
from dramatiq.encoder import Encoder
from dramatiq.errors import ActorNotFound, ConnectionClosed, DecodeError

from shared.lanes import LANES, Doorbell, Reference
from shared.metrics import BROKER_ERRORS

_log = structlog.get_logger(__name__)

NAMESPACE: Final = "edgewise"
#: Its absence tells that the server was emptied, and with it every message.
EPOCH_KEY: Final = f"{NAMESPACE}:epoch"
#: The most references one message carries.
MESSAGE_REFERENCES: Final = 16
#: Seconds an idle consumer blocks; the socket's own time-out must be longer.
BLOCK_SECONDS: Final = 1
_SOCKET_TIMEOUT: Final = 5.0
#: Seconds for which nothing is sent after the broker failed; the rows are found again by rescue.
_COOL_DOWN: Final = 0.5


class _MsgspecEncoder(Encoder):
    def encode(self, data: dict[str, Any]) -> bytes:
        return msgspec.json.encode(data)

    def decode(self, data: bytes) -> dict[str, Any]:
        try:
            decoded: dict[str, Any] = msgspec.json.decode(data)
        except msgspec.DecodeError as error:
            raise DecodeError("not JSON", data, error) from None  # type: ignore[no-untyped-call]
        return decoded


dramatiq.set_encoder(_MsgspecEncoder())


class Room(Protocol):
    """How much more work a worker can take; consumers fetch no more than that, so that nobody hoards."""

    def free(self) -> int:
        """References that can be taken now."""
        ...

    def take(self, references: int) -> None:
        """Note that references were fetched."""
        ...

    def wait(self, seconds: float) -> None:
        """Block until there is room, at most this long."""
        ...


def connect(url: str) -> "redis.Redis":
    """A client whose sockets notice a half-open connection."""
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=_SOCKET_TIMEOUT,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        health_check_interval=15,
    )
    return client


class StepBroker(RedisBroker):
    """Dramatiq's Redis broker with a consumer that blocks instead of polling, and no delay queues.

    Waiting lives in Postgres, so the delay queues would only cost a thread and a poll each.
    """

    def __init__(self, url: str, *, room: Room | None = None) -> None:
        super().__init__(client=connect(url), middleware=[], namespace=NAMESPACE)  # type: ignore[no-untyped-call]
        self.room = room
        self.polled_at = 0.0

    @property
    def consumer_class(self) -> type["BlockingConsumer"]:
        return BlockingConsumer

    def declare_queue(self, queue_name: str) -> None:
        if queue_name not in self.queues:
            self.emit_before("declare_queue", queue_name)
            self.queues.add(queue_name)
            self.emit_after("declare_queue", queue_name)


class BlockingConsumer(_RedisConsumer):
    """Waits with a blocking move of the queue's head onto itself, which changes nothing and returns when there is one.

    Stock Dramatiq sleeps between polls: 70 ms of latency at its default, or two fifths of a core at 2 ms. This wakes
    in under a millisecond and costs one command a second when idle.
    """

    broker: StepBroker

    def ack(self, message: dramatiq.MessageProxy) -> None:
        # An acknowledgement that is lost only means that the message comes again; Dramatiq would block a worker
        # thread for five seconds at a time to avoid that.
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        except (ConnectionClosed, redis.RedisError):
            BROKER_ERRORS.labels("ack").inc()

    nack = ack

    def requeue(self, messages: Iterable[dramatiq.MessageProxy]) -> None:
        try:
            super().requeue(messages)  # type: ignore[no-untyped-call]
        except redis.RedisError:
            BROKER_ERRORS.labels("requeue").inc()

    def __next__(self) -> dramatiq.MessageProxy | None:
        try:
            return self._from_cache() or self._fetch() or self._block()
        except redis.RedisError as error:
            BROKER_ERRORS.labels("fetch").inc()
            raise ConnectionClosed(error) from None  # type: ignore[no-untyped-call]

    def _from_cache(self) -> dramatiq.MessageProxy | None:
        while self.message_cache:
            data = self.message_cache.pop(0)
            if data is None:  # its body went with a flush between push and fetch
                continue
            try:
                message: dramatiq.Message[Any] = dramatiq.Message.decode(data)
                references = decode_references(*message.args)
                self.broker.get_actor(message.actor_name)
            except (DecodeError, ActorNotFound, ValueError, TypeError, AttributeError):
                _log.error("a message that is not ours was dropped", queue=self.queue_name)
                continue
            self.queued_message_ids.add(message.message_id)
            if self.broker.room is not None:
                self.broker.room.take(len(references))
            return dramatiq.MessageProxy(message)
        return None

    def _fetch(self) -> dramatiq.MessageProxy | None:
        wanted = self.prefetch - self.outstanding_message_count
        room = self.broker.room
        if room is not None:
            free = room.free()
            if free <= 0:
                room.wait(BLOCK_SECONDS)
                return None
            wanted = min(wanted, -(-free // MESSAGE_REFERENCES))
        if wanted <= 0:
            time.sleep(0.002)
            return None
        self.message_cache = self.broker.do_fetch(self.queue_name, wanted)
        self.broker.polled_at = time.monotonic()
        return self._from_cache()

    def _block(self) -> dramatiq.MessageProxy | None:
        """Wait until there is a message; the next call fetches it."""
        room = self.broker.room
        if room is not None and room.free() <= 0:
            return None
        if self.outstanding_message_count >= self.prefetch:
            return None
        name = f"{NAMESPACE}:{self.queue_name}"
        self.broker.client.blmove(name, name, BLOCK_SECONDS, "LEFT", "LEFT")
        self.broker.polled_at = time.monotonic()
        return None


def group(doorbells: Sequence[Doorbell]) -> list[tuple[str, list[Reference]]]:
    """Put doorbells into messages, as lanes and references, the first lane first.

    New runs go up to 16 into a message: one batch of ingest is one message, which costs a worker as much as one run
    would. Branches of runs under way go one by one while they are few, since a message goes to one worker and branches
    are to run side by side; from 128 on, what a message costs outweighs that.
    """
    lanes: dict[tuple[int, bool], list[Reference]] = defaultdict(list)
    for bell in doorbells:
        lanes[bell.priority, bell.new].append(bell.reference)
    messages: list[tuple[str, list[Reference]]] = []
    for key in sorted(lanes):
        references = lanes[key]
        is_new = key[1]
        size = MESSAGE_REFERENCES if is_new else max(1, min(MESSAGE_REFERENCES, len(references) // 8))
        messages.extend(
            (LANES[key].queue, references[start : start + size]) for start in range(0, len(references), size)
        )
    return messages


def decode_references(wire: Iterable[Sequence[Any]]) -> list[Reference]:
    """The references of a message's argument.

    Raises:
        ValueError, TypeError, AttributeError: if they are none.
    """
    return [Reference(UUID(run), node, item, bool(claim)) for run, node, item, claim in wire]


class Announcer:
    """Sends messages from a thread of its own, so that a broker that is away never holds a request or a commit.

    What it cannot send it drops: the rows say that a message was sent, and rescue sends it again.

    Args:
        url: of the broker.
        on_sent: called with the number of references of each message that went out.
    """

    def __init__(self, url: str, *, on_sent: Callable[[int], None] | None = None) -> None:
        self._broker = StepBroker(url)
        self._on_sent = on_sent
        self._queue: queue.SimpleQueue[Sequence[Doorbell] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._silent_until = 0.0
        self._closing = False
        self._thread.start()

    def announce(self, doorbells: Sequence[Doorbell]) -> None:
        """Send messages about these steps, soon; never blocks and never raises."""
        if doorbells:
            self._queue.put(doorbells)

    def close(self) -> None:
        """Send what is waiting and stop; at most five seconds."""
        self._queue.put(None)
        self._thread.join(timeout=_SOCKET_TIMEOUT)
        self._broker.client.close()

    def _run(self) -> None:
        while not self._closing:
            for queue_name, references in group(self._collect()):
                self._send(queue_name, references)

    def _collect(self) -> list[Doorbell]:
        """Everything that waits by now; blocks for the first."""
        collected: list[Doorbell] = []
        entry = self._queue.get()
        while True:
            if entry is None:
                self._closing = True
            else:
                collected.extend(entry)
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return collected

    def _send(self, queue_name: str, references: list[Reference]) -> None:
        if time.monotonic() < self._silent_until:
            return
        wire = [(run_id.hex, node_id, item, claim) for run_id, node_id, item, claim in references]
        message: dramatiq.Message[None] = dramatiq.Message(queue_name, queue_name, (wire,), {}, {})
        try:
            self._broker.enqueue(message)
        except (redis.RedisError, OSError) as error:
            BROKER_ERRORS.labels("enqueue").inc()
            self._silent_until = time.monotonic() + _COOL_DOWN
            _log.warning("broker away, messages are left to rescue", error=repr(error))
            return
        if self._on_sent is not None:
            self._on_sent(len(references))
