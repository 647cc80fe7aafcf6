"""The Postgres node against a real server: parameters, caps, time, and what may not get through."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from shared.egress.client import EgressClient
from shared.nodes.postgres_query import PostgresQuery
from tests.engine import eventually
from tests.outward import call, closed_port, failed, fault_codes, step

SLEEP = "SELECT pg_sleep(60)"
ACTIVE = "SELECT 1 AS n FROM pg_stat_activity WHERE query = $1 AND state = 'active'"


@pytest.fixture
async def server(empty_database_url: str) -> dict[str, Any]:
    """The fields that lead a node to a database with a table of three orders."""
    url = urlsplit(empty_database_url)
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(
        "CREATE TABLE orders (id int PRIMARY KEY, customer text, total numeric, placed timestamptz, tags text[]);"
        "INSERT INTO orders VALUES (1, 'ada', 12.50, '2025-10-01 12:00+00', '{a,b}'), (2, 'bob', 7, NULL, NULL),"
        " (3, 'ada', 0.1, '2025-10-02 12:00+00', '{}')"
    )
    await connection.close()
    return {
        "host": "127.0.0.1", "port": url.port, "user": url.username, "password": url.password, "tls": "off",
        "database": url.path[1:],
    }  # fmt: skip


async def rows(server: dict[str, Any], egress: EgressClient, query: str, *parameters: Any) -> Any:
    data = {**server, "query": query, "parameters": list(parameters)}
    return (await call("postgres_query", data, step(egress))).output["rows"]


async def test_selects_by_parameters(server: dict[str, Any], egress: EgressClient) -> None:
    """Rows come back as objects; the password stands in no log entry."""
    data = {**server, "query": "SELECT * FROM orders WHERE customer = $1 ORDER BY id", "parameters": ["{{ n1.who }}"]}
    outcome = await call("postgres_query", data, step(egress), n1={"who": "ada"})
    assert outcome.output == {
        "rows": [
            {"id": 1, "customer": "ada", "total": "12.50", "placed": "2025-10-01T12:00:00+00:00", "tags": ["a", "b"]},
            {"id": 3, "customer": "ada", "total": "0.1", "placed": "2025-10-02T12:00:00+00:00", "tags": []},
        ],
        "row_count": 2,
        "command": "SELECT 2",
    }
    assert outcome.step_input["parameters"] == ["ada"]
    assert server["password"] not in str(outcome.step_input)


async def test_the_example(server: dict[str, Any], egress: EgressClient) -> None:
    """The example of the catalogue runs against a table like the one it speaks of."""
    for change in ("ALTER TABLE orders RENAME id TO number", "ALTER TABLE orders RENAME placed TO placed_at"):
        await rows(server, egress, change)
    outcome = await call("postgres_query", {**PostgresQuery.example, **server}, step(egress), n1={"customer": "ada"})
    assert outcome.output["rows"] == [{"number": 1, "total": "12.50"}, {"number": 3, "total": "0.1"}]


@pytest.mark.parametrize("hostile", ["x' OR '1'='1", "'; DROP TABLE orders; --", "$1", "\\'"])
async def test_no_value_becomes_sql(server: dict[str, Any], egress: EgressClient, hostile: str) -> None:
    """Text that would break out of a string-built statement is compared like any other, and finds nothing."""
    assert await rows(server, egress, "SELECT id FROM orders WHERE customer = $1", hostile) == []
    assert await rows(server, egress, "SELECT count(*) AS n FROM orders") == [{"n": 3}]


@pytest.mark.parametrize(
    "query", ["SELECT {{ n1.x }}", "SELECT * FROM orders WHERE id = {{ n1.id }}", "{% if x %}{% endif %}"]
)
def test_templates_in_sql_are_refused(query: str) -> None:
    """The SQL text of a node that is saved holds no template."""
    data = {"host": "db.example.com", "database": "d", "user": "u", "query": query}
    assert fault_codes("postgres_query", data) == [("data.query", "no_template")]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"host": "a b"}, [("data.host", "invalid_value")]),
        ({"query": "SELECT 1\x00"}, [("data.query", "invalid_value")]),
        ({"query": ""}, [("data.query", "invalid_value")]),
        ({"max_rows": 0}, [("data.max_rows", "invalid_value")]),
        ({"max_bytes": 2**30}, [("data.max_bytes", "invalid_value")]),
        ({"tls": "maybe"}, [("data.tls", "invalid_value")]),
        ({"host": "{{ n1.host }}", "password": "{{ n1.p }}"}, []),
    ],
)
def test_faults_when_saved(change: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """What cannot work is refused when the workflow is saved."""
    data = {"host": "db.example.com", "database": "d", "user": "u", "query": "SELECT 1"}
    assert fault_codes("postgres_query", {**data, **change}) == expected


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("int", "41", 41),
        ("int8", 2.0, 2),
        ("float8", 1, 1.0),
        ("float8", "0", 0.0),
        ("numeric", 1.10, "1.1"),
        ("bool", "true", True),
        ("bool", False, False),
        ("text", 5, "5"),
        ("text", {"a": 1}, '{"a":1}'),
        ("uuid", "6f1d2f1e-0000-4000-8000-000000000001", "6f1d2f1e-0000-4000-8000-000000000001"),
        ("jsonb", {"a": [1, None, "ü"]}, {"a": [1, None, "ü"]}),
        ("json", "text", "text"),
        ("jsonb[]", [{"a": 1}, [2]], [{"a": 1}, [2]]),
        ("timestamptz", "2025-10-31T12:00:00+02:00", "2025-10-31T10:00:00+00:00"),
        ("timestamptz", "2025-10-31T12:00:00", "2025-10-31T12:00:00+00:00"),
        ("timestamp", "2025-10-31T12:00:00+02:00", "2025-10-31T10:00:00"),
        ("date", "2025-10-31", "2025-10-31"),
        ("time", "12:30", "12:30:00"),
        ("interval", 90.5, 90.5),
        ("bytea", "AP8=", "AP8="),
        ("int[]", [[1, "2"], [3, None]], [[1, 2], [3, None]]),
        ("inet", "10.0.0.0/8", "10.0.0.0/8"),
        ("bit(3)", None, None),
    ],
)
async def test_types(server: dict[str, Any], egress: EgressClient, kind: str, value: Any, expected: Any) -> None:
    """A JSON value goes in as the type its place has, and comes out as a JSON value again."""
    found = await rows(server, egress, f"SELECT $1::{kind} AS value", value)
    assert found == [{"value": expected}]
    assert type(found[0]["value"]) is type(expected)


async def test_other_answers_have_a_json_form(server: dict[str, Any], egress: EgressClient) -> None:
    """Not-a-number, ranges, bits, rows and points stand as JSON can hold them."""
    query = (
        "SELECT 'NaN'::float8 AS f, int4range(1, 5) AS r, B'101' AS b, ROW(1, 'x') AS row, point(1, 2) AS p, NULL AS n"
    )
    assert await rows(server, egress, query) == [
        {
            "f": "nan",
            "r": {"lower": 1, "upper": 5, "lower_inc": True, "upper_inc": False, "empty": False},
            "b": "101",
            "row": [1, "x"],
            "p": [1.0, 2.0],
            "n": None,
        }
    ]


@pytest.mark.parametrize(
    ("query", "parameters", "message"),
    [
        ("SELECT $1::int", ["x"], 'data.parameters[0]: "x" cannot be sent as int4.'),
        ("SELECT $1::int", [1.5], "data.parameters[0]: 1.5 cannot be sent as int4."),
        ("SELECT $1::date", [5], "data.parameters[0]: 5 cannot be sent as date."),
        ("SELECT $1::int[]", [5], "data.parameters[0]: 5 cannot be sent as int4[]."),
        ("SELECT $1::bool", ["yes"], 'data.parameters[0]: "yes" cannot be sent as bool.'),
        ("SELECT 1", [1], "data.parameters: the query takes 0 and 1 are given."),
    ],
)
async def test_wrong_parameters(
    server: dict[str, Any], egress: EgressClient, query: str, parameters: list[Any], message: str
) -> None:
    """A value that its place does not take fails the step, which says which one it is."""
    error = await failed("postgres_query", {**server, "query": query, "parameters": parameters}, step(egress))
    assert (error.code, error.message) == ("invalid_data", message)


async def test_changes_are_committed(server: dict[str, Any], egress: EgressClient) -> None:
    """An UPDATE says how many rows it changed, one with RETURNING which, and both last."""
    data = {**server, "query": "UPDATE orders SET total = 1 WHERE customer = $1", "parameters": ["ada"]}
    outcome = await call("postgres_query", data, step(egress))
    assert outcome.output == {"rows": [], "row_count": 2, "command": "UPDATE 2"}
    deleted = await rows(server, egress, "DELETE FROM orders WHERE id = $1 RETURNING id, total", 1)
    assert deleted == [{"id": 1, "total": "1"}]
    assert await rows(server, egress, "SELECT id FROM orders ORDER BY id") == [{"id": 2}, {"id": 3}]


@pytest.mark.parametrize("query", ["DELETE FROM orders", "CREATE TABLE t (x int)"])
async def test_read_only(server: dict[str, Any], egress: EgressClient, query: str) -> None:
    """With read_only the server refuses every change."""
    error = await failed("postgres_query", {**server, "query": query, "read_only": True}, step(egress))
    assert (error.code, error.category, error.body["sqlstate"]) == ("query_failed", "error", "25006")


async def test_one_statement_alone(server: dict[str, Any], egress: EgressClient) -> None:
    """Two statements in one text are refused, so none can end the read-only transaction before another."""
    data = {**server, "query": "COMMIT; DELETE FROM orders", "read_only": True}
    assert (await failed("postgres_query", data, step(egress))).body["sqlstate"] == "42601"
    assert await rows(server, egress, "SELECT count(*) AS n FROM orders") == [{"n": 3}]


async def test_a_row_too_many_takes_changes_back(server: dict[str, Any], egress: EgressClient) -> None:
    """A result over max_rows or max_bytes fails the step, and what the statement changed is undone."""
    data = {**server, "query": "DELETE FROM orders RETURNING id"}
    assert (await failed("postgres_query", {**data, "max_rows": 2}, step(egress))).code == "too_many_rows"
    assert (await failed("postgres_query", {**data, "max_bytes": 20}, step(egress))).code == "result_too_large"
    assert await rows(server, egress, "SELECT count(*) AS n FROM orders") == [{"n": 3}]


async def test_a_flood_breaks_the_connection(server: dict[str, Any], egress: EgressClient) -> None:
    """A server that sends more than the wire's cap is cut off in the middle, before it fills the memory."""
    query = "SELECT repeat('x', 1000000) AS x FROM generate_series(1, 100)"
    error = await failed("postgres_query", {**server, "query": query, "max_rows": 10_000}, step(egress))
    assert (error.code, error.message.startswith("The server sent more than 8388608 bytes")) == (
        "result_too_large",
        True,
    )


@asynccontextmanager
async def hostile(speak: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[Any]:
    """A server that says what a test wants; the fields that lead a node to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.read(4096)
            await speak(reader, writer)
            await reader.read()
        writer.transport.abort()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield {"host": "127.0.0.1", "port": port, "user": "u", "password": "p", "database": "d", "tls": "off"}


def authentication(kind: int, told: bytes) -> bytes:
    """A message of the log-in."""
    return b"R" + (8 + len(told)).to_bytes(4, "big") + kind.to_bytes(4, "big") + told


@pytest.mark.parametrize("field", ["user", "database"])
async def test_no_value_becomes_a_setting(server: dict[str, Any], egress: EgressClient, field: str) -> None:
    """The log-in is a list of texts that end with NUL: one within a value would begin the next setting."""
    data = {**server, field: "{{ n1.x }}", "query": "SELECT 1"}
    value = f"{server[field]}\0options\0-c search_path=evil"
    error = await failed("postgres_query", data, step(egress), n1={"x": value})
    assert error.code == "invalid_data"


async def test_a_server_does_not_say_for_how_long(egress: EgressClient) -> None:
    """One that wants a password hashed for minutes, in which nothing else of the worker would run, is refused."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(authentication(10, b"SCRAM-SHA-256\0\0"))
        nonce = (await reader.read(4096)).partition(b"r=")[2]
        writer.write(authentication(11, b"r=%bserver,s=c2FsdHNhbHQ=,i=2000000000" % nonce))

    async with hostile(speak) as server:
        error = await failed("postgres_query", {**server, "query": "SELECT 1"}, step(egress))
    assert error.code == "query_failed"
    assert "2000000000 iterations" in error.message


async def test_a_flood_before_the_log_in_breaks_the_connection(egress: EgressClient) -> None:
    """What a server sends is counted from its first byte on: one announced as large fills no memory."""

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"N" + (1 << 30).to_bytes(4, "big"))
        for _ in range(64):
            writer.write(bytes(1 << 20))
            await writer.drain()

    async with hostile(speak) as server:
        error = await failed("postgres_query", {**server, "query": "SELECT 1"}, step(egress))
    assert error.code == "result_too_large"


async def test_two_columns_of_one_name(server: dict[str, Any], egress: EgressClient) -> None:
    """A result in which one column would hide another fails."""
    error = await failed("postgres_query", {**server, "query": "SELECT 1 AS a, 2 AS a"}, step(egress))
    assert error.code == "ambiguous_columns"


async def test_the_server_ends_a_slow_statement(server: dict[str, Any], egress: EgressClient) -> None:
    """After the step's timeout the step fails with the category timeout, and nothing goes on at the server."""
    error = await failed("postgres_query", {**server, "query": SLEEP}, step(egress, timeout=0.3))
    assert error.category == "timeout"

    async def is_over() -> bool:
        return not await rows(server, egress, ACTIVE, SLEEP)

    await eventually(is_over)


@pytest.mark.parametrize(
    ("query", "category", "sqlstate"),
    [
        ("SELECT 1 / 0", "error", "22012"),
        ("SELECT * FROM nowhere", "error", "42P01"),
        ("INSERT INTO orders VALUES (1)", "error", "23505"),
        ("SELECT oops(", "error", "42601"),
    ],
)
async def test_errors_of_the_server(
    server: dict[str, Any], egress: EgressClient, query: str, category: str, sqlstate: str
) -> None:
    """What the server says comes with the step's error, with the state to tell it by."""
    error = await failed("postgres_query", {**server, "query": query}, step(egress))
    assert (error.code, error.category, error.body["sqlstate"]) == ("query_failed", category, sqlstate)
    assert error.step_input["query"] == query


async def test_what_a_repeat_may_mend(server: dict[str, Any], egress: EgressClient) -> None:
    """A serialisation failure has a category that a retry can name."""
    query = "DO $x$ BEGIN RAISE EXCEPTION 'again' USING ERRCODE = '40001'; END $x$"
    assert (await failed("postgres_query", {**server, "query": query}, step(egress))).category == "5xx"


async def test_a_wrong_password(server: dict[str, Any], egress: EgressClient) -> None:
    """The log-in fails with what the server said, and the password is not told."""
    error = await failed("postgres_query", {**server, "password": "wrong-secret", "query": "SELECT 1"}, step(egress))
    assert error.body["sqlstate"] == "28P01"
    assert "wrong-secret" not in f"{error.message}{error.body}{error.step_input}"


async def test_nothing_comes_from_the_environment(
    server: dict[str, Any], egress: EgressClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's own PG* variables lend no password to a workflow."""
    monkeypatch.setenv("PGPASSWORD", server["password"])
    error = await failed("postgres_query", {**server, "password": "", "query": "SELECT 1"}, step(egress))
    assert (error.code, error.category) == ("query_failed", "error")


async def test_nobody_listens(server: dict[str, Any], egress: EgressClient) -> None:
    """A server that is away fails the step with the category network."""
    error = await failed("postgres_query", {**server, "port": closed_port(), "query": "SELECT 1"}, step(egress))
    assert (error.code, error.category) == ("network_error", "network")


async def test_a_server_without_tls(server: dict[str, Any], egress: EgressClient) -> None:
    """Whoever wants TLS gets it or nothing: there is no falling back to a connection without."""
    for tls in ("verify", "require"):
        error = await failed("postgres_query", {**server, "tls": tls, "query": "SELECT 1"}, step(egress))
        assert (error.code, error.category) == ("network_error", "network")


async def test_a_cancelled_step_leaves_nothing(server: dict[str, Any], egress: EgressClient) -> None:
    """A step that is aborted in the middle ends as cancelled, and its connection with it."""
    task = asyncio.create_task(call("postgres_query", {**server, "query": SLEEP}, step(egress)))

    async def sleeps() -> bool:
        return bool(await rows(server, egress, ACTIVE, SLEEP))

    await eventually(sleeps)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
