"""Text in other alphabets: Base64, URLs, hex, HTML, slugs, hashes, and random text."""

import base64
import binascii
import hashlib
import hmac
import html
import re
import string
import unicodedata
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote, unquote_to_bytes
from uuid import UUID

#: Characters of a text that is spelled anew: slugs, words joined, and plain ASCII.
LONGEST_NAME: Final = 256 * 1024
#: Characters of random text.
LONGEST_RANDOM: Final = 4_096
_UNSLUGGED: Final = re.compile(r"[^a-z0-9]+")
#: Letters that Unicode does not take apart.
_LETTERS: Final = str.maketrans(
    {"ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o", "Ø": "O", "đ": "d", "Đ": "D", "ł": "l", "Ł": "L"}
    | {"þ": "th", "Þ": "Th", "ð": "d", "Ð": "D", "ı": "i"}
)
ALGORITHMS: Final = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512", "sha3_256", "sha3_512", "blake2b")
ALPHABETS: Final[Mapping[str, str]] = {
    "alphanumeric": string.ascii_letters + string.digits,
    "letters": string.ascii_letters,
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "digits": string.digits,
    "hex": "0123456789abcdef",
    "password": string.ascii_letters + string.digits + "!#$%&*+-.:=?@^_~",
}
Code = Callable[[str], str]


class OperationError(ValueError):
    """An operation that cannot be done on this text with these parameters; the text says why."""


def utf8(text: str) -> bytes:
    """The bytes of a text; a lone surrogate counts as a question mark."""
    return text.encode("utf-8", "replace")


def _as_text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise OperationError(f"what it decodes to, {len(content)} bytes, is no text in UTF-8") from error


def _from_base64(text: str) -> str:
    """Of either alphabet, with or without padding; white space is passed over."""
    bare = "".join(text.split()).rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return _as_text(base64.b64decode(bare + "=" * (-len(bare) % 4), validate=True))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise OperationError("the text is no Base64") from error
    except ValueError as error:
        raise error if isinstance(error, OperationError) else OperationError("the text is no Base64") from error


def _from_hex(text: str) -> str:
    try:
        content = bytes.fromhex(text)
    except ValueError as error:
        raise OperationError("the text is no hexadecimal") from error
    return _as_text(content)


CODES: Final[Mapping[str, Mapping[str, Code]]] = {
    "base64": {"encode": lambda text: base64.b64encode(utf8(text)).decode(), "decode": _from_base64},
    "base64url": {
        "encode": lambda text: base64.urlsafe_b64encode(utf8(text)).decode().rstrip("="),
        "decode": _from_base64,
    },
    "url": {
        "encode": lambda text: quote(utf8(text), safe=""),
        "decode": lambda text: _as_text(unquote_to_bytes(text.replace("+", " "))),
    },
    "hex": {"encode": lambda text: utf8(text).hex(), "decode": _from_hex},
    "html": {"encode": html.escape, "decode": html.unescape},
}
_ENCODINGS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "hex": bytes.hex,
    "base64": lambda content: base64.b64encode(content).decode(),
    "base64url": lambda content: base64.urlsafe_b64encode(content).decode().rstrip("="),
}


def check_names(algorithm: str, encoding: str) -> None:
    """Raise OperationError unless there are such an algorithm and such an encoding."""
    if algorithm not in ALGORITHMS:
        raise OperationError(f'"algorithm" is {algorithm[:40]!r}; legal: {", ".join(ALGORITHMS)}')
    if encoding not in _ENCODINGS:
        raise OperationError(f'"encoding" is {encoding[:40]!r}; legal: {", ".join(_ENCODINGS)}')


def digest(text: str, algorithm: str, encoding: str) -> str:
    """The hash of a text. MD5 and SHA-1 are for those who ask for them: checksums, not secrets."""
    check_names(algorithm, encoding)
    return _ENCODINGS[encoding](hashlib.new(algorithm, utf8(text), usedforsecurity=False).digest())


def keyed(text: str, key: str, algorithm: str, encoding: str) -> str:
    """The HMAC of a text."""
    check_names(algorithm, encoding)
    if not key:
        raise OperationError('"key" is empty')
    return _ENCODINGS[encoding](hmac.digest(utf8(key), utf8(text), algorithm))


def plain(text: str) -> str:
    """The text in ASCII: letters lose their marks, and what has no like there goes.

    Raises:
        OperationError: if it is over 262,144 characters: a character can come apart into 18.
    """
    if len(text) > LONGEST_NAME:
        raise OperationError(f"it takes texts of at most {LONGEST_NAME} characters, not {len(text)}")
    return unicodedata.normalize("NFKD", text.translate(_LETTERS)).encode("ascii", "ignore").decode()


def slug(text: str, separator: str) -> str:
    """The text as it may stand in a URL: ``Äpfel & Birnen`` is ``apfel-birnen``."""
    if len(separator) > 10:
        raise OperationError('"separator" has at most 10 characters')
    return separator.join(part for part in _UNSLUGGED.split(plain(text).lower()) if part)


def new_uuid(version: int, entropy: Callable[[int], bytes], milliseconds: Callable[[], int]) -> str:
    """A UUID: version 4, which is random, or 7, which sorts by time."""
    content = int.from_bytes(entropy(16), "big")
    if version == 7:
        content = milliseconds() << 80 | content & (1 << 80) - 1
    elif version != 4:
        raise OperationError(f'"version" is {version}; legal: 4, 7')
    content = content & ~(0xF << 76) & ~(0x3 << 62) | version << 76 | 0x2 << 62
    return str(UUID(int=content))


def random_text(length: int, alphabet: str | None, own: str | None, entropy: Callable[[int], bytes]) -> str:
    """Random text; each character is any of the alphabet's with the same chance, but for one part in 2 to the 50."""
    if not 1 <= length <= LONGEST_RANDOM:
        raise OperationError(f'"length" is {length}; legal: 1 to {LONGEST_RANDOM}')
    if alphabet is not None and own is not None:
        raise OperationError('it takes "alphabet" or "characters", not both')
    if alphabet is not None and alphabet not in ALPHABETS:
        raise OperationError(f'"alphabet" is {alphabet[:40]!r}; legal: {", ".join(ALPHABETS)}')
    letters = ALPHABETS[alphabet or "alphanumeric"] if own is None else "".join(dict.fromkeys(own))
    if not 2 <= len(letters) <= 1_024:
        raise OperationError(f'"characters" has {len(letters)} different ones; legal: 2 to 1024')
    content = entropy(8 * length)
    numbers = (int.from_bytes(content[at : at + 8], "big") for at in range(0, len(content), 8))
    return "".join(letters[number % len(letters)] for number in numbers)
