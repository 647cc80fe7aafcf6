"""``postgres_query``: one SQL statement, with parameters, in a Postgres database somewhere else."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

import asyncpg
import msgspec

from shared import jsontext
from shared.errors import StepFailedError
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.postgres_session import session
from shared.nodes.postgres_values import from_rows, to_parameters
from shared.nodes.remote import Port, Tls, host_faults
from shared.queries import load

#: Rows, and bytes of JSON, of one result.
MAX_ROWS: Final = 10_000
MAX_BYTES: Final = 1024 * 1024
#: Characters of the query and of each parameter that a log entry shows.
_SHOWN: Final = 2048
_SQL = load("postgres_query")


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        query: one statement, with ``$1``, ``$2`` and so on where values stand. It takes no templates: what comes from
            outside is always a parameter, and never part of the SQL.
        parameters: JSON values, made into what the server expects at their place: ISO 8601 text for dates and times,
            seconds for intervals, base64 for ``bytea``, lists for arrays, any value for ``json``.
        tls: ``verify`` wants a trusted certificate made out for the host, ``require`` takes any, ``off`` does without.
        read_only: whether the server refuses every change.
        max_rows: of the result; more fail the step, and what it changed is taken back.
        max_bytes: of the result as JSON; likewise.
    """

    host: Text[str]
    database: Text[str]
    user: Text[str]
    query: Plain[Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]]
    password: Text[Secret[str]] = ""
    port: Port = 5432
    tls: Plain[Tls] = "verify"
    parameters: list[Any] = []
    read_only: bool = False
    max_rows: Annotated[int, msgspec.Meta(ge=1, le=MAX_ROWS)] = 1000
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_BYTES)] = MAX_BYTES


class PostgresQuery(NodeType[Data]):
    """Runs a statement in a transaction of its own; output ``{rows, row_count, command}``.

    ``rows`` are objects by column; ``row_count`` is how many the server returned or changed, ``command`` its own word
    for that, such as ``UPDATE 3``. Numbers of the type ``numeric`` stand as text, since JSON's would round them, dates
    and times in ISO 8601, intervals in seconds, and ``bytea`` in base64. The server ends the statement after the step's
    ``timeout``.
    """

    component_id = "postgres_query"
    title = "Postgres query"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "host": "db.example.com",
        "database": "shop",
        "user": "workflows",
        "query": "SELECT number, total FROM orders WHERE customer = $1 AND placed_at > $2",
        "parameters": ["{{ n1.customer }}", "2025-10-01T00:00:00Z"],
        "read_only": True,
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"customer": "ada"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        faults = host_faults(data)
        return [*faults, ("query", "A query holds no NUL.")] if "\x00" in data["query"] else faults

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Connect, run the statement and commit.

        Raises:
            StepFailedError: what `Egress.pin` raises, ``query_failed`` with what the server said, ``network_error``,
                ``timeout``, ``invalid_data``, ``ambiguous_columns``, ``too_many_rows``, ``result_too_large``.
        """
        about = _logged(data)
        clock = asyncio.timeout(context.timeout)
        try:
            async with clock:
                return Outcome(await _result(data, context), step_input=about)
        except TimeoutError:
            message = f"The query took longer than its {context.timeout:g} s."
            raise StepFailedError("timeout", message, category="timeout", step_input=about) from None
        except StepFailedError as error:
            error.step_input = about
            raise


async def _result(data: Data, context: StepContext) -> dict[str, Any]:
    for name, text in (("user", data.user), ("database", data.database)):
        if "\x00" in text:  # behind it the protocol has further parameters of the session
            raise StepFailedError("invalid_data", f"data.{name}: it holds a NUL.")
    async with (
        context.egress.visit(data.host, data.port, timeout=context.timeout) as place,
        session(place, database=data.database, user=data.user, password=data.password, tls=data.tls) as connection,
        connection.transaction(readonly=data.read_only),
    ):
        await connection.fetchval(_SQL["limit_time"], str(max(1, round(context.timeout * 1000))))
        return await _run(connection, data)


async def _run(connection: asyncpg.Connection, data: Data) -> dict[str, Any]:
    # Behind PgBouncer the names of statements outlive the transaction, and others may have taken the usual ones.
    statement = await connection.prepare(data.query, name=f"edgewise_{secrets.token_hex(8)}")
    types = [each.name for each in statement.get_parameters()]
    records = await statement.fetch(*to_parameters(data.parameters, types))
    if len(records) > data.max_rows:
        message = f"The result has more than {data.max_rows} rows (max_rows); add a LIMIT."
        raise StepFailedError("too_many_rows", message)
    rows = from_rows(records, [(each.name, each.type.name) for each in statement.get_attributes()])
    size = len(jsontext.encode(rows).encode("utf-8", "replace"))
    if size > data.max_bytes:
        message = f"The result is {size} bytes long and may have {data.max_bytes} (max_bytes)."
        raise StepFailedError("result_too_large", message)
    command = statement.get_statusmsg() or ""
    return {"rows": rows, "row_count": _count(command, len(rows)), "command": command}


def _count(command: str, returned: int) -> int:
    """The number at the end of the server's word for what it did."""
    number = command.rpartition(" ")[2]
    return int(number) if number.isdecimal() else returned


def _logged(data: Data) -> dict[str, Any]:
    return {
        "host": data.host,
        "database": data.database,
        "query": data.query[:_SHOWN],
        "parameters": [value[:_SHOWN] if isinstance(value, str) else value for value in data.parameters],
    }
