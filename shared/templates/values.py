"""Values between Liquid and JSON: as text, as a JSON value, as JSON text."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from liquid.undefined import Undefined

from shared import jsontext
from shared.templates import limits
from shared.templates.errors import TemplateError

#: Characters of a value that a template gives.
_LARGEST: Final = 4 * limits.OUTPUT
_AS_THEY_ARE: Final = frozenset({str, int, bool, type(None)})
_WORDS: Final = {None: "", True: "true", False: "false"}


class JsonText(str):
    """Text that is one JSON value: what the ``json`` filter returns. Outside quotes of a JSON body it stands as it is.

    Every string method returns a plain `str`, so text that a later filter has changed is no longer trusted.
    """

    __slots__ = ()


def text_of(value: Any) -> str:
    """How a value stands in text: null is empty, booleans are ``true`` and ``false``, objects and lists are JSON."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, (int, float, Undefined)):
        return str(value)
    if isinstance(value, range):
        return f"{value.start}..{value.stop - 1}"
    return json_text(value)


def json_text(value: Any, most: int = limits.OUTPUT) -> str:
    """The JSON text of a value.

    Args:
        value: whatever filters made.
        most: characters that it may have, about; what is held more than once counts each time.

    Raises:
        TemplateError: if it has more, or no JSON form.
    """
    weigh(value, most)
    return jsontext.encode(json_value(value))


def limited_value(value: Any) -> Any:
    """The value of an expression as JSON types.

    Raises:
        TemplateError: if it is many times as large as what a step may give out, or has no JSON form.
    """
    weigh(value, _LARGEST)
    return json_value(value)


def weigh(value: Any, most: int) -> None:
    """Refuse a value whose JSON text would be too long, before anything is made of it.

    Raises:
        TemplateError: if it would have more than about ``most`` characters.
    """
    if not isinstance(value, (list, tuple, dict)):
        return
    total = 0
    pending: list[Any] = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, str):
            total += len(each)
        elif isinstance(each, dict):
            total += sum(map(len, filter(_is_text, each)))
            pending.extend(each.values())
        elif isinstance(each, (list, tuple)):
            pending.extend(each)
        total += 2
        if total > most:
            raise TemplateError(f"the value is over {most} characters")


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def json_value(value: Any) -> Any:
    """A value that filters made, as JSON types: tuples and ranges become lists, decimals numbers.

    Raises:
        TemplateError: if it has no JSON form.
        UndefinedError: if it is an undefined name.
    """
    kind = type(value)
    if kind in _AS_THEY_ARE:
        return value
    if kind is list:
        return [json_value(item) for item in value]
    if kind is dict:
        return {text_of(key): json_value(item) for key, item in value.items()}
    return _number(value) if kind is float else _unusual(value)


def is_json(value: Any) -> bool:
    """Whether a value is made of JSON's own types throughout, so that `json_value` would only copy it."""
    pending: list[Any] = [value]
    while pending:
        each = pending.pop()
        kind = type(each)
        if kind is list:
            pending.extend(each)
        elif kind is dict:
            pending.extend(each)
            pending.extend(each.values())
        elif kind not in _AS_THEY_ARE and not (kind is float and math.isfinite(each)):
            return False
    return True


def _unusual(value: Any) -> Any:
    if isinstance(value, (str, Undefined)):
        return str(value)
    if isinstance(value, Decimal):
        return _number(float(value))
    if isinstance(value, Mapping):
        return json_value(dict(value))
    if isinstance(value, (tuple, range)):
        return json_value(list(value))
    if value == None:  # noqa: E711 — what `map` gives for a member that is not there says that it is null
        return None
    raise TemplateError(f"the expression gives a {type(value).__name__}, which is no JSON value")


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise TemplateError(f"the expression gives {value}, which is no JSON number")
    return value
