"""What ``string_transform`` can do to text, by name. Each takes the text and the operation's parameters.

A result that could be many times its input is measured before it is made.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from shared.nodes import string_codes
from shared.nodes.fields import Plain
from shared.nodes.string_codes import OperationError
from shared.templates import limits
from shared.templates.regexes import Regex, RegexError, from_slashes
from shared.templates.values import text_of

#: Items of a list that `split` may make, and that others go over.
MOST_ITEMS: Final = 100_000
Scalar = str | int | float | bool | None
_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_HUMP: Final = re.compile(r"(?<=[^\W_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


class Operation(msgspec.Struct, forbid_unknown_fields=True):
    r"""One operation. Each takes some of these; any other one is a fault.

    Attributes:
        type: its name.
        search: text that is replaced, removed or looked for.
        replace: what stands in its place; for ``regex_replace`` ``\1`` is a group.
        pattern: RE2, bare or as ``/pattern/i``.
        group: number or name of a group of the pattern.
        count: how often, from the left; 0 for every time.
        separator: between the parts.
        value: text that is put in.
        characters: that are trimmed; or that random text is made of.
        start: the first character, from 0; negative from the end.
        end: the first character that is not in it; negative from the end.
        length: characters, 0 to 1,048,576.
        fill: what is padded with.
        side: where: ``start``, ``end`` or ``both``.
        omission: what stands for the rest that was cut off.
        algorithm: of a hash.
        key: of an HMAC.
        encoding: of a hash: ``hex``, ``base64`` or ``base64url``.
        direction: ``encode`` or ``decode``.
        alphabet: of random text: ``alphanumeric``, ``letters``, ``lower``, ``upper``, ``digits``, ``hex`` or
            ``password``.
        version: of a UUID: 4 or 7.
    """

    type: Plain[str]
    search: Scalar = None
    replace: Scalar = None
    pattern: str | None = None
    group: int | str | None = None
    count: int | None = None
    separator: Scalar = None
    value: Scalar = None
    characters: Scalar = None
    start: int | None = None
    end: int | None = None
    length: int | None = None
    fill: Scalar = None
    side: str | None = None
    omission: Scalar = None
    algorithm: str | None = None
    key: Scalar = None
    encoding: str | None = None
    direction: str | None = None
    alphabet: str | None = None
    version: int | None = None


class Tools(NamedTuple):
    """What operations use besides their parameters.

    Attributes:
        entropy: gives so many random bytes.
        milliseconds: gives the unix time.
        deadline: of `time.thread_time`, when all operations of a step must have ended.
    """

    entropy: Callable[[int], bytes]
    milliseconds: Callable[[], int]
    deadline: float

    def left(self) -> float:
        """Seconds of processor time that are left.

        Raises:
            OperationError: if none are.
        """
        seconds = self.deadline - time.thread_time()
        if seconds <= 0:
            raise OperationError(f"the operations take more than {limits.SECONDS:g} s")
        return seconds


Run = Callable[[str, Operation, Tools], Any]


class OperationKind(NamedTuple):
    """An operation by its name: what runs it, and the parameters that it must have and may have.

    ``whole`` if it takes a list as a whole; any other one goes over the items of a list.
    """

    run: Callable[[Any, Operation, Tools], Any]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    whole: bool = False


def _text(value: Scalar, default: str = "") -> str:
    return default if value is None else text_of(value)


def _room(size: int) -> None:
    """Raises OperationError if a result of so many characters is not to be made."""
    if size > limits.OUTPUT:
        raise OperationError(f"the result would have {size} characters; at most {limits.OUTPUT}")


def _trimmed(strip: Callable[[str, str | None], str]) -> Run:
    return lambda text, it, _: strip(text, None if it.characters is None else text_of(it.characters))


def _title(text: str, _it: Operation, _tools: Tools) -> str:
    return _WORD.sub(lambda found: found[0][:1].upper() + found[0][1:].lower(), text)


def _words(text: str) -> list[str]:
    if len(text) > string_codes.LONGEST_NAME:
        raise OperationError(f"it takes texts of at most {string_codes.LONGEST_NAME} characters, not {len(text)}")
    return [word.lower() for word in _WORD.findall(_HUMP.sub(" ", text))]


def _camel(text: str, _it: Operation, _tools: Tools) -> str:
    first, *rest = _words(text) or [""]
    return first + "".join(word.capitalize() for word in rest)


def _pascal(text: str, _it: Operation, _tools: Tools) -> str:
    return "".join(word.capitalize() for word in _words(text))


def _replace(text: str, it: Operation, _tools: Tools) -> str:
    search, put = _text(it.search), _text(it.replace)
    if not search:
        raise OperationError('"search" is empty')
    found = text.count(search)
    times = min(found, it.count) if it.count else found
    _room(len(text) + times * (len(put) - len(search)))
    return text.replace(search, put, times)


def regex_of(it: Operation) -> Regex:
    """The expression of an operation.

    Raises:
        OperationError: if RE2 does not take it.
    """
    try:
        return from_slashes(_text(it.pattern))
    except RegexError as error:
        raise OperationError(str(error.message)) from error


def _by_regex(run: Callable[[Regex, str, Operation, float], Any]) -> Run:
    def by_regex(text: str, it: Operation, tools: Tools) -> Any:
        try:
            return run(regex_of(it), text, it, tools.left())
        except RegexError as error:
            raise OperationError(str(error.message)) from error

    return by_regex


def _split(text: str, it: Operation, _tools: Tools) -> list[str]:
    separator = _text(it.separator, ",")
    if separator == "":
        _few(len(text))
        return list(text)
    parts = text.count(separator) + 1
    _few(min(parts, it.count) if it.count else parts)
    return text.split(separator, it.count - 1 if it.count else -1)


def _few(items: int) -> None:
    if items > MOST_ITEMS:
        raise OperationError(f"the list would have {items} items; at most {MOST_ITEMS}")


def _join(value: Any, it: Operation, _tools: Tools) -> str:
    parts = [text_of(item) for item in value] if isinstance(value, list) else [text_of(value)]
    separator = _text(it.separator, ",")
    _room(sum(map(len, parts)) + len(separator) * len(parts))
    return separator.join(parts)


def _slice(value: Any, it: Operation, _tools: Tools) -> Any:
    start, end = it.start or 0, it.end
    if it.length is not None:
        if end is not None:
            raise OperationError('it takes "end" or "length", not both')
        start = max(0, start + len(value)) if start < 0 else start
        end = start + max(0, it.length)
    return value[start:end]


def _pad(text: str, it: Operation, _tools: Tools) -> str:
    width, fill = it.length or 0, _text(it.fill, " ")
    if not fill:
        raise OperationError('"fill" is empty')
    _room(width)
    missing = max(0, width - len(text))
    before = {"start": missing, "end": 0, "both": missing // 2}[_one_of(it.side, ("end", "start", "both"), "side")]
    return _filled(fill, before) + text + _filled(fill, missing - before)


def _filled(fill: str, width: int) -> str:
    return (fill * (width // len(fill) + 1))[:width]


def _one_of(given: str | None, legal: tuple[str, ...], name: str) -> str:
    """A parameter that is one of some words; the first of them if it is not given."""
    if given is not None and given not in legal:
        raise OperationError(f'"{name}" is {given[:40]!r}; legal: {", ".join(legal)}')
    return given or legal[0]


def _repeat(text: str, it: Operation, _tools: Tools) -> str:
    times = max(0, it.count or 0)
    _room(len(text) * times)
    return text * times


def _truncate(text: str, it: Operation, _tools: Tools) -> str:
    length, omission = max(0, it.length or 0), _text(it.omission, "...")
    return text if len(text) <= length else (text[: max(0, length - len(omission))] + omission)[:length]


def _reverse(value: Any, _it: Operation, _tools: Tools) -> Any:
    return value[::-1]


def _length(value: Any, _it: Operation, _tools: Tools) -> int:
    return len(value)


def _slug(text: str, it: Operation, _tools: Tools) -> str:
    return string_codes.slug(text, _text(it.separator, "-"))


def _hash(text: str, it: Operation, _tools: Tools) -> str:
    return string_codes.digest(text, it.algorithm or "sha256", it.encoding or "hex")


def _hmac(text: str, it: Operation, _tools: Tools) -> str:
    return string_codes.keyed(text, _text(it.key), it.algorithm or "sha256", it.encoding or "hex")


def _coded(name: str, fixed: str | None = None) -> Run:
    def coded(text: str, it: Operation, _tools: Tools) -> str:
        direction = fixed or _one_of(it.direction, ("encode", "decode"), "direction")
        if direction == "encode":  # what comes of it is no shorter
            _room(len(string_codes.utf8(text)))
        return string_codes.CODES[name][direction](text)

    return coded


def _uuid(_value: Any, it: Operation, tools: Tools) -> str:
    return string_codes.new_uuid(it.version or 4, tools.entropy, tools.milliseconds)


def _random(_value: Any, it: Operation, tools: Tools) -> str:
    own = None if it.characters is None else text_of(it.characters)
    return string_codes.random_text(16 if it.length is None else it.length, it.alphabet, own, tools.entropy)


_CODED: Final = {
    name: OperationKind(_coded(name), optional=("direction",)) for name in string_codes.CODES
} | {
    f"{name}_{way}": OperationKind(_coded(name, way)) for name in string_codes.CODES for way in ("encode", "decode")
}  # fmt: skip
KINDS: Final[Mapping[str, OperationKind]] = {
    "trim": OperationKind(_trimmed(str.strip), optional=("characters",)),
    "trim_start": OperationKind(_trimmed(str.lstrip), optional=("characters",)),
    "trim_end": OperationKind(_trimmed(str.rstrip), optional=("characters",)),
    "squish": OperationKind(lambda text, _it, _tools: " ".join(text.split())),
    "upper": OperationKind(lambda text, _it, _tools: text.upper()),
    "lower": OperationKind(lambda text, _it, _tools: text.lower()),
    "title": OperationKind(_title),
    "capitalize": OperationKind(lambda text, _it, _tools: text[:1].upper() + text[1:]),
    "camel": OperationKind(_camel),
    "pascal": OperationKind(_pascal),
    "snake": OperationKind(lambda text, _it, _tools: "_".join(_words(text))),
    "kebab": OperationKind(lambda text, _it, _tools: "-".join(_words(text))),
    "slug": OperationKind(_slug, optional=("separator",)),
    "ascii": OperationKind(lambda text, _it, _tools: string_codes.plain(text)),
    "replace": OperationKind(_replace, ("search",), ("replace", "count")),
    "remove": OperationKind(_replace, ("search",), ("count",)),
    "regex_replace": OperationKind(
        _by_regex(lambda regex, text, it, seconds: regex.replace(text, _text(it.replace), seconds)),
        ("pattern",),
        ("replace",),
    ),
    "regex_extract": OperationKind(
        _by_regex(lambda regex, text, it, seconds: regex.first(text, it.group or 0, seconds)), ("pattern",), ("group",)
    ),
    "regex_extract_all": OperationKind(
        _by_regex(lambda regex, text, it, seconds: regex.extracted(text, it.group or 0, seconds)),
        ("pattern",),
        ("group",),
    ),
    "regex_split": OperationKind(_by_regex(lambda regex, text, _, seconds: regex.split(text, seconds)), ("pattern",)),
    "split": OperationKind(_split, optional=("separator", "count")),
    "join": OperationKind(_join, optional=("separator",), whole=True),
    "slice": OperationKind(_slice, optional=("start", "end", "length"), whole=True),
    "pad": OperationKind(_pad, ("length",), ("fill", "side")),
    "truncate": OperationKind(_truncate, ("length",), ("omission",)),
    "repeat": OperationKind(_repeat, ("count",)),
    "append": OperationKind(lambda text, it, _: text + _text(it.value), ("value",)),
    "prepend": OperationKind(lambda text, it, _: _text(it.value) + text, ("value",)),
    "reverse": OperationKind(_reverse, whole=True),
    "length": OperationKind(_length, whole=True),
    **_CODED,
    "hash": OperationKind(_hash, optional=("algorithm", "encoding")),
    "hmac": OperationKind(_hmac, ("key",), ("algorithm", "encoding")),
    "uuid": OperationKind(_uuid, optional=("version",), whole=True),
    "random": OperationKind(_random, optional=("length", "alphabet", "characters"), whole=True),
}
