"""The load generator, a process of its own: reads a `Load` on standard input, writes a `Loaded` on standard output.

It shares two cores with what it measures, so it writes prepared bytes on raw sockets and parses no more of an answer
than it needs. Start times are taken on the clock that Postgres has too, so that they compare with the rows' times.
"""

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import NamedTuple, cast
from uuid import UUID

import asyncpg
import msgspec
import uvloop

from tests.bench.servers import split_message

#: Seconds after which answers that are still missing make the load fail.
_LATE = 30.0
#: Seconds between two looks at how many runs are in flight.
_LOOK = 0.01


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What to send.

    Attributes:
        body: of each POST, JSON.
        seconds: how long to go on; None for until ``requests`` are sent.
        requests: the most to send.
        rate: requests per second on a fixed schedule, whatever the answers do; None sends as answers come.
        in_flight: instead of both, keep so many runs of ``workflow_id`` open, as ``database_url`` tells.
    """

    port: int
    path: str
    body: bytes
    connections: int = 64
    seconds: float | None = None
    requests: int = 1_000_000
    rate: float | None = None
    in_flight: int | None = None
    workflow_id: UUID | None = None
    database_url: str = ""


class Sample(NamedTuple):
    """One request: the id of its run, unix time at its start, seconds until its answer."""

    run_id: str
    started: float
    seconds: float


class Loaded(msgspec.Struct):
    """What came of a load: a sample for each 202, how many other answers, CPU seconds of sending."""

    samples: list[Sample]
    refused: int
    cpu: float

    @property
    def began(self) -> float:
        """Unix time of the first request."""
        return min(sample.started for sample in self.samples)


class _Connection(asyncio.Protocol):
    def __init__(self, client: "Client") -> None:
        self._client = client
        self._buffer = b""
        self.started = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)

    def send(self, request: bytes, started: float) -> None:
        self.started = started
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        message = split_message(self._buffer + data if self._buffer else data)
        if message is None:
            self._buffer += data
            return
        self._buffer = b""
        self._client.answered(self, message[0], message[1])

    def connection_lost(self, error: Exception | None) -> None:
        self._client.broke(error)

    def close(self) -> None:
        self._transport.close()


class Client:
    """Keep-alive connections to one path. A request that finds none free waits, and its time runs meanwhile."""

    def __init__(self, load: Load) -> None:
        head = (
            f"POST {load.path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(load.body)}\r\n\r\n"
        )
        self._load = load
        self._request = head.encode() + load.body
        self._epoch = time.time() - time.perf_counter()
        self._free: deque[_Connection] = deque()
        self._waiting: deque[float] = deque()
        self._samples: list[Sample] = []
        self._refused = 0
        self._sent = 0
        self._closing = False
        self._cpu = time.process_time()
        self._finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.on_answer: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Connect; nothing is sent."""
        loop = asyncio.get_running_loop()
        for _ in range(self._load.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._load.port)
            self._free.append(connection)

    def submit(self) -> bool:
        """Send one more request now; False if all that were asked for are sent."""
        if self._sent >= self._load.requests:
            return False
        self._sent += 1
        if self._free:
            self._free.popleft().send(self._request, time.perf_counter())
        else:
            self._waiting.append(time.perf_counter())
        return True

    def answered(self, connection: _Connection, head: bytes, body: bytes) -> None:
        """Note an answer, and give its connection the request that waits longest."""
        if head[9:12] == b"202":
            run_id = body.partition(b'"run_id":"')[2].partition(b'"')[0].decode()
            seconds = time.perf_counter() - connection.started
            self._samples.append(Sample(run_id, connection.started + self._epoch, seconds))
        else:
            self._refused += 1
        if self._waiting:
            connection.send(self._request, self._waiting.popleft())
        else:
            self._free.append(connection)
            self.on_answer()
        if self._closing:
            self._end_if_done()

    def broke(self, error: Exception | None) -> None:
        """A connection was closed by the other side."""
        if not self._finished.done():
            self._finished.set_exception(error or ConnectionError("the api closed a connection"))

    async def finish(self) -> Loaded:
        """Wait for the answers that are missing, and tell what came of all."""
        self._closing = True
        self._end_if_done()
        async with asyncio.timeout(_LATE):
            await self._finished
        for connection in self._free:
            connection.close()
        return Loaded(self._samples, self._refused, time.process_time() - self._cpu)

    def _end_if_done(self) -> None:
        if len(self._free) == self._load.connections and not self._finished.done():
            self._finished.set_result(None)


async def _as_answers_come(client: Client, load: Load) -> None:
    """Every connection sends its next request when it has its answer."""
    over = asyncio.Event()
    seconds = load.seconds or float("inf")
    deadline = time.perf_counter() + seconds

    def again() -> None:
        if time.perf_counter() >= deadline or not client.submit():
            over.set()

    client.on_answer = again
    for _ in range(load.connections):
        client.submit()
    await over.wait()


async def _at_a_rate(client: Client, load: Load) -> None:
    """On schedule, in ticks of a millisecond."""
    assert load.rate is not None
    began = time.perf_counter()
    sent = 0
    wanted = min(load.requests, int(load.rate * (load.seconds or float("inf")))) if load.seconds else load.requests
    while sent < wanted:
        due = min(wanted, int((time.perf_counter() - began) * load.rate) + 1)
        for _ in range(due - sent):
            client.submit()
        sent = due
        await asyncio.sleep(max(0.0, began + sent / load.rate - time.perf_counter()))


async def _in_flight(client: Client, load: Load) -> None:
    """As many as it takes to keep runs open; what was asked for is exceeded for no longer than one look."""
    assert load.in_flight is not None
    connection = await asyncpg.connect(load.database_url)
    count = await connection.prepare("SELECT /* bench */ count(DISTINCT run_id) FROM open_steps WHERE workflow_id = $1")
    deadline = time.perf_counter() + (load.seconds or float("inf"))
    more = True
    while more and time.perf_counter() < deadline:
        for _ in range(load.in_flight - await count.fetchval(load.workflow_id)):
            more = client.submit()
        await asyncio.sleep(_LOOK)
    await connection.close()


def _pace(load: Load) -> Callable[[Client, Load], Awaitable[None]]:
    if load.in_flight is not None:
        return _in_flight
    return _as_answers_come if load.rate is None else _at_a_rate


async def _main() -> None:
    load = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Load)
    client = Client(load)
    await client.open()
    await _pace(load)(client, load)
    sys.stdout.buffer.write(msgspec.msgpack.encode(await client.finish()))


async def run(load: Load) -> Loaded:
    """Send a load from a process of its own.

    Raises:
        RuntimeError: if it ended with an error, which it has printed.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.load", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    try:
        output, _ = await process.communicate(msgspec.msgpack.encode(load))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"the load generator ended with status {process.returncode}")
    return msgspec.msgpack.decode(output, type=Loaded)


if __name__ == "__main__":
    uvloop.run(_main())
