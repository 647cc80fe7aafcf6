"""Messages over Dramatiq on a Redis-protocol server: a doorbell, not a ledger.

Whatever the broker loses, repeats, delays or reorders, the rows in Postgres decide. A message is a list of references.
This is the end that takes messages; `shared.announcer` sends them.
"""

import os
import threading
import time
from collections.abc import Iterable, Sequence
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

from shared.lanes import QUEUES, Lane, Reference
from shared.listening import Listener
from shared.metrics import BROKER_ERRORS

_log = structlog.get_logger(__name__)

NAMESPACE: Final = "edgewise"
#: Its absence tells that the server was emptied, and with it every message.
EPOCH_KEY: Final = f"{NAMESPACE}:epoch"
#: The most references one message carries.
MESSAGE_REFERENCES: Final = 16
#: Messages of one bulk lane that a worker process works on at once: what a commit carries besides light work.
BULK_MESSAGES: Final = 4
#: The same while light work comes in, too.
_BULK_BESIDE_LIGHT: Final = 1
#: How many naps of so many seconds must end within so many more before a bulk message is fetched beside light work, and
#: the times in a row that one may put it off: bulk gets a message every 0.1 s whatever the machine does.
_NAPS: Final = 2
_NAP: Final = 0.005
_NAP_LATE: Final = 0.0003
_PUT_OFF: Final = 12
#: Seconds an idle consumer blocks; the socket's own time-out must be longer.
BLOCK_SECONDS: Final = 1
#: Seconds without a message after which a consumer leaves waiting to the listener, and for which it then waits at most:
#: Dramatiq takes a process for dead of which it hears nothing for 60.
_QUIET: Final = 2.0
_LISTEN: Final = 20.0
#: Seconds after which a socket on which nothing comes counts as dead.
SOCKET_TIMEOUT: Final = 5.0


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

    def free(self, *, bulk: bool) -> int:
        """References that can be taken now."""
        ...

    def take(self, references: int, *, bulk: bool) -> None:
        """Note that references were fetched."""
        ...

    def wait(self, seconds: float, lane: Lane) -> None:
        """Block until there is room for a lane, at most this long."""
        ...

    def is_shared(self) -> bool:
        """Whether light work came in lately, so that bulk has to make way for it."""
        ...

    def decline(self) -> None:
        """Leave the room to the next that waits: there was nothing to fetch."""
        ...


def connect(url: str) -> "redis.Redis":
    """A client whose sockets notice a half-open connection."""
    client: redis.Redis = redis.Redis.from_url(
        url,
        socket_timeout=SOCKET_TIMEOUT,
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
        self.listener = Listener(self.client)
        self._polled_at = 0.0

    @property
    def polled_at(self) -> float:
        """Monotonic time at which the server last answered a consumer."""
        return max(self._polled_at, self.listener.heard_at)

    def polled(self) -> None:
        """Note that the server has answered."""
        self._polled_at = time.monotonic()

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
    in under a millisecond and costs one command in four seconds when idle.
    """

    broker: StepBroker

    def __init__(self, broker: StepBroker, queue_name: str, prefetch: int, timeout: int) -> None:
        self._lane = QUEUES[queue_name]
        self._acknowledged = threading.Event()
        self._put_off = 0
        self._served_at = 0.0
        super().__init__(broker, queue_name, prefetch, timeout)  # type: ignore[no-untyped-call]

    def ack(self, message: dramatiq.MessageProxy) -> None:
        # An acknowledgement that is lost only means that the message comes again; Dramatiq would block a worker
        # thread for five seconds at a time to avoid that.
        try:
            super().ack(message)  # type: ignore[no-untyped-call]
        except (ConnectionClosed, redis.RedisError):
            BROKER_ERRORS.labels("ack").inc()
        finally:
            self._acknowledged.set()

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
                self.broker.room.take(len(references), bulk=self._lane.bulk)
            return dramatiq.MessageProxy(message)
        return None

    def _fetch(self) -> dramatiq.MessageProxy | None:
        self._acknowledged.clear()
        wanted = self._most() - self.outstanding_message_count
        if wanted <= 0:
            self._acknowledged.wait(BLOCK_SECONDS)
            return None
        room = self.broker.room
        if room is None:
            return self._fetch_some(wanted)
        if self._gives_way(room):
            return None
        free = room.free(bulk=self._lane.bulk)
        if free <= 0:
            room.wait(BLOCK_SECONDS, self._lane)
            return None
        message = self._fetch_some(min(wanted, -(-free // MESSAGE_REFERENCES)))
        if message is None:
            room.decline()
        return message

    def _most(self) -> int:
        """Messages that this consumer may hold unacknowledged."""
        most: int = self.prefetch
        if self._lane.bulk:
            beside_light = self.broker.room is not None and self.broker.room.is_shared()
            most = min(most, _BULK_BESIDE_LIGHT if beside_light else BULK_MESSAGES)
        return most

    def _gives_way(self, room: Room) -> bool:
        """Whether bulk is put off, since light work comes in and the machine is busy."""
        if not self._lane.bulk or not room.is_shared() or self._put_off >= _PUT_OFF or _is_calm():
            self._put_off = 0
            return False
        self._put_off += 1
        return True

    def _fetch_some(self, wanted: int) -> dramatiq.MessageProxy | None:
        self.message_cache = self.broker.do_fetch(self.queue_name, wanted)
        self.broker.polled()
        if self.message_cache:
            self._served_at = time.monotonic()
        return self._from_cache()

    def _block(self) -> dramatiq.MessageProxy | None:
        """Wait until there is a message; the next call fetches it."""
        room = self.broker.room
        if room is not None and room.free(bulk=self._lane.bulk) <= 0:
            return None
        if self.outstanding_message_count >= self._most():
            return None
        name = f"{NAMESPACE}:{self.queue_name}"
        is_quiet = time.monotonic() - self._served_at > _QUIET
        if not is_quiet or not self.broker.listener.wait(name, _LISTEN):
            self.broker.client.blmove(name, name, BLOCK_SECONDS, "LEFT", "LEFT")
            self.broker.polled()
        return None


def _is_calm() -> bool:
    """Whether a thread of this process gets to run at once.

    A nap ends late when the machine, or this interpreter, has more to do than it can, which is what makes light work
    wait.
    """
    return all(_nap() < _NAP_LATE for _ in range(_NAPS))


def _nap() -> float:
    """Sleep, and tell by how many seconds it was too long."""
    began = time.monotonic()
    time.sleep(_NAP)
    return time.monotonic() - began - _NAP


def decode_references(wire: Iterable[Sequence[Any]]) -> list[Reference]:
    """The references of a message's argument.

    Raises:
        ValueError, TypeError, AttributeError: if they are none.
    """
    return [Reference(UUID(run), node, item, bool(claim)) for run, node, item, claim in wire]
