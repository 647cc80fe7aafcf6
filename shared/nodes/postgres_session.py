"""One connection to somebody's Postgres for one statement: to the checked address, with caps on time and bytes.

A connection is made for each query and kept for none: what a session leaves behind (settings, temporary tables, a role)
never reaches another step, and a password that was changed is not used again.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from shared.egress.interface import Pinned
from shared.errors import StepFailedError
from shared.nodes.remote import Tls, tls_context

#: Bytes that a server may send after the log-in, before they are decoded: a few times what an output can hold.
WIRE_BYTES: Final = 8 * 1024 * 1024
#: Seconds for a connection that worked to say goodbye.
_GOODBYE: Final = 2.0
#: SQLSTATE classes, and single states, by what `retry.on` calls them: a server that is away, or has no room for now.
_CATEGORIES: Final[Mapping[str, str]] = {
    "57014": "timeout",
    "08": "network",
    "57P": "network",
    "40": "5xx",
    "53": "5xx",
    "55P03": "5xx",
}


class Capped(asyncpg.Connection):
    """A connection that breaks when the server sends more than `WIRE_BYTES`.

    Attributes:
        meter: counts what comes in.
    """

    meter: "Meter"

    def __init__(self, protocol: Any, transport: Any, *rest: Any) -> None:
        super().__init__(protocol, transport, *rest)
        self.meter = Meter(protocol, transport)
        transport.set_protocol(self.meter)


class Meter(asyncio.Protocol):
    """Stands between a transport and asyncpg's protocol.

    Attributes:
        is_over: whether the connection was broken for its size.
    """

    def __init__(self, inner: asyncio.Protocol, transport: asyncio.Transport) -> None:
        self._inner = inner
        self._transport = transport
        self._left = WIRE_BYTES
        self.is_over = False

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, or end the connection."""
        self._left -= len(data)
        if self._left >= 0:
            self._inner.data_received(data)
        elif not self.is_over:
            self.is_over = True
            self._transport.abort()

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol`."""
        return self._inner.eof_received()

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._inner.connection_lost(exc)


@asynccontextmanager
async def session(
    place: Pinned, *, database: str, user: str, password: str, tls: Tls
) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a server, closed at the end; errors of the library come out as the step's.

    Raises:
        StepFailedError: see `failure_of`; ``result_too_large``.
    """
    connection = None
    try:
        connection = await _connected(place, database, user, password, tls)
        yield connection
        await connection.close(timeout=_GOODBYE)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if connection is not None and connection.meter.is_over:
            message = f"The server sent more than {WIRE_BYTES} bytes; add a LIMIT, or select less."
            raise StepFailedError("result_too_large", message) from None
        raise failure_of(place, error) from error
    finally:
        if connection is not None and not connection.is_closed():
            connection.terminate()


async def _connected(place: Pinned, database: str, user: str, password: str, tls: Tls) -> Any:
    """A connection by what the author said alone: nothing comes from this process's environment or files."""
    return await asyncpg.connect(
        host=list(place.addresses),
        port=[place.port] * len(place.addresses),
        user=user,
        password=password,
        database=database,
        ssl=tls_context(tls, place.host) or False,
        direct_tls=False,
        target_session_attrs=SessionAttribute.any,
        statement_cache_size=0,
        server_settings={"application_name": "edgewise"},
        connection_class=Capped,
    )


def failure_of(place: Pinned, error: Exception) -> StepFailedError:
    """The step's error for one of the library: ``query_failed`` with what the server said, or ``network_error``."""
    if isinstance(error, asyncpg.PostgresError) and error.sqlstate is not None:
        state = str(error.sqlstate)
        category = next((word for start, word in _CATEGORIES.items() if state.startswith(start)), "error")
        message = f"{place.host} refused the query: {error.args[0] if error.args else state}"
        return StepFailedError("query_failed", message, category=category, body=_told(error))
    if isinstance(error, (OSError, asyncpg.ConnectionDoesNotExistError)):
        message = f"The connection to {place.host}:{place.port} failed: {_reason(error)}."
        return StepFailedError("network_error", message, category="network")
    return StepFailedError("query_failed", f"The query failed: {error}")


def _reason(error: Exception) -> str:
    if isinstance(error, asyncpg.ConnectionDoesNotExistError):
        return "it was closed in the middle"
    return str(getattr(error, "strerror", None) or str(error) or type(error).__name__)


def _told(error: asyncpg.PostgresError) -> dict[str, Any]:
    """The parts of a server's error that say what was wrong."""
    names = ("sqlstate", "message", "detail", "hint", "constraint_name", "table_name", "column_name", "position")
    return {name: getattr(error, name) for name in names if getattr(error, name, None) is not None}
