"""Blanks the secrets that a run has used, in every form they come back in.

A secret is found as it is, and as others write it: in base64 (whole, and at each of the three places it can have in a
longer text, such as the header of Basic authentication), in hexadecimal, URL-encoded, escaped for JSON, HTML or Python,
and, up to 1,024 characters, in two of these at once: base64 of JSON, a URL inside JSON. Bytes that were read as Latin-1
count too. What is found becomes ``[redacted]``.

Searching takes time linear in the text (Aho-Corasick), whatever the text: it is written by strangers. Long forms are
found by their first 48 characters and then held against the text, so that a form that was cut off is blanked as well;
one that was cut within those 48 is found at the end of a text that is long enough to have been cut.
"""

import base64
import html
import json
import re
import string
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote, quote_plus

import msgspec
from ahocorasick_rs import AhoCorasick, Implementation, MatchKind

from shared import jsontext

BLANK: Final = "[redacted]"
#: Characters of a text that are looked for; a shorter one stands in too many others by chance.
LEAST: Final = 8
#: Characters of a secret that is looked for in two codings at once: of longer ones the forms would be too many.
_TWICE: Final = 1024
#: Characters by which a long form is found.
_ANCHOR: Final = 48
#: Characters of the beginning of a form that are blanked at the end of a text, and of a text that may have been cut.
_HEAD: Final = 4
_CUT: Final = 256
#: Which characters the encoders of URLs leave alone: RFC 3986's, Python's for paths, JavaScript's two, and yarl's.
_SAFE: Final = ("", "/", "!~*'()", ";/?:@&=+$,#!~*'()", "!$'()*,;:@/?", "!$'()*,;:@&=+")
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_ELLIPSES: Final = ("…", "...")


def forms(secret: str, *, twice: bool = True) -> frozenset[str]:
    """Every text that a secret is found as.

    Args:
        secret: at least `LEAST` characters.
        twice: whether forms of forms count.
    """
    plain = {secret, *_misread(secret)}
    once = plain.union(*map(_coded, plain))
    if not twice or len(secret) > _TWICE:
        return frozenset(once)
    return frozenset(once.union(*map(_coded_again, once)))


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
    yield (digits := _bytes(text).hex())
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


def _json(text: str) -> Iterator[str]:
    for coded in (json.dumps(text)[1:-1], jsontext.encode(text)[1:-1]):
        yield coded
        yield coded.replace("/", "\\/")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


class _Matcher:
    """Finds some forms. A form is known by its anchor, its first characters, which several may have in common."""

    def __init__(self, wanted: Iterable[str]) -> None:
        by_anchor: dict[str, list[str]] = {}
        for form in sorted(wanted, key=len, reverse=True):
            if len(form) >= LEAST and not _SURROGATES.search(form):
                by_anchor.setdefault(form[:_ANCHOR], []).append(form)
        self._forms = list(by_anchor.values())
        self._anchors = list(by_anchor)
        self._automaton = AhoCorasick(
            self._anchors, matchkind=MatchKind.LeftmostLongest, implementation=Implementation.ContiguousNFA
        )

    def blanked(self, text: str) -> str:
        """The text without what is found."""
        pieces: list[str] = []
        kept = 0
        for which, start, end in self._automaton.find_matches_as_indexes(text):
            if start < kept and end <= kept:
                continue
            if start >= kept:
                pieces += [text[kept:start], BLANK]
            kept = max(end, self._end(which, text, start))
        if kept:
            text = "".join(pieces) + text[kept:]
        return self._without_cut_off(text) if len(text) >= _CUT else text

    def _end(self, which: int, text: str, start: int) -> int:
        """Where the longest form ends that begins here, or as much of one as there is."""
        most = 0
        for form in self._forms[which]:
            if len(form) <= most:
                break
            if text.startswith(form, start):
                return start + max(len(form), most)
            most = max(most, _common(form, text, start))
        return start + most

    def _without_cut_off(self, text: str) -> str:
        """The text without the beginning of a form at its end."""
        end = next((mark for mark in _ELLIPSES if text.endswith(mark)), "")
        tail = text[-(_ANCHOR - 1) - len(end) : len(text) - len(end)]
        for anchor in self._anchors:
            place = tail.find(anchor[:_HEAD])
            while place >= 0:
                if anchor.startswith(tail[place:]):
                    return text[: len(text) - len(end) - len(tail) + place] + BLANK + end
                place = tail.find(anchor[:_HEAD], place + 1)
        return text


def _common(form: str, text: str, start: int) -> int:
    """How many characters of a form stand in a text from here on; in steps, so that a form's length costs nothing."""
    found = _ANCHOR
    while found < len(form) and text.startswith(form[found : found + _ANCHOR], start + found):
        found += _ANCHOR
    return next((i for i in range(found, len(form)) if text[start + i : start + i + 1] != form[i]), len(form))


@lru_cache(maxsize=64)
def _matcher(secrets: frozenset[str], *, twice: bool) -> _Matcher | None:
    wanted = {form for secret in secrets if len(secret) >= LEAST for form in forms(secret, twice=twice)}
    return _Matcher(wanted) if wanted else None


class Redactor:
    """Blanks some secrets in texts and JSON values.

    Args:
        secrets: as they are kept.
        derived: what templates made of them, such as ``{{ vault.x | upcase }}``; found in fewer codings, since each run
            may have others.

    Attributes:
        secrets: all of them.
    """

    def __init__(self, secrets: Iterable[str], derived: Iterable[str] = ()) -> None:
        whole, parts = frozenset(secrets), frozenset(derived)
        self.secrets = whole | parts
        found = (_matcher(whole, twice=True), _matcher(parts - whole, twice=False))
        self._matchers = tuple(matcher for matcher in found if matcher is not None)

    def text(self, text: str) -> str:
        """The text without secrets."""
        if not self._matchers:
            return text
        try:
            for matcher in self._matchers:
                text = matcher.blanked(text)
        except UnicodeEncodeError:  # a lone surrogate, of which no form has any
            return "".join(
                self.text(part) if place % 2 == 0 else part for place, part in enumerate(_between_surrogates(text))
            )
        return text

    def value(self, value: Any) -> Any:
        """A JSON value without secrets, in keys and numbers too.

        Raises:
            TypeError: if it is none.
        """
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, (int, float)):
            return value if self.text(text := repr(value)) == text else BLANK
        return self.value(msgspec.to_builtins(value))  # whatever else JSON is made of


def _between_surrogates(text: str) -> list[str]:
    """Texts and the surrogates between them, in turn."""
    return re.split("([\ud800-\udfff]+)", text)


#: What blanks the secrets of the run whose step this task carries: lines of the log pass it (`shared.log`).
CURRENT: Final[ContextVar[Redactor | None]] = ContextVar("redactor", default=None)


def of_current(text: str) -> str:
    """A text without the secrets of the run that this task carries, if it carries one that uses secrets."""
    redactor = CURRENT.get()
    return text if redactor is None else redactor.text(text)
