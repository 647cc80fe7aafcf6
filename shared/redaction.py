"""Blanks the secrets that a run has used, in every form they come back in.

A secret is found as it is, and as others write it (`shared.secret_forms`): in base64, in hexadecimal, URL-encoded,
escaped for JSON, HTML or Python, and in two of these at once. Base64, of one line or of many, is also decoded, twice if
need be, and blanked as a whole if any of this stands in what comes out. What is found becomes ``[redacted]``.

Searching takes time linear in the text (Aho-Corasick), whatever the text: it is written by strangers. Long forms are
found by their first 48 characters and then held against the text, so that a form that was cut off is blanked as well;
one that was cut within those 48 is found at the end of a text that is long enough to have been cut.
"""

import base64
import re
from collections.abc import Iterable
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final

import msgspec
from ahocorasick_rs import AhoCorasick, Implementation, MatchKind

from shared.secret_forms import LEAST, forms

BLANK: Final = "[redacted]"
#: Characters by which a long form is found.
_ANCHOR: Final = 48
#: Characters of the beginning of a form that are blanked at the end of a text, and of a text that may have been cut.
_HEAD: Final = 4
_CUT: Final = 256
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
#: What may stand behind a cut; the last is what became of a character whose bytes were cut.
_CUT_OFF: Final = re.compile("(?:…|\\.\\.\\.|\ufffd{1,3})\\Z")
#: Base64 that is decoded, and how often: shorter texts of two codings have forms of their own.
_RUN: Final = re.compile(r"[\w+/-]{32,}={0,2}", re.ASCII)
_LAYERS: Final = 2
#: The same in lines, as MIME and shells write it, also where their breaks are escaped; it begins where a word does.
_WRAPPED: Final = re.compile(
    r"(?:(?<![\w+/-])|(?<=\\n))(?:[\w+/-]{60,76}(?:\r?\n|(?:\\r)?\\n))+[\w+/-]*={0,2}", re.ASCII
)
_BREAK: Final = re.compile(r"\r?\n|(?:\\r)?\\n")
_STANDARD: Final = str.maketrans("-_", "+/")
#: What tells whether a text has either, in a tenth of the expressions' time: kinds of bytes, and what is looked for.
_KINDS: Final = bytes(
    ord("a") if re.match(r"[\w+/-]", chr(byte), re.ASCII) else ord("n") if byte in b"\r\n\\" else ord(" ")
    for byte in range(256)
)
_HAS_RUN: Final = b"a" * 32
_HAS_LINE: Final = b"a" * 60 + b"n"


class _Matcher:
    """Finds some forms. A form is known by its anchor, its first characters, which several may have in common."""

    def __init__(self, wanted: Iterable[str]) -> None:
        by_anchor: dict[str, list[str]] = {}
        for form in sorted(wanted, key=len, reverse=True):
            if len(form) >= LEAST and not _SURROGATES.search(form):
                by_anchor.setdefault(form[:_ANCHOR], []).append(form)
        self._forms = list(by_anchor.values())
        self._heads: dict[str, list[str]] = {}
        for anchor in by_anchor:
            self._heads.setdefault(anchor[:_HEAD], []).append(anchor)
        self._automaton = AhoCorasick(
            list(by_anchor), matchkind=MatchKind.LeftmostLongest, implementation=Implementation.ContiguousNFA
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

    def finds(self, text: str) -> bool:
        """Whether there is any form in the text."""
        return bool(self._automaton.find_matches_as_indexes(text))

    def _without_cut_off(self, text: str) -> str:
        """The text without the beginning of a form at its end."""
        cut = _CUT_OFF.search(text, len(text) - 3)
        end = len(text) if cut is None else cut.start()
        for start in range(max(0, end - _ANCHOR + 1), end - _HEAD + 1):
            for anchor in self._heads.get(text[start : start + _HEAD], ()):
                if anchor.startswith(text[start:end]):
                    return text[:start] + BLANK + text[end:]
        return text


def _decoded(coded: str) -> str:
    """What base64 says, of either alphabet; a character too many is left out."""
    whole = coded.rstrip("=")
    whole = whole[:-1] if len(whole) % 4 == 1 else whole
    raw = base64.b64decode(whole.translate(_STANDARD) + "=" * (-len(whole) % 4))
    return raw.decode("utf-8", "replace")


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
            return self._blanked(text, _LAYERS)
        except UnicodeEncodeError:  # a lone surrogate, of which no form has any
            return "".join(
                self.text(part) if place % 2 == 0 else part for place, part in enumerate(_between_surrogates(text))
            )

    def _blanked(self, text: str, layers: int) -> str:
        if layers:
            kinds = text.encode("utf-8", "surrogatepass").translate(_KINDS)
            if _HAS_LINE in kinds:
                text = _WRAPPED.sub(lambda block: self._whole(block[0], layers), text)
            if _HAS_RUN in kinds:
                text = _RUN.sub(lambda run: self._whole(run[0], layers), text)
        for matcher in self._matchers:
            text = matcher.blanked(text)
        return text

    def _whole(self, coded: str, layers: int) -> str:
        """Base64 as it is, or nothing of it."""
        joined = _BREAK.sub("", coded)
        if joined != coded and any(matcher.finds(joined) for matcher in self._matchers):
            return BLANK
        inner = _decoded(joined)
        return coded if self._blanked(inner, layers - 1) == inner else BLANK

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
