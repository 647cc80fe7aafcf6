"""The load generator, a process: reads a `Load` on standard input, writes a `Loaded` per window on standard output.

It shares two cores with what it measures, so it writes prepared bytes on raw sockets and parses no more of an answer
than it needs. Start times are taken on the clock that Postgres has too, so that they compare with the rows' times.
"""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count
from typing import cast

import asyncpg
import msgspec
import uvloop

from tests.bench.load import LENGTH, Load, Loaded, Sample
from tests.bench.servers import split_message

#: Seconds after which answers that are still missing make the load fail.
_LATE = 30.0
#: Seconds between two looks at how many runs are in flight.
_LOOK = 0.01
#: The niceness of what sends on schedule.
_PUNCTUAL = -10


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
        self._accepted = 0
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

    @property
    def queued(self) -> int:
        """How many requests wait for a connection."""
        return len(self._waiting)

    def submit(self, due: float | None = None) -> bool:
        """Send one more request now; False if all that were asked for are sent.

        Args:
            due: the moment by `time.perf_counter` at which its time began, if that is not now.
        """
        if self._sent >= self._load.requests:
            return False
        self._sent += 1
        started = time.perf_counter() if due is None else due
        if self._free:
            self._free.popleft().send(self._request, started)
        else:
            self._waiting.append(started)
        return True

    def answered(self, connection: _Connection, head: bytes, body: bytes) -> None:
        """Note an answer, and give its connection the request that waits longest."""
        if head[9:12] == b"202":
            if self._accepted % self._load.keep == 0:
                self._note(connection.started, body)
            self._accepted += 1
        else:
            self._refused += 1
        if self._waiting:
            connection.send(self._request, self._waiting.popleft())
        else:
            self._free.append(connection)
            self.on_answer()
        if self._closing:
            self._end_if_done()

    def _note(self, started: float, body: bytes) -> None:
        run_id = body.partition(b'"run_id":"')[2].partition(b'"')[0].decode()
        self._samples.append(Sample(run_id, started + self._epoch, time.perf_counter() - started))

    def take(self) -> Loaded:
        """What came since this was last called, which is then forgotten."""
        cpu = time.process_time()
        taken = Loaded(self._samples, self._accepted, self._refused, cpu - self._cpu)
        self._samples, self._accepted, self._refused, self._cpu = [], 0, 0, cpu
        return taken

    def broke(self, error: Exception | None) -> None:
        """A connection was closed by the other side."""
        if not self._finished.done():
            self._finished.set_exception(error or ConnectionError("the api closed a connection"))

    async def finish(self) -> Loaded:
        """Wait for the answers that are missing, and tell what came since `take` was last called."""
        self._closing = True
        self._end_if_done()
        async with asyncio.timeout(_LATE):
            await self._finished
        for connection in self._free:
            connection.close()
        return self.take()

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
    """On schedule. A request's time begins when it is due, so what makes this process late is part of it.

    The kernel's timer tells when that is: the loop's own timers know whole milliseconds alone.
    """
    assert load.rate is not None
    with suppress(PermissionError):  # as a client on a machine of its own would be: on time, whatever the system does
        os.setpriority(os.PRIO_PROCESS, 0, _PUNCTUAL)
    wanted = min(load.requests, int(load.rate * load.seconds)) if load.seconds else load.requests
    began, over = time.perf_counter(), asyncio.Event()
    dues = deque(began + number / load.rate for number in range(wanted))

    def send_what_is_due() -> None:
        while dues and dues[0] <= time.perf_counter():
            client.submit(dues.popleft())
        if dues:
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, dues[0] - time.perf_counter()))
        else:
            over.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGALRM, send_what_is_due)
    send_what_is_due()
    await over.wait()
    loop.remove_signal_handler(signal.SIGALRM)


async def _in_flight(client: Client, load: Load) -> None:
    """As many as it takes to keep runs open; what was asked for is exceeded by no more than the connections."""
    assert load.in_flight is not None
    connection = await asyncpg.connect(load.database_url)
    opened = await connection.prepare(
        "SELECT /* bench */ count(DISTINCT run_id) FROM open_steps WHERE workflow_id = $1"
    )
    deadline = time.perf_counter() + (load.seconds or float("inf"))
    more = True
    while more and time.perf_counter() < deadline:
        for _ in range(load.in_flight - await opened.fetchval(load.workflow_id) - client.queued):
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
    telling = asyncio.create_task(_tell_windows(client, load.window)) if load.window else None
    await _pace(load)(client, load)
    if telling:
        telling.cancel()
    _tell(await client.finish())


async def _tell_windows(client: Client, seconds: float) -> None:
    began = time.monotonic()
    for number in count(1):
        await asyncio.sleep(began + number * seconds - time.monotonic())
        _tell(client.take())


def _tell(loaded: Loaded) -> None:
    """Write it, its length before it."""
    content = msgspec.msgpack.encode(loaded)
    sys.stdout.buffer.write(len(content).to_bytes(LENGTH, "big") + content)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(_main())
