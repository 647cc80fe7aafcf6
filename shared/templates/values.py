"""Values between Liquid and JSON: as text, as a JSON value, as JSON text."""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from liquid.undefined import Undefined

from shared import jsontext
from shared.templates.errors import TemplateError

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
    return jsontext.encode(json_value(value))


def json_value(value: Any) -> Any:
    """A value that filters made, as JSON types: tuples and ranges become lists, decimals numbers.

    Raises:
        TemplateError: if it has no JSON form.
        UndefinedError: if it is an undefined name.
    """
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (float, Decimal)):
        return _number(float(value))
    if isinstance(value, Undefined):
        return str(value)
    if isinstance(value, Mapping):
        return {text_of(key): json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [json_value(item) for item in value]
    raise TemplateError(f"the expression gives a {type(value).__name__}, which is no JSON value")


def _number(value: float) -> float:
    if not math.isfinite(value):
        raise TemplateError(f"the expression gives {value}, which is no JSON number")
    return value
