"""``redis_command``: one command to a server that speaks the Redis protocol."""

import asyncio
import base64
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar, Final, Literal

import msgspec

from shared.egress.interface import Pinned
from shared.egress.pinned import open_socket
from shared.errors import StepFailedError
from shared.graph.suggest import Nearest, listed, shown
from shared.nodes.base import Kind, Mode, NodeType, Outcome, StepContext
from shared.nodes.fields import Plain, Secret, Text
from shared.nodes.redis_commands import ALLOWED
from shared.nodes.remote import Port, Tls, host_faults, tls_context
from shared.nodes.resp import Connection, Pairs, ServerError

#: Bytes of an answer.
MAX_BYTES: Final = 1024 * 1024
#: Characters of each argument that a log entry shows.
_SHOWN: Final = 256
#: What errors begin with that a server gives while it starts, fails over or is full.
_PASSING: Final = frozenset(("LOADING", "BUSY", "TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "READONLY", "OOM", "MISCONF"))
_Argument = str | int | float


class Data(msgspec.Struct, forbid_unknown_fields=True):
    """Configuration.

    Attributes:
        command: one of those that read and write keys, in upper or lower case.
        arguments: sent as they are, one by one; a value that a template gives is never split or read as a command.
        user: of the server's ACL; empty for ``default``.
        database: its number.
        tls: ``verify`` wants a trusted certificate made out for the host, ``require`` takes any, ``off`` does without.
        encoding: how text in the answer is given out; ``base64`` for values that are no UTF-8.
        max_bytes: of the answer; a larger one fails the step.
    """

    host: Text[str]
    command: Plain[str]
    arguments: Annotated[list[_Argument], msgspec.Meta(max_length=1000)] = []
    port: Port = 6379
    user: Text[str] = ""
    password: Text[Secret[str]] = ""
    database: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 0
    tls: Plain[Tls] = "verify"
    encoding: Plain[Literal["text", "base64"]] = "text"
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=MAX_BYTES)] = MAX_BYTES


class RedisCommand(NodeType[Data]):
    """Sends a command to Redis 6 or newer, Valkey, or what speaks their protocol; output ``{result}``.

    Maps come as objects, sets as lists. A step may run more than once, so prefer ``SET`` to ``INCR`` and ``HSET`` to
    ``RPUSH``, or set ``on_crash`` to ``fail``.
    """

    component_id = "redis_command"
    title = "Redis command"
    kind = Kind.ACTION
    mode = Mode.EFFECT
    data_type = Data
    example: ClassVar[Mapping[str, Any]] = {
        "host": "cache.example.com",
        "command": "SET",
        "arguments": ["greeting:{{ n1.user }}", "hello", "EX", 3600],
    }
    example_context: ClassVar[Mapping[str, Any]] = {"n1": {"user": "ada"}}

    def check(self, data: Mapping[str, Any]) -> list[tuple[str, str]]:
        """See `NodeType.check`."""
        faults = host_faults(data)
        name: str = data["command"]
        if name.upper() not in ALLOWED:
            legal = tuple(sorted(ALLOWED))
            hint = Nearest().hint(name.upper(), lambda: legal)
            faults.append(("command", f"{shown(name)} may not be sent; legal are {listed(legal)}{hint}"))
        return faults

    async def call(self, data: Data, context: StepContext) -> Outcome:
        """Connect, log in and send the command.

        Raises:
            StepFailedError: what `Egress.pin` raises, ``redis_failed`` with what the server said, ``network_error``,
                ``timeout``, ``result_too_large``, ``invalid_response``, ``command_refused``.
        """
        about = _logged(data)
        try:
            async with asyncio.timeout(context.timeout):
                return Outcome({"result": await _answer(data, context)}, step_input=about)
        except TimeoutError:
            message = f"The command took longer than its {context.timeout:g} s."
            raise StepFailedError("timeout", message, category="timeout", step_input=about) from None
        except StepFailedError as error:
            error.step_input = about
            raise


async def _answer(data: Data, context: StepContext) -> Any:
    name = data.command.upper()
    if name not in ALLOWED:  # saved by a version that allowed it
        raise StepFailedError("command_refused", f"The command {shown(data.command)} may not be sent.")
    async with (
        context.egress.visit(data.host, data.port, timeout=context.timeout) as place,
        _session(place, data) as connection,
    ):
        await _log_in(connection, data)
        answer = await connection.ask(name.encode(), *(_bytes(argument) for argument in data.arguments))
    return _json_form(answer, data.encoding)


@asynccontextmanager
async def _session(place: Pinned, data: Data) -> AsyncIterator[Connection]:
    writer = None
    try:
        tls = tls_context(data.tls, place.host)
        reader, writer = await asyncio.open_connection(
            sock=await open_socket(place), ssl=tls, server_hostname=place.host if tls else None
        )
        yield Connection(reader, writer, data.max_bytes)
    except ServerError as error:
        raise _refused(place, str(error)) from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or "it was closed in the middle"
        message = f"The connection to {place.host}:{place.port} failed: {reason}."
        raise StepFailedError("network_error", message, category="network") from error
    finally:
        if writer is not None:
            writer.transport.abort()


async def _log_in(connection: Connection, data: Data) -> None:
    """Speak RESP3, as the user, in the database; each is answered before the next, so that none is passed over."""
    login = (b"AUTH", _bytes(data.user or "default"), _bytes(data.password)) if data.password else ()
    await connection.ask(b"HELLO", b"3", *login)
    if data.database:
        await connection.ask(b"SELECT", b"%d" % data.database)


def _bytes(value: _Argument) -> bytes:
    return str(value).encode("utf-8", "replace")


def _refused(place: Pinned, text: str) -> StepFailedError:
    category = "5xx" if text.partition(" ")[0] in _PASSING else "error"
    return StepFailedError("redis_failed", f"{place.host} refused the command: {text}", category=category, body=text)


def _json_form(value: Any, encoding: str) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode() if encoding == "base64" else _text(value)
    if isinstance(value, Pairs):
        return {str(_json_form(key, encoding)): _json_form(item, encoding) for key, item in value}
    if isinstance(value, list):
        return [_json_form(item, encoding) for item in value]
    if isinstance(value, ServerError):
        return {"error": str(value)}
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        message = 'The answer is no UTF-8 text; set "encoding" to "base64".'
        raise StepFailedError("invalid_response", message) from None


def _logged(data: Data) -> dict[str, Any]:
    return {
        "host": data.host,
        "command": data.command,
        "arguments": [str(argument)[:_SHOWN] for argument in data.arguments[:20]],
    }
