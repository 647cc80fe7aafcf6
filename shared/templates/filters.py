"""The filters beyond Liquid's standard ones, and what the standard ones may cost."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any, Final

import re2
from liquid import RenderContext
from liquid.exceptions import FilterArgumentError, FilterValueError
from liquid.filter import with_context

from shared import jsontext
from shared.templates import limits
from shared.templates.dates import date
from shared.templates.values import JsonText, json_value, text_of


def json(value: Any) -> str:
    """``{{ n1.items | json }}``: the value as JSON text."""
    return JsonText(jsontext.encode(json_value(value)))


def b64(value: Any) -> str:
    """``{{ n1.text | b64 }}``: Base64 of the text in UTF-8."""
    return base64.b64encode(_utf8(value)).decode()


def hmac_sha256(value: Any, key: Any, encoding: Any = "hex") -> str:
    """``{{ body | hmac_sha256: "key" }}``: the HMAC in hex, or with a second argument ``"base64"`` in Base64."""
    digest = hmac.new(_utf8(key), _utf8(value), hashlib.sha256)
    if encoding == "hex":
        return digest.hexdigest()
    if encoding == "base64":
        return base64.b64encode(digest.digest()).decode()
    raise FilterArgumentError(f'hmac_sha256: the encoding is "hex" or "base64", not {encoding!r}', token=None)


def regex_match(value: Any, pattern: Any) -> bool:
    """``{{ n1.text | regex_match: "^a+$" }}``: whether an RE2 expression matches somewhere."""
    return compiled(text_of(pattern)).search(encodable(text_of(value))) is not None


def regex_replace(value: Any, pattern: Any, replacement: Any = "") -> str:
    r"""``{{ n1.text | regex_replace: "a+", "b" }}``: every match of an RE2 expression replaced; ``\1`` is a group."""
    try:
        changed: str = compiled(text_of(pattern)).sub(text_of(replacement), encodable(text_of(value)))
    except re2.error as error:
        raise FilterArgumentError(f"regex_replace: {error}", token=None) from error
    return changed


@lru_cache(maxsize=512)
def compiled(pattern: str, flags: str = "") -> Any:
    """An RE2 expression; ``flags`` of ``i``, ``m`` and ``s`` mean what they mean between slashes.

    Raises:
        FilterArgumentError: if RE2 does not take it.
    """
    options = re2.Options()
    options.log_errors = False
    prefix = f"(?{flags})" if flags else ""
    try:
        return re2.compile(prefix + encodable(pattern), options)
    except re2.error as error:
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise FilterArgumentError(f"{pattern!r} is no regular expression of RE2: {reason}", token=None) from error


def encodable(text: str) -> str:
    """The text with every lone surrogate as ``?``, for libraries that take UTF-8 alone."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _utf8(value: Any) -> bytes:
    return text_of(value).encode("utf-8", "replace")


@with_context
def _date(value: Any, form: Any = "%Y-%m-%dT%H:%M:%SZ", zone: Any = "UTC", *, context: RenderContext) -> str:
    return date(value, text_of(form), text_of(zone), run=context.scope.get("run"))


def _replaced(value: Any, old: Any = "", new: Any = "", *_: Any) -> int:
    text, target, put = text_of(value), text_of(old), text_of(new)
    count = text.count(target) if target else len(text) + 1
    return len(text) + count * (len(put) - len(target))


def _regex_replaced(value: Any, pattern: Any = "", new: Any = "", *_: Any) -> int:
    text, put = text_of(value), text_of(new)
    # Matches do not overlap, so a reference such as \1 puts in all of the text once more at most.
    most = len(text) * (1 + put.count("\\"))
    if not put or most + (len(text) + 1) * len(put) <= limits.OUTPUT:
        return most
    room = max(0, limits.OUTPUT - most) // len(put) + 1
    matches = sum(1 for _match in islice(compiled(text_of(pattern)).finditer(encodable(text)), room))
    return most + matches * len(put)


def _joined(value: Any, separator: Any = " ", *_: Any) -> int:
    return len(value) * len(text_of(separator)) if isinstance(value, (list, tuple, range)) else 0


def _compared(value: Any, *_: Any) -> int:
    if isinstance(value, (list, tuple, range)) and len(value) > limits.UNIQUE_ITEMS:
        raise FilterValueError(f"uniq: takes {limits.UNIQUE_ITEMS} items, not {len(value)}", token=None)
    return 0


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "json": json,
    "b64": b64,
    "date": _date,
    "hmac_sha256": hmac_sha256,
    "regex_match": regex_match,
    "regex_replace": regex_replace,
}

#: By filter: the characters of its result before it is made, where that can be many times its input.
GUARDS: Final[Mapping[str, Callable[..., int]]] = {
    "replace": _replaced,
    "regex_replace": _regex_replaced,
    "join": _joined,
    "uniq": _compared,
}
