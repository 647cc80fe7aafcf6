"""One connection to somebody's Postgres for one statement: to the checked address, with caps on time and bytes.

A connection is made for each query and kept for none: what a session leaves behind (settings, temporary tables, a role)
never reaches another step, and a password that was changed is not used again.
"""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, Final

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from shared.egress.interface import Pinned
from shared.errors import StepFailedError
from shared.nodes.remote import Tls, tls_context

#: Bytes that a server may send, before they are decoded: a few times what an output can hold.
WIRE_BYTES: Final = 8 * 1024 * 1024
#: Of a password in SCRAM: 0.1 s of a processor, in which nothing else runs. PostgreSQL's default is 4,096.
MAX_ITERATIONS: Final = 200_000
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


class Doorway:
    """The event loop as asyncpg gets it: all that a server sends, the log-in included, passes a `Meter` first.

    Attributes:
        is_over: whether the connection was broken, since the server sent more than `WIRE_BYTES`.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._left = WIRE_BYTES
        self.is_over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    async def create_connection(self, factory: Callable[[], Any], *place: Any) -> tuple[Any, Any]:
        """See `asyncio.AbstractEventLoop`."""
        transport, meter = await self._loop.create_connection(lambda: Meter(factory(), self.takes), *place)
        return transport, meter.inner

    async def start_tls(self, transport: Any, protocol: Any, context: ssl.SSLContext, **how: Any) -> Any:
        """See `asyncio.AbstractEventLoop`; what asyncpg then has speak on the transport is metered."""
        upgraded: Any = await self._loop.start_tls(transport, protocol, context, **how)
        if upgraded is not None:
            speak = upgraded.set_protocol
            upgraded.set_protocol = lambda inner: speak(Meter(inner, self.takes, upgraded))
        return upgraded

    def takes(self, count: int) -> bool:
        """Whether so many bytes more may come."""
        self._left -= count
        self.is_over = self.is_over or self._left < 0
        return not self.is_over


class Meter(asyncio.Protocol):
    """Stands between a transport and one of asyncpg's protocols, and breaks the connection when too much comes.

    Attributes:
        inner: that protocol.
    """

    def __init__(self, inner: Any, takes: Callable[[int], bool], transport: Any = None) -> None:
        self.inner = inner
        self._takes = takes
        self._transport = transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = transport
        self.inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on, or end the connection."""
        if self._takes(len(data)):
            self.inner.data_received(data)
        else:
            self._transport.abort()

    def eof_received(self) -> bool | None:
        """See `asyncio.Protocol`."""
        ended: bool | None = self.inner.eof_received()
        return ended

    def pause_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.inner.pause_writing()

    def resume_writing(self) -> None:
        """See `asyncio.Protocol`."""
        self.inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.inner.connection_lost(exc)


#: Whether the connection that is being made is one of a node.
_for_node: Final[ContextVar[bool]] = ContextVar("for_node", default=False)


class _Hashes:
    """Stands in for ``hashlib`` in asyncpg, which asks it for as many iterations of a password as a server says."""

    def __getattr__(self, name: str) -> Any:
        return getattr(hashlib, name)

    def pbkdf2_hmac(self, name: str, password: bytes, salt: bytes, iterations: int) -> bytes:
        if iterations > MAX_ITERATIONS and _for_node.get():
            raise ValueError(
                f"the server wants {iterations} iterations of the password, {MAX_ITERATIONS} at most are made"
            )
        return hashlib.pbkdf2_hmac(name, password, salt, iterations)


asyncpg.protocol.protocol.hashlib = _Hashes()  # type: ignore[attr-defined] # not among what it documents


@asynccontextmanager
async def session(
    place: Pinned, *, database: str, user: str, password: str, tls: Tls
) -> AsyncIterator[asyncpg.Connection]:
    """A connection to a server, closed at the end; errors of the library come out as the step's.

    Raises:
        StepFailedError: see `failure_of`; ``result_too_large``.
    """
    connection, doorway = None, Doorway(asyncio.get_running_loop())
    try:
        connection = await _connected(doorway, place, {"user": user, "password": password, "database": database}, tls)
        yield connection
        await connection.close(timeout=_GOODBYE)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if doorway.is_over:
            message = f"The server sent more than {WIRE_BYTES} bytes; add a LIMIT, or select less."
            raise StepFailedError("result_too_large", message) from None
        raise failure_of(place, error) from error
    finally:
        if connection is not None and not connection.is_closed():
            connection.terminate()


async def _connected(doorway: Any, place: Pinned, login: Mapping[str, Any], tls: Tls) -> Any:
    """A connection by what the author said alone: nothing comes from this process's environment or files."""
    token = _for_node.set(True)
    try:
        return await asyncpg.connect(
            host=list(place.addresses),
            port=[place.port] * len(place.addresses),
            **login,
            ssl=tls_context(tls, place.host) or False,
            direct_tls=False,
            target_session_attrs=SessionAttribute.any,
            statement_cache_size=0,
            server_settings={"application_name": "edgewise"},
            loop=doorway,
        )
    finally:
        _for_node.reset(token)


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
