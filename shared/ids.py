"""Identifiers: TypeIDs (prefix + 26 base32 characters of a UUIDv7) and the mint that makes them.

The text form follows the TypeID specification 0.3 (Crockford base32 of the 128 bits, most significant first, the
first character at most ``7``); UUIDv7 follows RFC 9562 section 5.7 with 74 random bits.
"""

import os
import re
import secrets
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from uuid import UUID
from weakref import WeakSet

from shared.errors import NotFoundError

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_DECODE = {char: value for value, char in enumerate(_ALPHABET)}
_TEXT_LENGTH = 26
_RANDOM = re.compile(r"[A-Za-z0-9_-]{43}")
#: Two characters for every ten bits: ids are made for each run, and this takes a third of the time of five at once.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]


class Prefix(StrEnum):
    """Prefixes of the contract. ``whsec_`` and ``wfk_`` are secrets and not UUIDs; see `new_secret`."""

    WORKFLOW = "fl"
    RUN = "fl_run"
    BULK = "fl_bulk"
    LOG = "fl_log"
    DELIVERY = "fl_dlv"
    REPLAY = "fl_replay"
    VAULT = "vlt"
    AUTHORIZATION = "auth"
    WORKSPACE = "ws"


def encode_suffix(value: UUID) -> str:
    """The 26 base32 characters of a UUID; they sort as the UUID does."""
    number = value.int
    return "".join([_PAIRS[number >> shift & 1023] for shift in range(120, -1, -10)])


def encode(prefix: Prefix, value: UUID) -> str:
    """The TypeID of a UUID: ``fl_run_01h3...``."""
    return f"{prefix}_{encode_suffix(value)}"


def decode(prefix: Prefix, text: str) -> UUID:
    """The UUID of a TypeID.

    Raises:
        NotFoundError: if the prefix or the shape is not that of such an id, since nothing can have it.
    """
    head, _, tail = text.rpartition("_")
    if head != prefix or len(tail) != _TEXT_LENGTH or tail[0] > "7":
        raise NotFoundError(
            "not_found", f"No such thing: {text[:80]!r} is not an id of the form {prefix}_<26 characters>."
        )
    number = 0
    for char in tail:
        digit = _DECODE.get(char)
        if digit is None:
            raise NotFoundError(
                "not_found", f"No such thing: {text[:80]!r} is not an id of the form {prefix}_<26 characters>."
            )
        number = number << 5 | digit
    return UUID(int=number)


def new_secret(prefix: str) -> str:
    """A bearer secret with 256 random bits: ``whsec_<43 url-safe characters>``."""
    return f"{prefix}_{secrets.token_urlsafe(32)}"


def is_secret(prefix: str, text: str) -> bool:
    """Whether a text has the shape of what `new_secret` makes; another is none, and needs no look-up."""
    head, _, tail = text.partition("_")
    return head == prefix and _RANDOM.fullmatch(tail) is not None


class Mint:
    """Makes UUIDv7s on a clock of the caller's choosing, drawing randomness in blocks.

    One system call for randomness per id costs a tenth of the ingest path, so 4 KiB are drawn at a time. Ids of one
    mint never go backwards: a clock that steps back repeats the last millisecond until it has caught up.

    Args:
        clock: returns unix time in milliseconds; the default is this machine's. Runs are minted on Postgres's clock,
            since their partition is chosen by it.
    """

    _BLOCK = 4096
    _PER_ID = 10

    def __init__(self, clock: Callable[[], int] | None = None) -> None:
        self._clock = clock or (lambda: time.time_ns() // 1_000_000)
        self._last = 0
        self.forget()
        _mints.add(self)

    def forget(self) -> None:
        """Draw afresh: in a forked process, which would else make the ids that its parent makes."""
        self._lock = threading.Lock()
        self._block = b""
        self._offset = 0

    def uuid(self) -> UUID:
        """A fresh UUIDv7."""
        with self._lock:
            if self._offset + self._PER_ID > len(self._block):
                self._block = os.urandom(self._BLOCK)
                self._offset = 0
            random = int.from_bytes(self._block[self._offset : self._offset + self._PER_ID], "big")
            self._offset += self._PER_ID
            self._last = max(self._last, self._clock())
            milliseconds = self._last
        return uuid7(milliseconds, random)


#: Every mint of this process. Asking for its id at each draw instead was a system call: a third of what an id costs.
_mints: WeakSet[Mint] = WeakSet()


def _forget_all() -> None:
    for mint in _mints:
        mint.forget()


os.register_at_fork(after_in_child=_forget_all)


def uuid7(milliseconds: int, random: int = 0) -> UUID:
    """The UUIDv7 of a unix time in milliseconds and up to 74 random bits; without them, the least of that time."""
    rand_a = random >> 62 & 0xFFF
    rand_b = random & (1 << 62) - 1
    return UUID(int=milliseconds << 80 | 7 << 76 | rand_a << 64 | 2 << 62 | rand_b)


def milliseconds_of(value: UUID) -> int:
    """The unix time in milliseconds that a UUIDv7 carries."""
    return value.int >> 80
