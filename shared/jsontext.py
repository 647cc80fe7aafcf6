"""JSON as text that Postgres can keep and a template can read.

msgspec does the work; the standard library stands in for the values it refuses: lone surrogates, which are legal in
JSON as escapes and do occur in the wild.
"""

import json
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder()


def encode_json(value: Any) -> str:
    """JSON text of a value made of JSON's types. NUL and lone surrogates stand as escapes, as Postgres's text wants."""
    try:
        return _encoder.encode(value).decode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))


def decode(text: str) -> Any:
    """The value of JSON text.

    Raises:
        ValueError: if it is not JSON.
    """
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return json.loads(text)
