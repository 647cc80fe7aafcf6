"""Sends messages: which steps are ready, and which requests can be answered. `shared.broker` takes them.

An ingest batch becomes few messages under load and one message per step when idle.
"""

import queue
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

import msgspec
import redis
import structlog

from shared.broker import MESSAGE_REFERENCES, NAMESPACE, SOCKET_TIMEOUT, connect
from shared.lanes import CAME_AS_BULK, LIGHT_SHARE, Doorbell, Lane, Reference
from shared.metrics import BROKER_ERRORS

_log = structlog.get_logger(__name__)

#: The channel on which api processes hear of runs whose requests can be answered: their ids, 16 bytes each.
ANSWERS_CHANNEL: Final = f"{NAMESPACE}:answers"
#: Messages that one transaction enqueues.
_PER_TRANSACTION: Final = 64
#: Seconds between the messages of new runs that one api sends. A worker takes a message with one reference at the price
#: of one with sixteen, so between idle and a crowd the number of messages is what a run costs (docs/decisions.md).
NEW_RUNS_SPACING: Final = 0.005
#: Seconds for which nothing is sent after the broker failed; the rows are found again by rescue.
_COOL_DOWN: Final = 0.5


def group(doorbells: Sequence[Doorbell]) -> list[tuple[str, list[Reference]]]:
    """Put doorbells into messages, as lanes and references, the first lane first.

    New runs go up to 16 into a message: one batch of ingest is one message, which costs a worker as much as one run
    would. Branches of runs under way go one by one while they are few, since a message goes to one worker and branches
    are to run side by side; from 128 on, what a message costs outweighs that.
    """
    lanes: dict[tuple[Lane, bool], list[Reference]] = defaultdict(list)
    for bell in doorbells:
        lanes[bell.lane, bell.new].append(bell.reference)
    messages: list[tuple[str, list[Reference]]] = []
    for (lane, is_new), references in sorted(lanes.items(), key=lambda item: item[0][0].rank):
        size = MESSAGE_REFERENCES if is_new else max(1, min(MESSAGE_REFERENCES, len(references) // 8))
        messages.extend((lane.queue, references[start : start + size]) for start in range(0, len(references), size))
    return messages


def share_out(doorbells: Sequence[Doorbell], *, came_as_bulk: bool) -> list[Doorbell]:
    """Put into the bulk lanes what came by one, and branches of one run beyond its share."""
    branches: Counter[UUID] = Counter()
    shared = []
    for bell in doorbells:
        run_id = bell.reference.run_id
        branches[run_id] += not bell.new
        shared.append(bell._replace(bulk=bell.bulk or came_as_bulk or branches[run_id] > LIGHT_SHARE))
    return shared


class _Answered(NamedTuple):
    """Runs whose requests can be answered."""

    run_ids: Sequence[UUID]


class Announcer:
    """Sends messages from a thread of its own, so that a broker that is away never holds a request or a commit.

    What it cannot send it drops: the rows say that a message was sent, and rescue sends it again.

    Args:
        url: of the broker.
        spacing: seconds for which what comes behind messages waits for company; the first after a silence leaves at
            once.
        sleep: waits so many seconds.
    """

    def __init__(self, url: str, *, spacing: float = 0.0, sleep: Callable[[float], object] = time.sleep) -> None:
        self._spacing = spacing
        self._sleep = sleep
        self._client = connect(url)
        self._connection: redis.connection.AbstractConnection | None = None
        self._queue: queue.SimpleQueue[Sequence[Doorbell] | _Answered | None] = queue.SimpleQueue()
        self._answered: list[UUID] = []
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)
        self._silent_until = 0.0
        self._closing = False
        self._thread.start()

    def announce(self, doorbells: Sequence[Doorbell]) -> None:
        """Send messages about these steps, soon; never blocks and never raises."""
        if doorbells:
            self._queue.put(share_out(doorbells, came_as_bulk=CAME_AS_BULK.get()))

    def answered(self, run_ids: Sequence[UUID]) -> None:
        """Tell the api processes that these runs' requests can be answered; never blocks and never raises."""
        self._queue.put(_Answered(run_ids))

    def close(self) -> None:
        """Send what is waiting and stop; at most five seconds."""
        self._queue.put(None)
        self._thread.join(timeout=SOCKET_TIMEOUT)
        self._client.close()

    def _run(self) -> None:
        while not self._closing:
            messages = group(self._collect())
            if self._answered:
                self._attempt([("PUBLISH", ANSWERS_CHANNEL, b"".join(run_id.bytes for run_id in self._answered))])
                self._answered.clear()
            for start in range(0, len(messages), _PER_TRANSACTION):
                self._send(messages[start : start + _PER_TRANSACTION])
            if messages and self._spacing and not self._closing:
                self._sleep(self._spacing)

    def _collect(self) -> list[Doorbell]:
        """Everything that waits by now; blocks for the first."""
        collected: list[Doorbell] = []
        entry = self._queue.get()
        while True:
            if entry is None:
                self._closing = True
            elif isinstance(entry, _Answered):
                self._answered.extend(entry.run_ids)
            else:
                collected.extend(entry)
            try:
                entry = self._queue.get_nowait()
            except queue.Empty:
                return collected

    def _send(self, messages: Sequence[tuple[str, list[Reference]]]) -> None:
        self._attempt([command for message in messages for command in enqueueing(*message)])

    def _attempt(self, commands: Sequence[tuple[str | bytes, ...]]) -> None:
        if time.monotonic() < self._silent_until:
            return
        try:
            self._transact(commands)
        except (redis.RedisError, OSError) as error:
            BROKER_ERRORS.labels("enqueue").inc()
            self._silent_until = time.monotonic() + _COOL_DOWN
            _log.warning("broker away, messages are left to rescue", error=repr(error))

    def _transact(self, commands: Sequence[tuple[str | bytes, ...]]) -> None:
        """Run commands as one transaction, once more if the connection turns out to be dead.

        By the client's own pipeline it takes three times as long.
        """
        try:
            self._exchange(commands)
        except redis.ConnectionError:
            self._exchange(commands)

    def _exchange(self, commands: Sequence[tuple[str | bytes, ...]]) -> None:
        if self._connection is None:
            self._connection = self._client.connection_pool.get_connection()
        connection: Any = self._connection  # its methods have no types
        try:
            connection.send_packed_command(connection.pack_commands([("MULTI",), *commands, ("EXEC",)]))
            *_, results = [connection.read_response() for _ in range(len(commands) + 2)]
        except BaseException:
            connection.disconnect()  # answers that were not read would be taken for the next ones
            raise
        for result in results:
            if isinstance(result, redis.RedisError):
                raise result


def enqueueing(queue_name: str, references: Sequence[Reference]) -> list[tuple[str | bytes, ...]]:
    """The commands that put a message into its queue as Dramatiq does, less its heartbeat of whoever sends.

    Its own way takes four times the processor's time (90 us against 25): a copy of the message, arguments of a script.
    """
    message_id = str(uuid4())
    body = {
        "queue_name": queue_name,
        "actor_name": queue_name,
        "args": [[(run_id.hex, node_id, item, claim) for run_id, node_id, item, claim in references]],
        "kwargs": {},
        "options": {"redis_message_id": message_id},
        "message_id": message_id,
        "message_timestamp": time.time_ns() // 1_000_000,
    }
    key = f"{NAMESPACE}:{queue_name}"
    return [("HSET", f"{key}.msgs", message_id, msgspec.json.encode(body)), ("RPUSH", key, message_id)]
