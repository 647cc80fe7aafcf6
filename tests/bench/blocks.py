"""Rows for COPY, made by the block: copies of rows that exist, changed in a few places of fixed width.

The format is Postgres's binary one ("File Formats" under COPY in its manual). A row is taken from the server as it is,
so whatever columns a table has are filled as the system itself fills them.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence

#: Signature, flags, and the length of an extension that there is not.
HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
TRAILER = b"\xff\xff"


class Template:
    """Consecutive rows of one table, with places that differ from copy to copy.

    Args:
        copied: what `COPY ... TO ... (FORMAT binary)` gave.
        columns: the names of what was copied, in order.
        varying: those of them that differ; none of them may be null.
    """

    def __init__(self, copied: bytes, columns: Sequence[str], varying: Iterable[str]) -> None:
        self._rows = copied[len(HEADER) : -len(TRAILER)]
        wanted = set(varying)
        self._places = [place for place in _fields(self._rows, columns) if place[0] in wanted]

    def block(self, count: int, values: Mapping[str, bytes]) -> bytes:
        """So many copies of the rows.

        Args:
            count: of copies.
            values: by column, what its place holds in each copy, one after the other.
        """
        size = len(self._rows)
        block = bytearray(self._rows * count)
        for name, start, width in self._places:
            for offset in range(width):
                block[start + offset :: size] = values[name][offset::width]
        return bytes(block)


def _fields(rows: bytes, columns: Sequence[str]) -> list[tuple[str, int, int]]:
    """Name, place and width of every value that is not null."""
    found = []
    at = 0
    while at < len(rows):
        at += 2  # how many fields follow
        for name in columns:
            (width,) = struct.unpack_from(">i", rows, at)
            at += 4
            if width >= 0:
                found.append((name, at, width))
                at += width
    return found
