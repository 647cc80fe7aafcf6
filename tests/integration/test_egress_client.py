"""The outbound client against real servers on this machine: caps, redirects, pools, TLS and proxies."""

import asyncio
import gzip
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import pytest
from aiohttp import web

from shared.egress.allow import parse_allow
from shared.egress.client import EgressClient, Outcome
from shared.egress.guard import Guard
from shared.errors import StepFailedError
from tests.outward import certified

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Raw = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[..., Awaitable[int]]
ServeRaw = Callable[[Raw], Awaitable[int]]


async def resolve(_: str) -> Sequence[str]:
    return ["127.0.0.1"]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    runners: list[web.AppRunner] = []

    async def start(handler: Handler, context: ssl.SSLContext | None = None) -> int:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        port: int = runner.addresses[0][1]
        return port

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
async def serve_raw() -> AsyncIterator[ServeRaw]:
    servers: list[asyncio.Server] = []

    async def start(handler: Raw) -> int:
        async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await handler(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError):
                pass  # the client hung up, which several tests want
            finally:
                writer.close()

        server = await asyncio.start_server(on_connect, "127.0.0.1", 0)
        servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


@pytest.fixture
def outcomes() -> list[Outcome]:
    return []


@pytest.fixture
async def client(outcomes: list[Outcome]) -> AsyncIterator[EgressClient]:
    guard = Guard(parse_allow("127.0.0.0/8"), resolve=resolve)
    async with EgressClient(guard, on_result=outcomes.append) as client:
        yield client


async def failure(call: Awaitable[object]) -> StepFailedError:
    with pytest.raises(StepFailedError) as caught:
        await call
    return caught.value


async def test_what_is_sent_and_received(client: EgressClient, serve: Serve, outcomes: list[Outcome]) -> None:
    """Method, path, query, headers in UTF-8 and body arrive as given; status, headers and body come back."""
    seen: dict[str, object] = {}

    async def handler(request: web.Request) -> web.Response:
        seen.update(method=request.method, path=request.raw_path, body=await request.read())
        seen["headers"] = {name.decode(): value for name, value in request.raw_headers}
        return web.Response(status=201, reason="Very Fine", body=b"pong", headers={"X-Answer": "ü"})

    port = await serve(handler)
    answer = await client.request(
        "put", f"http://Api.Test:{port}/a%2Fb?q=1%2B1&r=+", headers=[("X-V", "grün ✓")], body=b"ping"
    )
    assert (answer.status, answer.reason, answer.body) == (201, "Very Fine", b"pong")
    assert ("X-Answer", "ü") in answer.headers
    assert answer.url == f"http://api.test:{port}/a%2Fb?q=1%2B1&r=+"
    assert (seen["method"], seen["path"], seen["body"]) == ("PUT", "/a%2Fb?q=1%2B1&r=+", b"ping")
    headers = seen["headers"]
    assert isinstance(headers, dict)
    assert headers["X-V"] == "grün ✓".encode()
    assert headers["Host"] == f"api.test:{port}".encode()
    assert headers["User-Agent"] == b"Edgewise"
    assert outcomes == ["ok"]


async def test_large_bodies_are_sent(client: EgressClient, serve: Serve) -> None:
    """A body of several megabytes arrives whole, also after a redirect that keeps it."""

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/again":
            return web.Response(status=308, headers={"Location": "/here"})
        return web.Response(text=str(len(await request.read())))

    port = await serve(handler)
    answer = await client.request("POST", f"http://127.0.0.1:{port}/again", body=b"x" * 5_000_000)
    assert answer.body == b"5000000"


async def test_no_cookies_are_kept(client: EgressClient, serve: Serve) -> None:
    """What one run's answer sets is never sent by another's request."""

    async def handler(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Cookie", "none"), headers={"Set-Cookie": "a=b; Path=/"})

    port = await serve(handler)
    for _ in range(2):
        assert (await client.request("GET", f"http://a.test:{port}/")).body == b"none"


async def test_the_environment_names_no_proxy(
    client: EgressClient, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``HTTP_PROXY`` of the process does not reroute outbound calls."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    port = await serve(_fine)
    assert (await client.request("GET", f"http://127.0.0.1:{port}/")).status == 200


async def _fine(_: web.Request) -> web.Response:
    return web.Response(text="fine")


async def test_connections_are_reused(client: EgressClient, serve: Serve) -> None:
    """Calls to one origin, a redirect among them, share a connection; another name has its own."""
    peers: list[object] = []

    async def handler(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.append(request.transport.get_extra_info("peername"))
        return web.Response(status=302, headers={"Location": "/"}) if request.path == "/go" else web.Response(text="x")

    port = await serve(handler)
    for path in ("", "go", ""):
        await client.request("GET", f"http://a.test:{port}/{path}")
    assert len(peers) == 4
    assert len(set(peers)) == 1
    await client.request("GET", f"http://b.test:{port}/")
    assert len(set(peers)) == 2


async def test_a_pooled_connection_is_no_way_around_the_guard(serve: Serve) -> None:
    """A name that turns inward is refused although a connection made for it before is still open."""
    now, answer = 0.0, ["127.0.0.1"]

    async def turning(_: str) -> Sequence[str]:
        return answer

    port = await serve(_fine)
    guard = Guard(parse_allow("127.0.0.1"), resolve=turning, clock=lambda: now)
    async with EgressClient(guard) as client:
        await client.request("GET", f"http://a.test:{port}/")
        now, answer = 60.0, ["127.0.0.2"]
        assert (await failure(client.request("GET", f"http://a.test:{port}/"))).code == "egress_refused"


async def test_credentials_are_dropped_across_origins(client: EgressClient, serve: Serve) -> None:
    """A redirect to another origin carries neither credentials nor the caller's own headers; a local one does."""
    seen: list[tuple[str, str | None, str | None]] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append((request.host, request.headers.get("Authorization"), request.headers.get("X-Mine")))
        places = {"/1": "/2", "/2": f"http://b.test:{request.url.port}/3", "/3": f"http://a.test:{request.url.port}/4"}
        place = places.get(request.path)
        return web.Response(status=307, headers={"Location": place}) if place else web.Response()

    port = await serve(handler)
    await client.request("GET", f"http://a.test:{port}/1", headers=[("Authorization", "x"), ("X-Mine", "y")])
    kept, dropped = ("x", "y"), (None, None)
    assert [(host.split(":")[0], *rest) for host, *rest in seen] == [
        ("a.test", *kept),
        ("a.test", *kept),
        ("b.test", *dropped),
        ("a.test", *dropped),
    ]


@pytest.mark.parametrize("status", [307, 308])
async def test_a_body_stays_at_its_origin(
    client: EgressClient, serve: Serve, outcomes: list[Outcome], status: int
) -> None:
    """A redirect that would carry it elsewhere fails the call, and the other origin hears nothing."""
    seen: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(f"{request.host.partition(':')[0]} {await request.text()}")
        return web.Response(status=status, headers={"Location": f"http://b.test:{request.url.port}/"})

    port = await serve(handler)
    error = await failure(client.request("POST", f"http://a.test:{port}/", body=b"key=s3cret"))
    assert (error.code, error.http_status) == ("egress_refused", status)
    assert f"http://a.test:{port} redirects the call to http://b.test:{port} " in error.message
    assert seen == ["a.test key=s3cret"]
    assert outcomes == ["refused"]


async def test_redirects_are_counted(client: EgressClient, serve: Serve, outcomes: list[Outcome]) -> None:
    """Ten redirects are followed, the eleventh is not, and none when the caller wants none."""

    async def handler(request: web.Request) -> web.Response:
        left = int(request.path[1:])
        return web.Response(status=302, headers={"Location": f"/{left - 1}"}) if left else web.Response(text="end")

    port = await serve(handler)
    assert (await client.request("GET", f"http://127.0.0.1:{port}/10")).body == b"end"
    assert (await failure(client.request("GET", f"http://127.0.0.1:{port}/11"))).code == "too_many_redirects"
    plain = await client.request("GET", f"http://127.0.0.1:{port}/1", follow_redirects=False)
    assert plain.status == 302
    assert outcomes == ["ok", "refused", "ok"]


@pytest.mark.parametrize("encoding", ["gzip", None])
async def test_answers_over_the_cap(
    client: EgressClient, serve: Serve, outcomes: list[Outcome], encoding: str | None
) -> None:
    """The cap counts what an answer unpacks to: 200 MB of zeros in 200 KB are refused, and nothing near them kept."""
    body = gzip.compress(bytes(200_000_000), 9) if encoding else bytes(3_000_000)

    async def handler(_: web.Request) -> web.Response:
        return web.Response(body=body, headers={"Content-Encoding": encoding} if encoding else {})

    port = await serve(handler)
    error = await failure(client.request("GET", f"http://127.0.0.1:{port}/?k=s3cret", max_bytes=1_000_000))
    assert error.code == "response_too_large"
    assert "1000000 bytes" in error.message
    assert "s3cret" not in error.message
    assert outcomes == ["too_large"]


async def test_answers_within_the_cap(client: EgressClient, serve: Serve) -> None:
    """An answer of exactly the cap is whole, packed or not, and a HEAD's announced length is no body."""

    async def handler(request: web.Request) -> web.Response:
        answer = web.Response(body=b"x" * 100_000)
        if request.path == "/packed":
            answer.enable_compression(web.ContentCoding.gzip)
        return answer

    port = await serve(handler)
    for path in ("packed", "plain"):
        assert len((await client.request("GET", f"http://127.0.0.1:{port}/{path}", max_bytes=100_000)).body) == 100_000
    assert (await client.request("HEAD", f"http://127.0.0.1:{port}/plain", max_bytes=10)).body == b""


async def test_endless_chunks_are_capped(client: EgressClient, serve_raw: ServeRaw) -> None:
    """An answer without an announced length is cut off at the cap."""

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + bytes(4096) + b"\r\n")
            await writer.drain()

    port = await serve_raw(endless)
    assert (await failure(client.request("GET", f"http://127.0.0.1:{port}/"))).code == "response_too_large"


@pytest.mark.parametrize(
    "phase", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-A: "]
)
async def test_dripping_servers_hit_the_timeout(
    client: EgressClient, serve_raw: ServeRaw, outcomes: list[Outcome], phase: bytes
) -> None:
    """Silence, and a head or body sent byte by byte, end when the time for the whole exchange is over."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(phase)
        gone = asyncio.ensure_future(reader.read())
        while not gone.done():
            writer.write(b"x" if phase else b"")
            await asyncio.wait([gone], timeout=0.01)

    port = await serve_raw(drip)
    started = asyncio.get_running_loop().time()
    error = await failure(client.request("GET", f"http://127.0.0.1:{port}/?k=s3cret", timeout=0.2))
    assert (error.code, error.category) == ("timeout", "timeout")
    assert asyncio.get_running_loop().time() - started < 5
    assert "s3cret" not in error.message
    assert outcomes == ["timeout"]


async def test_time_is_counted_over_all_hops(client: EgressClient, serve: Serve) -> None:
    """A slow lookup and slow hops draw on the same time."""
    never = asyncio.Event()

    async def handler(request: web.Request) -> web.Response:
        if request.path == "/slow":
            await never.wait()
        return web.Response(status=302, headers={"Location": "/slow"})

    port = await serve(handler)
    assert (await failure(client.request("GET", f"http://a.test:{port}/", timeout=0.2))).code == "timeout"

    async def stuck(_: str) -> Sequence[str]:
        await never.wait()
        return []

    async with EgressClient(Guard(resolve=stuck)) as slow:
        assert (await failure(slow.request("GET", "http://a.test/", timeout=0.1))).code == "timeout"
    never.set()
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    "answer",
    [
        *(b"", b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 10_000 + b"\r\n",
    ],
)
async def test_broken_answers_are_network_errors(
    client: EgressClient, serve_raw: ServeRaw, outcomes: list[Outcome], answer: bytes
) -> None:
    """Hang-ups, other protocols, cut or falsely packed bodies and endless headers may be tried again."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    port = await serve_raw(handler)
    error = await failure(client.request("POST", f"http://127.0.0.1:{port}/?k=s3cret"))
    assert (error.code, error.category) == ("network_error", "network")
    assert "s3cret" not in f"{error.message}{error.__cause__}"
    assert error.__suppress_context__
    assert outcomes == ["network"]


async def test_a_closed_port_is_a_network_error(client: EgressClient, serve_raw: ServeRaw) -> None:
    """Where nothing listens, the message says so and names the host."""
    error = await failure(client.request("GET", "http://127.0.0.1:1/"))
    assert error.code == "network_error"
    assert "127.0.0.1 failed: no connection (" in error.message


async def test_addresses_are_tried_in_turn(serve: Serve) -> None:
    """When the first checked address does not answer, the next one is used."""

    async def two(_: str) -> Sequence[str]:
        return ["127.0.0.9", "127.0.0.1"]

    port = await serve(_fine)
    async with EgressClient(Guard(parse_allow("127.0.0.0/8"), resolve=two)) as client:
        assert (await client.request("GET", f"http://a.test:{port}/")).status == 200


async def test_tls_keeps_the_name_and_is_verified(client: EgressClient, serve: Serve, tmp_path: Path) -> None:
    """TLS asks for the host by name, not by address; a self-signed certificate passes only if the caller says so."""
    asked: list[str | None] = []
    context = certified("secure.test", tmp_path)
    context.sni_callback = lambda _, name, __: asked.append(name)
    port = await serve(_fine, context)
    url = f"https://secure.test:{port}/"
    assert (await client.request("GET", url, verify_tls=False)).status == 200
    error = await failure(client.request("GET", url))
    assert error.code == "network_error"
    assert "TLS certificate" in error.message
    assert asked == ["secure.test", "secure.test"]


async def test_through_a_proxy(serve_raw: ServeRaw) -> None:
    """A proxy is given the whole URL and its credentials; forbidden targets are refused before it hears of them."""
    heads: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await writer.drain()

    async def public(host: str) -> Sequence[str]:
        return ["127.0.0.1"] if host == "inside.test" else ["93.184.216.34"]

    port = await serve_raw(proxy)
    async with EgressClient(Guard(resolve=public), proxy=f"http://joe:pass@127.0.0.1:{port}") as client:
        assert (await client.request("GET", "http://out.test/x?y=1")).body == b"ok"
        for url in ("http://inside.test/", "http://127.0.0.1/", "http://[::ffff:10.0.0.1]/"):
            assert (await failure(client.request("GET", url))).code == "egress_refused"
    assert len(heads) == 1
    assert heads[0].startswith("GET http://out.test/x?y=1 HTTP/1.1\r\nHost: out.test\r\n")
    assert "Proxy-Authorization: Basic am9lOnBhc3M=" in heads[0]


async def test_the_pool_is_limited(serve: Serve) -> None:
    """No more than the given number of connections is open at once, and the calls over it wait and succeed."""
    open_now = most = 0
    full = asyncio.Event()

    async def handler(_: web.Request) -> web.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 3:
            full.set()
        await full.wait()
        open_now -= 1
        return web.Response(text=json.dumps(most))

    port = await serve(handler)
    async with EgressClient(Guard(parse_allow("127.0.0.1")), limit=3) as client:
        answers = await asyncio.gather(*(client.request("GET", f"http://127.0.0.1:{port}/") for _ in range(12)))
    assert [answer.status for answer in answers] == [200] * 12
    assert most == 3


async def test_cancelling_closes_the_connection(client: EgressClient, serve_raw: ServeRaw) -> None:
    """A call that is cancelled hangs up at once, so that a cancelled run stops costing the far side."""
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        gone.set()

    port = await serve_raw(handler)
    call = asyncio.ensure_future(client.request("GET", f"http://127.0.0.1:{port}/"))
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(gone.wait(), 5)
