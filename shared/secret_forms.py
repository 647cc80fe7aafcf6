"""The texts that a secret is found as: what others make of it who give it back.

In base64 (whole, and at each of the three places it can have in a longer text, such as the header of Basic
authentication), in hexadecimal, URL-encoded, escaped for JSON, HTML or Python, and, up to 1,024 characters, in two of
these at once. Bytes that were read as Latin-1 count too.

Lines of a secret that has several are looked for by themselves, and so are the parts of a longer one that no escaping
changes: so a key is found whatever becomes of its line breaks, and however often it is escaped.
"""

import base64
import html
import json
import re
import string
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, quote_plus

from shared import jsontext

#: Characters of a text that are looked for; a shorter one stands in too many others by chance.
LEAST: Final = 8
#: Characters of a secret that is looked for in two codings at once: of longer ones the forms would be too many.
_TWICE: Final = 1024
#: Characters of a line or a part that is looked for by itself: fewer may be words that others use.
_PART: Final = 16
#: Characters of a secret whose lines are looked for in all codings.
_LINES: Final = 8 * 1024
#: What no coding but base64 and hexadecimal changes.
_UNCHANGED: Final = re.compile(rf"[\w.~-]{{{_PART},}}", re.ASCII)
_BREAK: Final = re.compile(r"\r?\n|(?:\\r)?\\n")
#: Before and behind a key in PEM: no secret (RFC 7468).
_BOUNDARY: Final = "-----"
#: Which characters the encoders of URLs leave alone: RFC 3986's, Python's for paths, JavaScript's two, and yarl's.
_SAFE: Final = ("", "/", "!~*'()", ";/?:@&=+$,#!~*'()", "!$'()*,;:@/?", "!$'()*,;:@&=+")


def forms(secret: str, *, twice: bool = True) -> frozenset[str]:
    """Every text that a secret is found as.

    Args:
        secret: at least `LEAST` characters.
        twice: whether forms of forms count.
    """
    secret = str(secret)  # what filters give may be of a kind that encoders refuse
    trimmed = {secret, secret.strip()}
    plain = trimmed.union(*map(_misread, trimmed))
    found = plain.union(*map(_coded, plain))
    if twice and len(secret) <= _TWICE:
        found = found.union(*map(_coded_again, found))
    lines = _lines(secret)
    parts = {*lines, *(_UNCHANGED.findall(secret) if len(secret) > _TWICE else ())}
    found = found.union(parts, *map(_base64, parts), *map(_hexadecimal, parts))
    return frozenset(found.union(*map(_coded, lines)) if len(secret) <= _LINES else found)


def _lines(secret: str) -> list[str]:
    """Those of a secret that has several, such as a key in PEM, also if it stands in JSON."""
    lines = [line.strip() for line in _BREAK.split(secret.strip())]
    return [line for line in lines if len(line) >= _PART and not line.startswith(_BOUNDARY)] if len(lines) > 1 else []


def _misread(secret: str) -> Iterator[str]:
    """UTF-8 that was taken for Latin-1, as by a server that echoes a header."""
    if not secret.isascii():
        yield secret.encode("utf-8", "surrogatepass").decode("latin-1")


def _coded(text: str) -> Iterator[str]:
    yield from _base64(text)
    yield from _urls(text)
    yield from _json(text)
    yield repr(text)[1:-1]
    yield html.escape(text)
    yield html.escape(text, quote=False)
    yield from _hexadecimal(text)


def _hexadecimal(text: str) -> Iterator[str]:
    digits = _bytes(text).hex()
    yield digits
    yield digits.upper()


def _coded_again(text: str) -> Iterator[str]:
    yield from _base64(text)
    yield quote(text, safe="", errors="surrogatepass")
    yield quote_plus(text, errors="surrogatepass")
    yield from _json(text)


def _base64(text: str) -> Iterator[str]:
    raw = _bytes(text)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        whole = encode(raw).decode()
        yield whole
        yield whole.rstrip("=")
        for before in range(3):
            yield _inside(encode(bytes(before) + raw).decode().rstrip("="), before, len(raw))


def _inside(coded: str, before: int, length: int) -> str:
    """The characters of a longer base64 text that depend on nothing but these bytes, whatever stands around them."""
    return coded[-(-before * 8 // 6) : (before + length) * 8 // 6]


def _urls(text: str) -> Iterator[str]:
    raw = _bytes(text)
    if _WORDS.issuperset(raw):
        yield text
        return
    for letters in _URL_LETTERS:
        yield "".join(map(letters.__getitem__, raw))


def _letters(safe: str, space: str, pattern: str) -> tuple[str, ...]:
    """How an encoder of URLs writes each byte."""
    alone = _WORDS.union(safe.encode())
    return tuple(
        chr(byte) if byte in alone else space if byte == ord(" ") else pattern.format(byte) for byte in range(256)
    )


_WORDS: Final = frozenset((string.ascii_letters + string.digits + "-._~").encode())
_URL_LETTERS: Final = tuple(
    _letters(safe, space, pattern)
    for pattern in ("%{:02X}", "%{:02x}")
    for safe, space in (*((safe, "%20") for safe in _SAFE), ("", "+"), ("!~*'()", "+"))
)


class _Escapes(dict[int, str]):
    """How an encoder of JSON writes characters; for `str.translate`."""

    def __init__(self, escaped: str, pattern: str, *, ascii_alone: bool) -> None:
        super().__init__({point: chr(point) for point in range(ord(" "), 127)})
        self.update({ord(char): code for char, code in zip('\\"\b\t\n\f\r', _SHORT, strict=True)})
        self.update({ord(char): pattern.format(ord(char)) for char in escaped})
        self._pattern = pattern
        self._ascii_alone = ascii_alone

    def __missing__(self, point: int) -> str:
        if point >= ord(" ") and (point < 127 or not self._ascii_alone):
            return chr(point)
        units = chr(point).encode("utf-16-be", "surrogatepass").hex()
        return "".join(self._pattern.format(int(units[at : at + 4], 16)) for at in range(0, len(units), 4))


_SHORT: Final = ("\\\\", '\\"', "\\b", "\\t", "\\n", "\\f", "\\r")
#: Those that differ from Python's and from msgspec's: Go and Rails, Gson, Jackson for ASCII, and .NET.
_ENCODERS: Final = (
    _Escapes("<>&\u2028\u2029", "\\u{:04x}", ascii_alone=False),
    _Escapes("<>&='\u2028\u2029", "\\u{:04x}", ascii_alone=False),
    _Escapes("", "\\u{:04X}", ascii_alone=True),
    _Escapes("\"&'+<>`", "\\u{:04X}", ascii_alone=True),
)


def _json(text: str) -> Iterator[str]:
    for coded in (json.dumps(text)[1:-1], jsontext.encode(text)[1:-1]):
        yield coded
        yield coded.replace("/", "\\/")
    for escapes in _ENCODERS:
        yield text.translate(escapes)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
