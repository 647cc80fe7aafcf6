"""The Redis node against a real Valkey, and against servers that answer what none should."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from shared.egress.client import EgressClient
from shared.nodes.redis_command import RedisCommand
from shared.nodes.redis_commands import ALLOWED
from tests.outward import call, closed_port, failed, fault_codes, step

Serve = Callable[[bytes], Awaitable[dict[str, Any]]]
HELLO = b"%1\r\n+proto\r\n:3\r\n"


@pytest.fixture
def server(broker_url: str) -> dict[str, Any]:
    """The fields that lead a node to an empty server."""
    url = urlsplit(broker_url)
    return {"host": "127.0.0.1", "port": url.port, "password": url.password, "tls": "off"}


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server that says hello and then answers every command with the same bytes."""
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> dict[str, Any]:
        async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"HELLO\r\n$1\r\n3\r\n")
            writer.write(HELLO)
            if answer and await reader.read(1):
                writer.write(answer)
                await reader.read()
            writer.close()

        servers.append(await asyncio.start_server(on_connect, "127.0.0.1", 0))
        return {"host": "127.0.0.1", "port": servers[-1].sockets[0].getsockname()[1], "tls": "off"}

    yield start
    for each in servers:
        each.close()
        await each.wait_closed()


async def send(server: dict[str, Any], egress: EgressClient, command: str, *arguments: Any, **more: Any) -> Any:
    data = {**server, "command": command, "arguments": list(arguments), **more}
    return (await call("redis_command", data, step(egress))).output["result"]


async def test_commands(server: dict[str, Any], egress: EgressClient) -> None:
    """Keys, hashes, lists, sets, sorted sets and streams are written and read, each answer as its JSON type."""
    assert await send(server, egress, "SET", "a", "ü\r\n$1", "EX", 100) == "OK"
    assert await send(server, egress, "get", "a") == "ü\r\n$1"
    assert await send(server, egress, "GET", "nothing") is None
    assert await send(server, egress, "INCRBY", "n", 5) == 5
    assert await send(server, egress, "MGET", "n", "nothing") == ["5", None]
    assert await send(server, egress, "HSET", "h", "x", 1, "y", 2.5) == 2
    assert await send(server, egress, "HGETALL", "h") == {"x": "1", "y": "2.5"}
    assert await send(server, egress, "RPUSH", "l", "1", "2") == 2
    assert await send(server, egress, "LRANGE", "l", 0, -1) == ["1", "2"]
    assert await send(server, egress, "SADD", "s", "m") == 1
    assert await send(server, egress, "SMEMBERS", "s") == ["m"]
    assert await send(server, egress, "ZADD", "z", 1.5, "m") == 1
    assert await send(server, egress, "ZRANGE", "z", 0, -1, "WITHSCORES") == [["m", 1.5]]
    entry = await send(server, egress, "XADD", "x", "*", "f", "v")
    assert await send(server, egress, "XRANGE", "x", "-", "+") == [[entry, ["f", "v"]]]


async def test_the_example(server: dict[str, Any], egress: EgressClient) -> None:
    """The example of the catalogue runs, and its key expires."""
    outcome = await call("redis_command", {**RedisCommand.example, **server}, step(egress), n1={"user": "ada"})
    assert outcome.output == {"result": "OK"}
    assert 0 < await send(server, egress, "TTL", "greeting:ada") <= 3600


async def test_an_argument_is_never_a_command(server: dict[str, Any], egress: EgressClient) -> None:
    """What a template gives goes as one argument, line breaks and protocol included, and stands in the log entry."""
    hostile = "v\r\n*1\r\n$8\r\nFLUSHALL\r\n"
    data = {**server, "command": "SET", "arguments": ["k", "{{ n1.v }}"]}
    outcome = await call("redis_command", data, step(egress), n1={"v": hostile})
    assert outcome.output == {"result": "OK"}
    assert outcome.step_input == {"host": "127.0.0.1", "command": "SET", "arguments": ["k", hostile]}
    assert await send(server, egress, "GET", "k") == hostile


@pytest.mark.parametrize(
    "command",
    [
        "FLUSHALL",
        "KEYS",
        "EVAL",
        "CONFIG",
        "SELECT",
        "SUBSCRIBE",
        "BLPOP",
        "MIGRATE",
        "SCRIPT",
        "HELLO",
        "AUTH",
        "",
        "GET ",
    ],
)
def test_other_commands_are_refused(command: str) -> None:
    """A command that is not on the list is a fault when the workflow is saved."""
    assert command not in ALLOWED
    assert fault_codes("redis_command", {"host": "h", "command": command}) == [("data.command", "invalid_value")]


async def test_arguments_from_a_list(server: dict[str, Any], egress: EgressClient) -> None:
    """A list that a template gives is sent item by item; what has no form as an argument fails the step."""
    data = {**server, "command": "RPUSH", "arguments": "{{ n1.all }}"}
    assert (await call("redis_command", data, step(egress), n1={"all": ["l", "a b", 1, 2.5]})).output["result"] == 3
    assert await send(server, egress, "LRANGE", "l", 0, -1) == ["a b", "1", "2.5"]
    assert (await failed("redis_command", data, step(egress), n1={"all": ["l", {}]})).code == "invalid_data"


async def test_a_command_is_checked_again(server: dict[str, Any], egress: EgressClient) -> None:
    """A version that was saved while more was allowed sends nothing that is refused now."""
    error = await failed("redis_command", {**server, "command": "FLUSHALL"}, step(egress))
    assert error.code == "command_refused"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"command": "{{ n1.c }}"}, [("data.command", "no_template")]),
        ({"host": "redis://x"}, [("data.host", "invalid_value")]),
        ({"arguments": ["x"] * 1001}, [("data.arguments", "invalid_value")]),
        ({"arguments": [["x"]]}, [("data.arguments[0]", "invalid_value")]),
        ({"database": -1}, [("data.database", "invalid_value")]),
        ({"arguments": "{{ n1.list }}"}, []),
    ],
)
def test_faults_when_saved(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """What cannot work is refused when the workflow is saved."""
    assert fault_codes("redis_command", {"host": "cache.example.com", "command": "GET", **change}) == expected


async def test_databases_and_users(server: dict[str, Any], egress: EgressClient) -> None:
    """A command goes to the database that is named, as the user that is named."""
    await send(server, egress, "SET", "k", "zero")
    await send(server, egress, "SET", "k", "one", database=1, user="default")
    assert [await send(server, egress, "GET", "k", database=number) for number in (0, 1)] == ["zero", "one"]


@pytest.mark.parametrize(
    ("change", "start"),
    [
        ({"password": "wrong-secret"}, "WRONGPASS"),
        ({"password": "wrong-secret", "user": "nobody"}, "WRONGPASS"),
        ({"password": ""}, "NOAUTH"),
        ({"database": 5000}, "ERR DB index is out of range"),
        ({"command": "INCR"}, "ERR value is not an integer"),
        ({"command": "LPUSH"}, "WRONGTYPE"),
    ],
)
async def test_errors_of_the_server(
    server: dict[str, Any], egress: EgressClient, change: dict[str, Any], start: str
) -> None:
    """What the server says comes with the step's error, and no password; nothing is sent after it said no."""
    await send(server, egress, "SET", "k", "text")
    arguments = ["k", "v"] if change.get("command") == "LPUSH" else ["k"]
    error = await failed("redis_command", {**server, "command": "DEL", "arguments": arguments, **change}, step(egress))
    assert (error.code, error.category) == ("redis_failed", "error")
    assert error.body.startswith(start)
    assert "wrong-secret" not in f"{error.message}{error.body}{error.step_input}"
    assert await send(server, egress, "GET", "k") == "text"


async def test_a_large_answer(server: dict[str, Any], egress: EgressClient) -> None:
    """An answer over max_bytes fails the step."""
    await send(server, egress, "SETRANGE", "k", 3_000_000, "x")
    for cap in ({}, {"max_bytes": 1000}):
        error = await failed("redis_command", {**server, "command": "GET", "arguments": ["k"], **cap}, step(egress))
        assert error.code == "result_too_large"


async def test_bytes(server: dict[str, Any], egress: EgressClient) -> None:
    """Values that are no text come in base64 if that is asked for, and else fail the step, which says so."""
    await send(server, egress, "SETBIT", "k", 0, 1)
    error = await failed("redis_command", {**server, "command": "GET", "arguments": ["k"]}, step(egress))
    assert (error.code, "base64" in error.message) == ("invalid_response", True)
    assert await send(server, egress, "GET", "k", encoding="base64") == "gA=="


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"|1\r\n+ttl\r\n:5\r\n+v\r\n", "v"),
        (b">2\r\n+invalidate\r\n+k\r\n+v\r\n", "v"),
        (b"=5\r\ntxt:v\r\n", "v"),
        (b"*-1\r\n", None),
        (b"$-1\r\n", None),
        (b"_\r\n", None),
        (b"#t\r\n", True),
        (b",inf\r\n", "inf"),
        (b"(12345678901234567890123\r\n", 12345678901234567890123),
        (b"~2\r\n:1\r\n:2\r\n", [1, 2]),
        (b"%1\r\n:1\r\n*0\r\n", {"1": []}),
        (b"*2\r\n-ERR one\r\n!7\r\nERR two\r\n", [{"error": "ERR one"}, {"error": "ERR two"}]),
    ],
)
async def test_the_protocol(serve: Serve, egress: EgressClient, answer: bytes, expected: Any) -> None:
    """Every type of the protocol is read; what stands before an answer or comes unasked is passed over."""
    assert await send(await serve(answer), egress, "GET", "k") == expected


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"*1000000000\r\n", "result_too_large"),
        (b"%4000000000\r\n", "result_too_large"),
        (b"$900000000\r\n", "result_too_large"),
        (b"*1\r\n" * 100 + b":1\r\n", "invalid_response"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "invalid_response"),
        (b":one\r\n", "invalid_response"),
        (b"#x\r\n", "invalid_response"),
        (b"+" + b"x" * 200_000, "invalid_response"),
        (b"", "network_error"),
    ],
)
async def test_what_no_server_should_say(serve: Serve, egress: EgressClient, answer: bytes, code: str) -> None:
    """An answer that announces too much, nests too deep or is something else fails the step at once."""
    error = await failed("redis_command", {**await serve(answer), "command": "GET"}, step(egress))
    assert error.code == code


@pytest.mark.parametrize("start", ["LOADING", "CLUSTERDOWN", "OOM", "READONLY"])
async def test_what_a_repeat_may_mend(serve: Serve, egress: EgressClient, start: str) -> None:
    """A server that starts, fails over or is full gives a category that a retry can name."""
    server = await serve(f"-{start} not now\r\n".encode())
    assert (await failed("redis_command", {**server, "command": "GET"}, step(egress))).category == "5xx"


async def test_a_silent_server(serve: Serve, egress: EgressClient) -> None:
    """A server that never answers fails the step after its timeout, with that category."""
    server = await serve(b"*1\r\n")
    error = await failed("redis_command", {**server, "command": "GET"}, step(egress, timeout=0.2))
    assert (error.code, error.category) == ("timeout", "timeout")


async def test_nobody_listens(egress: EgressClient) -> None:
    """A server that is away fails the step with the category network."""
    data = {"host": "127.0.0.1", "port": closed_port(), "command": "PING", "tls": "off"}
    assert (await failed("redis_command", data, step(egress))).category == "network"


async def test_a_server_without_tls(server: dict[str, Any], egress: EgressClient) -> None:
    """Whoever wants TLS gets it or nothing."""
    for tls in ("verify", "require"):
        error = await failed("redis_command", {**server, "command": "PING", "tls": tls}, step(egress, timeout=5))
        assert error.category in {"network", "timeout"}
