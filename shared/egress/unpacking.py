"""Unpacks answers piece by piece (RFC 9110, 8.4.1), so that a small one that unpacks to a huge one is caught early.

aiohttp could do it; but it takes a packed answer that breaks off for a whole one.
"""

import zlib
from collections.abc import Iterator
from typing import Any, Final, Protocol

import aiohttp

#: Bytes that come out at once.
_PIECE: Final = 262_144
_GZIP: Final = 16 + zlib.MAX_WBITS
#: What gzip begins with.
_MAGIC: Final = 0x1F


class Unpacking(Protocol):
    """What turns pieces of an answer into pieces of its content."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of the next piece.

        Raises:
            aiohttp.ClientPayloadError: if it is not packed as the answer says.
        """
        ...

    def end(self) -> None:
        """The answer is over.

        Raises:
            aiohttp.ClientPayloadError: if its content is not.
        """
        ...


class _Plain:
    def feed(self, data: bytes) -> Iterator[bytes]:
        yield data

    def end(self) -> None:
        """Nothing is left."""


class _Packed:
    """gzip, of which several may follow one another, or deflate with or without its envelope."""

    def __init__(self, *, is_gzip: bool) -> None:
        self._is_gzip = is_gzip
        self._unpacker: Any = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            if self._unpacker is None or (self._unpacker.eof and self._is_gzip and data[0] == _MAGIC):
                self._unpacker = zlib.decompressobj(_GZIP if self._is_gzip else _deflate(data))
            elif self._unpacker.eof:
                return  # padding, which everybody passes over
            try:
                yield self._unpacker.decompress(data, _PIECE)
            except zlib.error:
                raise aiohttp.ClientPayloadError("it is not packed as it says") from None
            data = self._unpacker.unused_data if self._unpacker.eof else self._unpacker.unconsumed_tail

    def end(self) -> None:
        if self._unpacker is not None and not self._unpacker.eof:
            raise aiohttp.ClientPayloadError("it broke off")


def _deflate(data: bytes) -> int:
    """Whether deflate has its envelope, as the standard wants it: its first byte says so (RFC 1950, 2.2)."""
    return zlib.MAX_WBITS if data[0] & 0xF == 8 else -zlib.MAX_WBITS


def unpacking(encoding: str | None) -> Unpacking:
    """How an answer with this ``Content-Encoding`` is unpacked; what is not asked for is handed on as it is."""
    match (encoding or "").strip().lower():
        case "gzip" | "x-gzip":
            return _Packed(is_gzip=True)
        case "deflate":
            return _Packed(is_gzip=False)
        case _:
            return _Plain()
