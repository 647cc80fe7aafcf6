"""Limits and breakers of hosts, and the reuse of connections, as calls over real connections see them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient, Outcome
from shared.egress.guard import Guard
from shared.egress.hosts import Change, Limits
from shared.egress.interface import Egress, EgressResponse
from shared.egress.pinned import open_socket, within
from shared.errors import StepFailedError
from shared.graph.advance import backoff
from shared.graph.settings import Retry
from tests.outward import call, closed_port, failed, serving, silent, step


async def resolve(_: str) -> Sequence[str]:
    return ["127.0.0.1"]


class Told:
    """What a worker's metrics would be told."""

    def __init__(self) -> None:
        self.results: list[Outcome] = []
        self.changes: list[Change] = []


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def client(told: Told) -> Callable[[Limits], EgressClient]:
    def made(limits: Limits) -> EgressClient:
        guard = Guard(parse_allow("127.0.0.0/8"), resolve=resolve)
        return EgressClient(guard, limits=limits, on_result=told.results.append, on_change=told.changes.append)

    return made


Client = Callable[[Limits], EgressClient]


async def failure(calling: Awaitable[object]) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        await calling
    return caught.value


class Held:
    """A server that answers when it is told to, and counts who is inside."""

    def __init__(self) -> None:
        self.inside = self.most = 0
        self.answers = asyncio.Event()
        self._arrived = asyncio.Condition()

    async def __call__(self, request: web.Request) -> web.Response:
        async with self._arrived:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self._arrived.notify_all()
        await self.answers.wait()
        self.inside -= 1
        return web.Response(text=request.path)

    async def has(self, number: int) -> None:
        async with asyncio.timeout(10), self._arrived:
            await self._arrived.wait_for(lambda: self.inside >= number)


async def test_a_host_gets_so_many_calls_at_once(client: Client, told: Told) -> None:
    """Further ones wait and are answered; other workspaces, and other hosts, do not wait with them."""
    held = Held()
    async with serving(held) as base, client(Limits(at_once=3)) as egress:
        calls = [asyncio.ensure_future(egress.of(1).request("GET", f"{base}/{each}")) for each in range(12)]
        await held.has(3)
        other = asyncio.ensure_future(egress.of(2).request("GET", f"{base}/other"))
        named = asyncio.ensure_future(egress.of(1).request("GET", base.replace("127.0.0.1", "b.test")))
        await held.has(5)
        held.answers.set()
        answers = await asyncio.gather(*calls, other, named)
    assert [answer.status for answer in answers] == [200] * 14
    assert held.most == 5
    assert told.changes == ["queued"] * 9


async def test_a_call_that_waits_keeps_to_its_timeout(client: Client, told: Told) -> None:
    """And says what it waited for; a call that is cancelled while it waits is gone at once. Neither is held against
    the host, and both leave its places as they were."""
    held = Held()
    async with serving(held) as base, client(Limits(at_once=1, failures=1)) as egress:
        first = asyncio.ensure_future(egress.request("GET", base))
        await held.has(1)
        error = await failure(egress.request("GET", base, timeout=0.05))
        assert (error.code, error.category) == ("timeout", "timeout")
        assert error.message == "The call waited 0.05 s for one of the places of 127.0.0.1, all of which are in use."
        waiting = asyncio.ensure_future(egress.request("GET", base))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        held.answers.set()
        assert (await first).status == 200
        assert (await egress.request("GET", base)).status == 200
    assert told.results == ["timeout", "ok", "ok"]


async def test_a_redirect_holds_one_place_at_a_time(client: Client) -> None:
    """So a host with a single place can redirect to itself, and two hosts to one another."""

    async def answer(request: web.Request) -> web.Response:
        port = request.url.port
        places = {"/1": "/2", "/2": f"http://b.test:{port}/3", "/3": f"http://a.test:{port}/4"}
        place = places.get(request.path)
        return web.Response(status=307, headers={"Location": place}) if place else web.Response()

    async with serving(answer) as base, client(Limits(at_once=1)) as egress:
        url = base.replace("127.0.0.1", "a.test") + "/1"
        answers = await asyncio.gather(*(egress.request("GET", url, timeout=10) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}


async def _until_answered(egress: Egress, url: str) -> EgressResponse:
    """Try as a step with retries does: again when the error says so."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await egress.request("GET", url)
            except StepFailedError as error:
                if error.retry_in is None:
                    raise
                await asyncio.sleep(error.retry_in)


async def test_a_host_that_is_gone_is_left_alone(client: Client, told: Told) -> None:
    """Calls fail at once, naming the host and when it is tried; once it is back, they go out again."""
    port = closed_port()
    url = f"http://127.0.0.1:{port}/"
    async with client(Limits(failures=3, seconds=0.3)) as egress:
        for _ in range(3):
            assert (await failure(egress.request("GET", url))).code == "network_error"
        error = await failure(egress.request("GET", url))
        assert (error.code, error.category) == ("circuit_open", "network")
        assert error.message.startswith(f"127.0.0.1:{port} failed 3 times in a row and is not called for now; it is")
        assert "The last failure: The call to 127.0.0.1 failed: no connection (" in error.message
        assert 0 < (error.retry_in or 0) <= 0.3
        async with _listening(port) as accepted:
            answer = await _until_answered(egress, url)
        assert answer.status == 200
        assert accepted
    assert told.changes == ["opened", "closed"]
    assert told.results[:4] == ["network", "network", "network", "open"]
    assert told.results[-1] == "ok"


@asynccontextmanager
async def _listening(port: int) -> AsyncIterator[list[object]]:
    """A server on this port that counts the connections it accepts and keeps them open."""
    accepted: list[object] = []

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.append(writer.get_extra_info("peername"))
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except asyncio.IncompleteReadError:
            pass  # the client hung up
        finally:
            writer.close()

    server = await asyncio.start_server(on_connect, "127.0.0.1", port)
    try:
        yield accepted
    finally:
        server.close()
        await server.wait_closed()


async def test_retries_wait_for_the_next_try() -> None:
    """The category is one that ``retry.on`` names by default, and the wait is at least the breaker's."""
    retry = Retry(max_attempts=3, delay=1.0)
    assert "network" in retry.on
    assert backoff(retry, 1, 12.5, 0.5) == 12.5


async def test_statuses_are_answers(client: Client) -> None:
    """A host that answers with errors is there: each call gets its own answer."""

    async def unavailable(_: web.Request) -> web.Response:
        return web.Response(status=503)

    async with serving(unavailable) as base, client(Limits(failures=2)) as egress:
        for _ in range(10):
            assert (await egress.request("GET", base)).status == 503


@pytest.mark.parametrize("by", ["the call", "the step"])
async def test_silence_counts(client: Client, told: Told, by: str) -> None:
    """A call that got no answer in its time failed, whether its own timeout or its step's ended it; a call that was
    cancelled before that says nothing about the host."""
    async with silent() as port, client(Limits(failures=2, seconds=60)) as egress:
        url = f"http://127.0.0.1:{port}/"
        for _ in range(3):
            cancelled = asyncio.ensure_future(egress.request("GET", url, timeout=30))
            await asyncio.sleep(0)
            cancelled.cancel()
            await asyncio.gather(cancelled, return_exceptions=True)
        for _ in range(2):
            if by == "the call":
                assert (await failure(egress.request("GET", url, timeout=0.05))).code == "timeout"
                continue
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await egress.request("GET", url, timeout=0.1)
        started = time.monotonic()
        assert (await failure(egress.request("GET", url, timeout=30))).code == "circuit_open"
        assert time.monotonic() - started < 5
    assert told.results == ["timeout", "timeout", "open"]


async def test_a_refusal_is_no_failure_of_the_host(told: Told) -> None:
    """What the guard refuses it refuses every time."""
    guard = Guard(resolve=resolve)
    async with EgressClient(guard, limits=Limits(failures=1), on_result=told.results.append) as egress:
        for _ in range(3):
            assert (await failure(egress.request("GET", "http://inside.test/"))).code == "egress_refused"
    assert told.results == ["refused"] * 3


async def test_other_protocols_have_the_same_gates(client: Client, told: Told) -> None:
    """A server of another protocol that is gone is left alone too, and one that is slow holds its places alone."""
    port = closed_port()
    data = {"host": "127.0.0.1", "port": port, "command": "PING", "tls": "off"}
    async with client(Limits(at_once=1, failures=2, seconds=60)) as egress:
        for code in ("network_error", "network_error", "circuit_open"):
            assert (await failed("redis_command", data, step(egress))).code == code
    assert told.results == ["network", "network", "open"]


@pytest.mark.parametrize("by", ["the conversation", "the step"])
async def test_silence_counts_in_other_protocols(client: Client, told: Told, by: str) -> None:
    """Likewise."""
    async with silent() as port, client(Limits(failures=1, seconds=60)) as egress:
        data = {"host": "127.0.0.1", "port": port, "command": "PING", "tls": "off"}
        if by == "the conversation":
            assert (await failed("redis_command", data, step(egress, 0.1))).code == "timeout"
        else:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await call("redis_command", data, step(egress, 0.101))
        assert (await failed("redis_command", data, step(egress))).code == "circuit_open"
    assert told.results == ["timeout", "open"]


async def test_a_conversation_holds_its_place(client: Client) -> None:
    """Until it is over; who waits for it keeps to its own time."""
    async with silent() as port, client(Limits(at_once=1)) as egress:
        async with egress.visit("127.0.0.1", port, timeout=5) as place:
            (await open_socket(place)).close()
            with pytest.raises(StepFailedError, match=r"longer than its 0\.05 s"):
                async with within(0.05, "127.0.0.1"), egress.visit("127.0.0.1", port, timeout=0.05):
                    raise AssertionError("two are inside")
        async with egress.visit("127.0.0.1", port, timeout=5):
            pass


async def test_connections_are_accepted_once(client: Client) -> None:
    """A hundred calls in a row, of two workspaces, take one connection; twenty at once take no more than twenty."""
    port = closed_port()
    url = f"http://127.0.0.1:{port}/"
    async with _listening(port) as accepted, client(Limits()) as egress:
        for number in range(100):
            assert (await egress.of(number % 2).request("GET", url)).body == b"ok"
        assert len(accepted) == 1
        for _ in range(5):
            await asyncio.gather(*(egress.request("GET", url) for _ in range(20)))
        assert len(accepted) <= 20
