"""The header fields of a request: which may be sent at all, and which may be shown to another origin."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from shared.errors import StepFailedError

Headers = Sequence[tuple[str, str]]

MAX_HEADERS = 100
MAX_HEADER_BYTES = 65_536
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}")
_BREAKS = re.compile(r"[\r\n\x00]")

# They frame the message or the connection; a second opinion on them is how requests are smuggled.
_OWN = frozenset(
    (
        *("host", "content-length", "transfer-encoding", "te", "trailer", "expect"),
        *("connection", "keep-alive", "proxy-connection", "upgrade"),
    )
)
_BODY = frozenset(("content-type", "content-encoding", "content-language", "content-location", "content-disposition"))
_HARMLESS = _BODY | {
    *("accept", "accept-charset", "accept-encoding", "accept-language"),
    *("cache-control", "pragma", "user-agent"),
}


def check_headers(headers: Headers) -> None:
    """Refuse headers that could not be sent as they are.

    Raises:
        StepFailedError: ``invalid_header``; the message shows a legal name, never a value.
    """
    total = 0
    for name, value in headers:
        _check_name(name)
        total += len(name) + _length(name, value)
    if len(headers) > MAX_HEADERS or total > MAX_HEADER_BYTES:
        raise _invalid(f"A request has at most {MAX_HEADERS} headers of {MAX_HEADER_BYTES} bytes together.")


@lru_cache(1024)
def _check_name(name: str) -> None:
    if not _TOKEN.fullmatch(name):
        raise _invalid("A header name is 1 to 256 letters, digits and hyphens.")
    if name.lower() in _OWN:
        raise _invalid(f"The header {name} is set by the client itself; leave it out.")


def _length(name: str, value: str) -> int:
    if _BREAKS.search(value):
        raise _invalid(f"The value of the header {name} has a line break or a NUL, and header values may have neither.")
    if value.isascii():
        return len(value)
    try:
        return len(value.encode())
    except UnicodeEncodeError:
        raise _invalid(f"The value of the header {name} has half of a surrogate pair.") from None


def for_other_origin(headers: Headers) -> Headers:
    """What another origin may see: credentials come under any name, so only fields known to be harmless stay."""
    return _only(headers, lambda name: name in _HARMLESS)


def without_body(headers: Headers) -> Headers:
    """The headers of a request whose body was dropped."""
    return _only(headers, lambda name: name not in _BODY)


def decoded(raw: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    """Received header fields as text: UTF-8 where they are, else Latin-1, which every byte sequence is."""
    return tuple([(text_of(name), text_of(value)) for name, value in raw])


def text_of(raw: bytes) -> str:
    """UTF-8 if it is, else Latin-1."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _only(headers: Headers, keep: Callable[[str], bool]) -> Headers:
    return [(name, value) for name, value in headers if keep(name.lower())]


def _invalid(message: str) -> StepFailedError:
    return StepFailedError("invalid_header", message)
