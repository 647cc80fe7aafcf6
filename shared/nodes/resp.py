"""The Redis protocol (RESP3) as a client of one command at a time needs it, with a cap on what the server sends.

The readers of client libraries believe a server that announces a list of a billion items, and make room for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from shared.errors import StepFailedError

_DEEPEST: Final = 16
_END: Final = b"\r\n"


class ServerError(Exception):
    """The server refused a command; the text is what it said."""


class Connection:
    """Sends commands and reads their answers.

    Args:
        reader: of a connection, with a limit of at least a line.
        max_bytes: that all answers together may have.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, max_bytes: int) -> None:
        self._reader = reader
        self._writer = writer
        self._cap = self._left = max_bytes

    async def ask(self, *words: bytes) -> Any:
        """The answer to a command: bytes, numbers, booleans, None, lists, and lists of pairs for maps.

        Raises:
            ServerError: if the server refused it.
            StepFailedError: ``result_too_large``, or ``invalid_response`` if that is not the protocol.
            OSError, EOFError: if the connection broke.
        """
        self._writer.write(_command(words))
        await self._writer.drain()
        answer = await self._read(0)
        if isinstance(answer, ServerError):
            raise answer
        return answer

    async def _read(self, depth: int) -> Any:
        line = await self._line()
        kind, rest = line[:1], line[1:]
        if kind in _SIMPLE:
            return _parsed(_SIMPLE[kind], rest)
        if depth >= _DEEPEST or kind not in _LENGTHS:
            raise _strange()
        length: int = _parsed(int, rest)
        if length < 0:  # how RESP2 says null
            return None
        return await _LENGTHS[kind](self, length, depth)

    async def _line(self) -> bytes:
        try:
            line = await self._reader.readuntil(_END)
        except asyncio.LimitOverrunError:
            raise _strange() from None
        self._spend(len(line))
        return line[:-2]

    async def _bulk(self, length: int, _: int) -> bytes:
        self._spend(length + 2)
        return (await self._reader.readexactly(length + 2))[:-2]

    async def _verbatim(self, length: int, depth: int) -> bytes:
        return (await self._bulk(length, depth))[4:]  # without the format, such as "txt:"

    async def _error(self, length: int, depth: int) -> ServerError:
        return ServerError(_text(await self._bulk(length, depth)))

    async def _list(self, length: int, depth: int) -> list[Any]:
        if length > self._left:  # an item has a byte at the least
            raise self._too_large()
        return [await self._read(depth + 1) for _ in range(length)]

    async def _map(self, length: int, depth: int) -> "Pairs":
        flat = await self._list(2 * length, depth)
        return Pairs(zip(flat[::2], flat[1::2], strict=True))

    async def _attribute(self, length: int, depth: int) -> Any:
        """What is said about an answer stands before it, and is passed over."""
        await self._list(2 * length, depth)
        return await self._read(depth + 1)

    async def _push(self, length: int, depth: int) -> Any:
        """What a server says unasked is passed over likewise."""
        await self._list(length, depth)
        return await self._read(depth + 1)

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise self._too_large()

    def _too_large(self) -> StepFailedError:
        return StepFailedError("result_too_large", f"The server's answer has more than {self._cap} bytes.")


class Pairs(list[tuple[Any, Any]]):
    """A map, in the server's order."""


def _command(words: Sequence[bytes]) -> bytes:
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def _parsed(parse: Callable[[bytes], Any], rest: bytes) -> Any:
    try:
        return parse(rest)
    except (ValueError, KeyError):
        raise _strange() from None


def _strange() -> StepFailedError:
    return StepFailedError("invalid_response", "What answered does not speak the Redis protocol.")


_SIMPLE: Final[Mapping[bytes, Callable[[bytes], Any]]] = {
    b"+": bytes,
    b"-": lambda rest: ServerError(_text(rest)),
    b":": int,
    b",": float,
    b"(": int,
    b"#": {b"t": True, b"f": False}.__getitem__,
    b"_": lambda _: None,
}
_LENGTHS: Final[Mapping[bytes, Callable[[Connection, int, int], Awaitable[Any]]]] = {
    b"$": Connection._bulk,  # noqa: SLF001 — the table is a part of the class that stands behind it
    b"=": Connection._verbatim,  # noqa: SLF001
    b"!": Connection._error,  # noqa: SLF001
    b"*": Connection._list,  # noqa: SLF001
    b"~": Connection._list,  # noqa: SLF001
    b"%": Connection._map,  # noqa: SLF001
    b"|": Connection._attribute,  # noqa: SLF001
    b">": Connection._push,  # noqa: SLF001
}
