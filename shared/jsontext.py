r"""JSON text that keeps what JSON allows and msgspec does not: lone surrogates.

``"\ud800"`` is a legal JSON string. In Python it is a `str` that UTF-8 cannot hold, so msgspec refuses it both ways.
Such values take a slower way and keep their escape: the text stays valid UTF-8 and the value comes back unchanged.
"""

import json
from math import isfinite
from typing import Any, NoReturn

import msgspec

_decoder = msgspec.json.Decoder()
_encoder = msgspec.json.Encoder()


def encode(value: Any) -> str:
    r"""A JSON value as compact JSON text; lone surrogates as ``\udXXX`` escapes.

    Raises:
        TypeError: if the value is not made of JSON types.
    """
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(_finite(value), separators=(",", ":"))


def decode(text: str | bytes) -> Any:
    """The value of a JSON document.

    Raises:
        ValueError: if it is not one JSON document in UTF-8. NaN, the infinities and numbers out of range are no JSON.
        RecursionError: if it nests too deep to be read.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return json.loads(text, parse_constant=_refuse, parse_float=_ranged)


def to_bytes(text: str) -> bytes:
    """JSON text as UTF-8; a lone surrogate, which can only stand inside a string, becomes its escape."""
    return text.encode("utf-8", "backslashreplace")


def _finite(value: Any) -> Any:
    """The value with null for what is no JSON number, as msgspec has it."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def _ranged(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"the number {text[:40]} is out of range")
    return number


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
