"""Regular expressions of RE2 with limits: linear is not yet short.

RE2 never backtracks, but 1 MiB of text under ``(?:a?){200}(?:[a-j]?){800}z`` takes it 13 s, which nothing can
interrupt: up to 8 ns for each instruction of the compiled expression and byte of text. So their product is bounded
before a search begins, and work that repeats searches has a deadline.
"""

import re
import time
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import re2
from liquid.exceptions import FilterArgumentError

from shared.templates import allowance, limits

#: Characters of an expression.
LONGEST: Final = 4_096
#: Seconds that one instruction takes for one byte, at worst.
_EACH: Final = 8e-9
#: Bytes that one compiled expression may hold. 256 of them are kept.
_MEMORY: Final = 2 * 1024 * 1024
_DELIMITED: Final = re.compile(r"/(.*)/([imsu]*)", re.DOTALL)
_REFERENCE: Final = re.compile(r"\\(?:(\d{1,2})|g<(\w{1,60})>|(.))", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t"}


class RegexError(FilterArgumentError):
    """An expression that RE2 does not take, or one that would work too long on this text."""

    def __init__(self, message: str) -> None:
        super().__init__(message, token=None)


class Regex:
    """A compiled expression. Texts may hold lone surrogates, which count as question marks.

    Every method takes the ``seconds`` of processor time that it may use, by default what `allowance` has left, and
    raises `RegexError` if the expression is too large for the text, or finds too much in it.
    """

    __slots__ = ("_compiled", "_size")

    def __init__(self, expression: Any) -> None:
        self._compiled = expression
        self._size: int = expression.programsize

    def search(self, text: str, seconds: float | None = None) -> Any:
        """The first match, with the methods of `re.Match`, or None."""
        return self._compiled.search(self._searchable(text, seconds))

    def extracted(self, text: str, group: int | str = 0, seconds: float | None = None) -> list[str | None]:
        """Every match from left to right, or a group of each."""
        group = self._group(str(group))
        return [match.group(group) for match in self._matches(self._searchable(text, seconds), seconds)]

    def first(self, text: str, group: int | str = 0, seconds: float | None = None) -> str | None:
        """The first match, or a group of it; None if there is none."""
        group = self._group(str(group))
        found = self.search(text, seconds)
        return None if found is None else found.group(group)

    def split(self, text: str, seconds: float | None = None) -> list[str]:
        """The parts of a text between the matches."""
        text = self._searchable(text, seconds)
        parts, end = [], 0
        for match in self._matches(text, seconds):
            parts.append(text[end : match.start()])
            end = match.end()
        return [*parts, text[end:]]

    def replace(self, text: str, replacement: str, seconds: float | None = None) -> str:
        r"""The text with every match replaced: ``\1`` or ``\g<name>`` is a group, ``\n`` a line break, ``\\`` itself.

        Raises:
            RegexError: also if there is no such group, or the result is over `limits.OUTPUT` characters.
        """
        text = self._searchable(text, seconds)
        pieces = self._pieces(replacement)
        made: list[str] = []
        size = end = 0
        for match in self._matches(text, seconds):
            for part in (text[end : match.start()], *_expanded(pieces, match)):
                made.append(part)
                size += len(part)
                if size > limits.OUTPUT:
                    raise RegexError(f"the result would be over {limits.OUTPUT} characters")
            end = match.end()
        return "".join((*made, text[end:]))

    def _pieces(self, replacement: str) -> Sequence[str | int]:
        """The replacement as text and numbers of groups."""
        pieces: list[str | int] = []
        end = 0
        for found in _REFERENCE.finditer(replacement):
            number, name, escaped = found.groups()
            pieces.append(replacement[end : found.start()])
            pieces.append(self._group(number or name) if escaped is None else _ESCAPES.get(escaped, escaped))
            end = found.end()
        return [*pieces, replacement[end:]]

    def _group(self, name: str) -> int:
        number = int(name) if name.isdecimal() else self._compiled.groupindex.get(name, -1)
        if not 0 <= number <= self._compiled.groups:
            raise RegexError(f"the expression has no group {name[:20]!r}; it has {self._compiled.groups}")
        return number

    def _searchable(self, text: str, seconds: float | None) -> str:
        text = encodable(text)
        if self._longest(text) > (allowance.left() if seconds is None else seconds):
            raise RegexError(f"the expression is too large for a text of {len(text)} characters")
        return text

    def _longest(self, text: str) -> float:
        """Seconds that one search may take."""
        return self._size * (len(text) if text.isascii() else len(text.encode())) * _EACH

    def _matches(self, text: str, seconds: float | None) -> Iterator[Any]:
        """Every match. No search begins that could end too late."""
        left = allowance.left() if seconds is None else seconds
        deadline = time.thread_time() + left - self._longest(text)
        for match in self._compiled.finditer(text):
            if time.thread_time() > deadline:
                raise RegexError(f"finding every match in {len(text)} characters takes too long")
            yield match


def _expanded(pieces: Sequence[str | int], match: Any) -> Iterator[str]:
    for piece in pieces:
        yield piece if isinstance(piece, str) else match.group(piece) or ""


@lru_cache(maxsize=256)
def compiled(pattern: str, flags: str = "") -> Regex:
    """An RE2 expression; ``flags`` of ``i``, ``m`` and ``s`` mean what they mean between slashes.

    Raises:
        RegexError: if RE2 does not take it, or it is too long.
    """
    if len(pattern) > LONGEST:
        raise RegexError(f"a regular expression has at most {LONGEST} characters, not {len(pattern)}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    prefix = f"(?{flags})" if flags else ""
    try:
        return Regex(re2.compile(prefix + encodable(pattern), options))
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise RegexError(f"{pattern[:200]!r} is no regular expression of RE2: {reason}") from error


def encodable(text: str) -> str:
    """The text with every lone surrogate as ``?``, for libraries that take UTF-8 alone."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def from_slashes(text: str) -> Regex:
    """The expression of ``/pattern/flags`` or of a bare pattern; the flags are i, m, s and u, which is the rule anyway.

    Raises:
        RegexError: as `compiled`.
    """
    found = _DELIMITED.fullmatch(text)
    body, flags = found.groups() if found else (text, "")
    return compiled(body, "".join(sorted({*flags.replace("u", "")})))
